"""Run an ONNX file on no samples, in a process of its own: some operations end theirs.

`python -P without_samples.py PATH INPUTS` prints the shapes of the outputs as JSON; INPUTS holds
the shape and the dtype of each input by its name, as JSON, too.
"""

import json
import subprocess
import sys

import numpy as np


def onnx_without_samples(path, inputs):
    """Empty outputs for empty inputs; raises what ONNX Runtime does, or that its process ended."""
    told = json.dumps({name: (x.shape, x.dtype.name) for name, x in inputs.items()})
    command = [sys.executable, "-P", __file__, str(path), told]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode < 0:
        raise ValueError(f"ONNX Runtime ends the whole process, by signal {-ran.returncode}")
    if ran.returncode:
        raise ValueError(ran.stderr.strip().splitlines()[-1])
    return [np.empty(shape) for shape in json.loads(ran.stdout.splitlines()[-1])]


def onnx_session(path):
    """The file in ONNX Runtime, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _main(path, told):
    inputs = {name: np.empty(*given) for name, given in json.loads(told).items()}
    print(json.dumps([y.shape for y in onnx_session(path).run(None, inputs)]))


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""Run exported files without Keras and without the package: `run_artifacts.py FORMAT FOLDER`.

Each folder in FOLDER holds a file, `samples.npy` and `expected.npz`. Prints, as JSON, what came of
each: the largest difference over batches of 7, 1 and 0, relative to the largest entry of an output,
or what was raised.
"""

import json
import pathlib
import sys

import numpy as np

ABSENT = {"keras": None, "keras_derivs": None}  # TensorFlow looks for Keras, and goes on without


def saved_model(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures["serving_default"]
    (name,) = function.structured_input_signature[1]
    return lambda x: {k: v.numpy() for k, v in function(**{name: tf.constant(x)}).items()}


def onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (given,) = session.get_inputs()
    return lambda x: dict(zip(names, session.run(None, {given.name: x})))


def litert(path):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()
    ((name, given),) = runner.get_input_details().items()
    rows = int(given["shape_signature"][0])

    def run(x):
        """A file of one number of rows is called as often as it takes."""
        parts = [x] if rows < 0 else np.split(x, len(x) // rows)
        found = [runner(**{name: part}) for part in parts]
        return {key: np.concatenate([part[key] for part in found]) for key in found[0]}

    return run


def openvino(path):
    from openvino import Core

    compiled = Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: dict(enumerate(compiled(x, share_outputs=False).values()))


def torch(path):
    import torch

    program = torch.export.load(str(path)).module()
    return lambda x: {k: v.detach().numpy() for k, v in program(torch.from_numpy(x)).items()}


LOADERS = {
    "torch": (torch, "model.pt2"),
    "tf_saved_model": (saved_model, "model"),
    "onnx": (onnx, "model.onnx"),
    "litert": (litert, "model.tflite"),
    "openvino": (openvino, "model.xml"),
}


def difference(expected, found, scales):
    """By name where the file keeps names, else in their order."""
    if set(found) == set(expected):
        found = {name: found[name] for name in expected}
    if len(found) != len(expected):
        raise ValueError(f"{len(found)} outputs instead of {len(expected)}")
    worst = 0.0
    for (name, e), f in zip(expected.items(), found.values()):
        if e.shape != f.shape:
            raise ValueError(f"{name} has shape {f.shape} instead of {e.shape}")
        if e.size:
            worst = float(np.maximum(worst, np.max(np.abs(e - f)) / scales[name]))  # NaN stays
    return worst


def outcome(load, folder, name, with_empty):
    samples, expected = np.load(folder / "samples.npy"), dict(np.load(folder / "expected.npz"))
    scales = {key: max(np.max(np.abs(value)), 1e-30) for key, value in expected.items()}
    try:
        run, worst = load(folder / name), 0.0
        for count in (len(samples), 1, 0) if with_empty else (len(samples), 1):
            part = {key: value[:count] for key, value in expected.items()}
            worst = float(np.maximum(worst, difference(part, run(samples[:count]), scales)))
        return worst
    except Exception as error:
        return f"{type(error).__name__}: " + " ".join(str(error).split())[:500]


if __name__ == "__main__":
    sys.modules.update(ABSENT)
    load, file = LOADERS[sys.argv[1]]
    with_empty = "--not-empty" not in sys.argv
    folders = sorted(path for path in pathlib.Path(sys.argv[2]).iterdir() if path.is_dir())
    outcomes = {path.name: outcome(load, path, file, with_empty) for path in folders}
    assert all(sys.modules[name] is None for name in ABSENT)
    print(json.dumps(outcomes))

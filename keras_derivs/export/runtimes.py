"""The runtimes of file formats: each makes of a path a function from arrays to arrays.

Inputs are matched by name where the file keeps the names, and else by their order.
"""

import re
import warnings

import numpy as np

from keras_derivs.backend import runtimes as of_frameworks
from keras_derivs.export.without_samples import onnx_session, onnx_without_samples


def onnx(path):
    """By ONNX Runtime, on the processor."""
    session = onnx_session(path)
    inputs = [x.name for x in session.get_inputs()]

    def run(arrays, names):
        given = _matched(arrays, names, inputs)
        if any(x.shape[:1] == (0,) for x in arrays):
            return onnx_without_samples(path, given)
        return session.run(None, given)

    return run


def openvino(path):
    """By OpenVINO, in float32: by itself it computes in bfloat16 where the processor can."""
    from openvino import Core

    compiled = Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs = [x.any_name for x in compiled.inputs]
    outputs = _by_key(compiled.outputs)

    def run(arrays, names):
        found = compiled(_matched(arrays, names, inputs), share_outputs=False)
        return [found[output] for output in outputs]

    return run


def _by_key(outputs):
    """Outputs as a model's dict has them: by their keys, and not as the file, which mixes ten."""
    keys = [[name for name in output.names if not re.search("[/:]", name)] for output in outputs]
    if not all(len(names) == 1 for names in keys):
        return list(outputs)
    return [output for _, output in sorted(zip(keys, outputs), key=lambda pair: pair[0])]


def litert(path):
    """By LiteRT, with its built-in operations."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = of_frameworks.lite_interpreter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TensorFlow's own interpreter has a successor
        runner = Interpreter(str(path)).get_signature_runner()
    details = runner.get_input_details()
    inputs = sorted(details, key=_order)

    def run(arrays, names):
        found = runner(**_matched(arrays, names, inputs))
        return [found[name] for name in sorted(found, key=_order)]

    (rows,) = {int(details[name]["shape_signature"][0]) for name in inputs} or {-1}
    return run if rows < 0 else InBatches(run, rows)


class InBatches:
    """Calls what takes one number of rows alone, as often as the inputs hold that."""

    def __init__(self, run, rows):
        self.run, self.rows = run, rows

    def __call__(self, arrays, names):
        starts = range(0, len(arrays[0]), self.rows)
        if len(arrays[0]) % self.rows:
            raise ValueError(
                f"the file takes {self.rows} rows, no more and no less: give that many `samples=`, "
                f"or some times as many"
            )
        parts = [self.run([x[n : n + self.rows] for x in arrays], names) for n in starts]
        return [np.concatenate(outputs) for outputs in zip(*parts)]


def _order(name):
    """Numbered names, such as "output_10", by their number."""
    head, _, number = name.rpartition("_")
    return (head, int(number)) if number.isdigit() else (name, -1)


def _matched(arrays, names, inputs):
    """The arrays by the names that the file has for its inputs."""
    arrays = [np.ascontiguousarray(x) for x in arrays]
    plain = {re.sub(r":\d+$", "", name): name for name in inputs}
    if set(plain) <= set(names):
        return {plain[name]: x for name, x in zip(names, arrays) if name in plain}
    if len(arrays) != len(inputs):
        raise ValueError(
            f"the file has the inputs {inputs}, and the model {list(names) or len(arrays)}: an "
            f"input that no output depends on is left out. Take it out of the model."
        )
    return dict(zip(inputs, arrays))

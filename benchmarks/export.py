"""What a slope costs in an exported file, against the value alone and finite differences.

`python benchmarks/export.py` prints the table of docs/export.md: networks of some widths in ONNX
Runtime, one thread, a batch of one. Every call gets fresh inputs. A time is the
mean of some calls in a row, in the fastest of 100 rounds.
"""

import os
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import onnxruntime

import keras_derivs as kd

NETS = {
    "16 → [32]·2 → 1": (16, 32, 2),
    "50 → [128]·3 → 1": (50, 128, 3),
    "100 → [256]·4 → 1": (100, 256, 4),
}
ROUNDS, CALLS = 100, 10


def network(inputs, width, depth):
    hidden = [keras.layers.Dense(width, "tanh") for _ in range(depth)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, keras.layers.Dense(1)])


def session(model, folder):
    path = os.path.join(folder, f"{model.name}.onnx")
    kd.export(model, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def runner(session):
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})


def by_differences(value, inputs, step=1e-2):
    """Value and slope by 1 + n calls, as programs without derivatives do."""
    shifts = step * np.eye(inputs, dtype="float32")

    def run(x):
        (y,) = value(x)
        return y, np.stack([(value(x + shift)[0] - y) / step for shift in shifts], axis=-1)

    return run


def seconds(function, inputs, calls):
    points = np.random.default_rng().normal(size=(calls, 1, inputs)).astype("float32")
    start = time.perf_counter()
    for x in points:
        function(x)
    return (time.perf_counter() - start) / calls


def line(name, inputs, width, depth, folder):
    net = network(inputs, width, depth)
    x = keras.Input((inputs,), name="x")
    both = keras.Model(x, {"u": net(x), "slope": kd.Gradient(net)(x)})
    value, slope = runner(session(net, folder)), runner(session(both, folder))
    ways = [(value, CALLS), (slope, CALLS), (by_differences(value, inputs), 1)]
    rounds = [[seconds(way, inputs, calls) for way, calls in ways] for _ in range(ROUNDS)]
    alone, together, differences = np.min(rounds, axis=0)
    cells = [f"{1e6 * alone:.0f} µs", f"{1e6 * together:.0f} µs", f"{together / alone:.1f}",
             f"{1e6 * differences:.0f} µs", f"{differences / alone:.0f}"]  # fmt: skip
    return f"| {name} | " + " | ".join(cells) + " |"


def main():
    print("| network | value | value and slope | ratio | 1 + n differences | ratio |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in NETS.items():
            print(line(name, *sizes, folder), flush=True)


if __name__ == "__main__":
    main()

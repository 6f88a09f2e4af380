"""Time rival functions side by side: fresh inputs at every call, medians, one run."""

import statistics
import time

import numpy as np
import tensorflow as tf


def compare(rivals, make_inputs, repeats=40):
    """The median seconds of each function in `rivals`, called in turn on the same inputs."""
    times = {name: [] for name in rivals}
    for function in rivals.values():  # trace, compile, warm up
        for _ in range(3):
            _wait(function(*make_inputs()))
    for _ in range(repeats):
        inputs = make_inputs()
        for name, function in rivals.items():
            start = time.perf_counter()
            _wait(function(*inputs))
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def table(title, medians, ours, header="against ours"):
    """A markdown table of the medians and their ratios to `ours`."""
    print(f"\n**{title}**\n\n| | ms | {header} |\n|---|---|---|")
    for name, seconds in medians.items():
        print(f"| {name} | {1e3 * seconds:.2f} | {seconds / medians[ours]:.2f} |", flush=True)


def points(*shape, seed=0):
    """A source of fresh random float32 points."""
    random = np.random.default_rng(seed)
    return lambda: (tf.constant(random.uniform(-1, 1, shape).astype("float32")),)


def train_step(loss, weights, jit_compile=False):
    """A compiled step that takes the loss and moves the weights a little."""

    @tf.function(jit_compile=jit_compile, reduce_retracing=True)
    def step(x):
        with tf.GradientTape() as tape:
            value = loss(x)
        for weight, gradient in zip(weights, tape.gradient(value, weights)):
            if gradient is not None:
                weight.assign_sub(1e-4 * gradient)
        return value

    return step


def _wait(result):
    for tensor in tf.nest.flatten(result):
        tensor.numpy()

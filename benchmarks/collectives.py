"""What one training step communicates between devices, read from the compiled program.

`python benchmarks/collectives.py` prints the table of docs/distribution.md: networks on JAX, over
two devices that are parts of the processor, with derivatives in the loss and without.
"""

import math
import os
import re

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import keras
import numpy as np
from keras import distribution, layers

import keras_derivs as kd

INPUTS, WIDTH, ROWS = 4, 64, 32
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
LOSSES = {
    "u": lambda u, x: {"u": u},
    "u, gradient": lambda u, x: {"u": u, "slope": kd.gradient(u, x)},
    "u, Laplacian": lambda u, x: {"u": u, "laplacian": kd.laplacian(u, x)},
    "u, Hessian": lambda u, x: {"u": u, "hessian": kd.hessian(u, x)},
}


def model(outputs):
    x = keras.Input((INPUTS,), name="x")
    u = layers.Dense(1)(layers.Dense(WIDTH, "tanh", name="wide")(x))
    made = keras.Model(x, outputs(u, x))
    made.compile(loss="mse", optimizer="adam")
    made.optimizer.build(made.trainable_variables)
    return made


def step_of(model):
    """A training step as a function of weights, the state of the optimizer, and points."""

    def loss(weights, others, x):
        outputs, _ = model.stateless_call(weights, others, x, training=True)
        return sum(keras.ops.mean(keras.ops.square(y)) for y in outputs.values())

    def step(weights, others, state, x):
        value, slopes = jax.value_and_grad(loss)(weights, others, x)
        return value, *model.optimizer.stateless_apply(state, slopes, weights)

    return step


def program(model, count):
    """The text of the compiled step, with the points spread over the batch axis of the mesh."""
    layout = distribution.distribution().get_data_layout((count, INPUTS))
    x = jax.device_put(np.zeros((count, INPUTS), "float32"), layout.backend_layout)
    parts = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
    weights, others, state = ([v.value for v in part] for part in parts)
    sharded = jax.tree.map(lambda value: value.sharding, (weights, state))
    step = jax.jit(step_of(model), out_shardings=(None, *sharded))
    return step.lower(weights, others, state, x).compile().as_text()


def communicated(text):
    """The sizes of the arrays that each kind of collective operation returns to a device."""
    found = {}
    for line in text.splitlines():
        operation = re.search(rf" = (.*?) ({'|'.join(KINDS)})(?:-start)?\(", line)
        if operation:
            shapes = re.findall(r"f32\[([\d,]*)\]", operation[1])
            sizes = [math.prod(int(n) for n in shape.split(",") if n) for shape in shapes]
            found.setdefault(operation[2], []).extend(sizes)
    return found


def data_parallel():
    return distribution.DataParallel(devices=distribution.list_devices())


def model_parallel():
    """Half of the wide layer on each device."""
    mesh = distribution.DeviceMesh((1, 2), ("batch", "model"), distribution.list_devices())
    layout = distribution.LayoutMap(mesh)
    layout["wide/kernel"], layout["wide/bias"] = (None, "model"), ("model",)
    return distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")


def measured(distributed, count=ROWS):
    """(loss, sizes of the weights, {kind of collective: sizes of its arrays}) for each loss."""
    with distributed.scope():
        for name, outputs in LOSSES.items():
            made = model(outputs)
            sizes = [math.prod(weight.shape) for weight in made.trainable_variables]
            yield name, sizes, communicated(program(made, count))


def main():
    print("| | loss | weights, bytes | collectives of one step, bytes |\n|---|---|---|---|")
    for distributed in (data_parallel(), model_parallel()):
        for name, weights, found in measured(distributed):
            told = ", ".join(f"{kind} {4 * sum(sizes):,}" for kind, sizes in found.items())
            print(f"| {type(distributed).__name__} | {name} | {4 * sum(weights):,} | {told} |")


if __name__ == "__main__":
    main()

"""What the tape engine costs beside hand-written tapes: `python benchmarks/tape.py`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from timing import compare, points, table, train_step

import keras_derivs as kd


def mlp(num_inputs, widths, num_outputs):
    hidden = [keras.layers.Dense(width, "tanh") for width in widths]
    return keras.Sequential([keras.Input((num_inputs,)), *hidden, keras.layers.Dense(num_outputs)])


def gradient():
    model = mlp(10, [128] * 4, 1)
    layer = kd.Gradient(model)

    def by_hand(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x)
        return tape.gradient(y, x)

    for mode, wrap in (("eager", lambda f: f), ("tf.function", tf.function)):
        rivals = {"Gradient": wrap(lambda x: layer(x)), "tape.gradient": wrap(by_hand)}
        table(f"Gradient, {mode}", compare(rivals, points(4096, 10), 100), "Gradient")


def block():
    model = mlp(100, [512] * 4, 10)
    layer = kd.SubJacobian(model, outputs=[2, 3, 4], inputs=range(50, 70))

    @tf.function
    def by_hand(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            outputs = tf.unstack(model(x), axis=1)
        return tf.stack([tape.gradient(outputs[i], x)[:, 50:70] for i in (2, 3, 4)], axis=1)

    def batch_jacobian(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x)
        rows = tf.gather(tape.batch_jacobian(y, x), [2, 3, 4], axis=1)
        return tf.gather(rows, list(range(50, 70)), axis=2)

    rivals = {
        "SubJacobian": tf.function(lambda x: layer(x)),
        "three VJPs": by_hand,
        "batch_jacobian + gather": tf.function(batch_jacobian),
        "SubJacobian, XLA": tf.function(lambda x: layer(x), jit_compile=True),
        "SubJacobian, eager": layer,
        "batch_jacobian + gather, eager": batch_jacobian,
    }
    title = "3 x 20 block of 100 -> 512 x 4 -> 10, batch 256"
    table(title, compare(rivals, points(256, 100)), "SubJacobian")


def hessian(num_inputs=4):
    model = mlp(num_inputs, [64] * 4, 1)
    layer = kd.Hessian(model)

    def rows(x):
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = model(x)
            slopes = tf.unstack(inner.gradient(y, x), axis=1)
        return tf.stack([outer.gradient(slope, x) for slope in slopes], axis=1)

    def batch_jacobian(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = model(x)
            slope = inner.gradient(y, x)
        return outer.batch_jacobian(slope, x)

    def steps(jit):
        functions = {"Hessian": layer, "rows by hand": rows, "batch_jacobian": batch_jacobian}
        if jit:
            del functions["batch_jacobian"]  # compiles anew at every batch
        return {
            name: train_step(
                lambda x, f=f: tf.reduce_mean(f(x) ** 2), model.trainable_variables, jit
            )
            for name, f in functions.items()
        }

    for jit in (False, True):
        medians = compare(steps(jit), points(1000, num_inputs))
        table(f"Hessian {num_inputs} x {num_inputs}, training step, XLA {jit}", medians, "Hessian")


if __name__ == "__main__":
    for benchmark in (gradient, block, hessian):
        benchmark()

"""Training steps of equations: the Taylor engine beside hand-written nested tapes.

Every timed call gets a fresh batch and updates the weights; the two sides take turns. Each side
counts with the better of its two times, with and without XLA. Run
`python benchmarks/taylor.py [--quick] [--only NAME] [--repeats N]`.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from keras_derivs.engine.target import Request, Target
from keras_derivs.engine.taylor import strategies


def network(features, hidden):
    keras.utils.set_random_seed(0)
    dense = [keras.layers.Dense(width, "tanh") for width in hidden]
    return keras.Sequential([keras.Input((features,)), *dense, keras.layers.Dense(1)])


def taylor_partials(*terms):
    """Terms are strings of features: "0" is u_t of (t, x), "11" is u_xx."""
    wanted = tuple(tuple((0, int(feature)) for feature in term) for term in terms)

    def derive(model, x):
        target = Target(model, x, [x], (0,), masks=(None,))
        request = Request("partials", np.arange(1), None, wanted)
        return strategies.partials(target, request)[1]

    return derive


def taylor_laplacian(model, x):
    target = Target(model, x, [x], (0,), masks=(None,))
    y, results = strategies.laplacian(target, Request("laplacian", None, [(0, None)]))
    return [y, *results]


def slope(model_of, feature):
    """The derivative of a function by one feature, on a tape of its own."""

    def derived(model, x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            u = model_of(model, x)
        return tape.gradient(u, x)[:, feature : feature + 1]

    return derived


def nested_burgers(model, x):
    with tf.GradientTape(watch_accessed_variables=False) as second:
        second.watch(x)
        with tf.GradientTape(watch_accessed_variables=False) as first:
            first.watch(x)
            u = model(x)
        slopes = first.gradient(u, x)
        u_x = slopes[:, 1:2]
    return [u, slopes[:, :1], u_x, second.gradient(u_x, x)[:, 1:2]]


def nested_line(order):
    """u, u_x, ..., each derivative on a tape around the lower ones."""

    def derive(model, x):
        found = []

        def level(n):
            if n == 0:
                u = model(x)
            else:
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(x)
                    lower = level(n - 1)
                u = tape.gradient(lower, x)
            found.append(u)
            return u

        level(order)
        return found

    return derive


def nested_biharmonic(model, x):
    """u_xxxx, u_xxyy, u_yyyy from two gradients of the second derivatives."""
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as fourth:
        fourth.watch(x)
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as third:
            third.watch(x)
            with tf.GradientTape(watch_accessed_variables=False, persistent=True) as second:
                second.watch(x)
                with tf.GradientTape(watch_accessed_variables=False) as first:
                    first.watch(x)
                    u = model(x)
                u_x, u_y = tf.unstack(first.gradient(u, x), axis=1)
            u_xx, u_yy = second.gradient(u_x, x)[:, 0], second.gradient(u_y, x)[:, 1]
        u_xxx, thirds = third.gradient(u_xx, x)[:, 0], third.gradient(u_yy, x)
        u_yyx, u_yyy = thirds[:, 0], thirds[:, 1]
    found = [(u_xxx, 0), (u_yyx, 0), (u_yyy, 1)]
    return [u, *[fourth.gradient(v, x)[:, n : n + 1] for v, n in found]]


def nested_laplacian(model, x):
    """The sum of the second derivatives, one backward pass for each direction."""
    features = x.shape[1]
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as second:
        second.watch(x)
        with tf.GradientTape(watch_accessed_variables=False) as first:
            first.watch(x)
            u = model(x)
        slopes = tf.unstack(first.gradient(u, x), axis=1)
    return [u, sum(second.gradient(slopes[n], x)[:, n : n + 1] for n in range(features))]


def riding_laplacian(model, x):
    """The same with all directions in the batch axis of one pair of tapes."""
    batch, features = x.shape
    copies = tf.repeat(x, features, axis=0)
    chosen = tf.tile(tf.eye(features, dtype=x.dtype), [batch, 1])
    with tf.GradientTape(watch_accessed_variables=False) as second:
        second.watch(copies)
        with tf.GradientTape(watch_accessed_variables=False) as first:
            first.watch(copies)
            u = model(copies)
        along = tf.reduce_sum(first.gradient(u, copies) * chosen, axis=1)
    diagonal = tf.reduce_sum(second.gradient(along, copies) * chosen, axis=1, keepdims=True)
    total = tf.reduce_sum(tf.reshape(diagonal, (batch, features, 1)), axis=1)
    return [u[::features], total]


# name: (features, hidden widths, points, Taylor, nested tapes of which the fastest counts)
WORKS = {
    "Burgers [20]*8": (2, [20] * 8, 10_000, taylor_partials("", "0", "1", "11"), [nested_burgers]),
    "Burgers [64]*4": (2, [64] * 4, 10_000, taylor_partials("", "0", "1", "11"), [nested_burgers]),
    "u_xxx": (1, [64] * 4, 4_000, taylor_partials("", "0", "00", "000"), [nested_line(3)]),
    "u_xxxx": (1, [64] * 4, 4_000, taylor_partials("", "0", "00", "000", "0000"), [nested_line(4)]),
    "Laplacian, d = 10": (
        10, [64] * 4, 2_000, taylor_laplacian, [nested_laplacian, riding_laplacian],
    ),
    "Laplacian, d = 100": (100, [64] * 4, 500, taylor_laplacian, [riding_laplacian]),
    "biharmonic": (
        2, [64] * 4, 2_000, taylor_partials("", "0000", "0011", "1111"), [nested_biharmonic],
    ),
}  # fmt: skip


def training_step(derive, model, jit):
    @tf.function(jit_compile=jit)
    def step(x):
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_mean(tf.square(term)) for term in derive(model, x))
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients):
            if gradient is not None:
                variable.assign(variable.value - 1e-4 * gradient)
        return loss

    return step


def run(step, features, points, random):
    x = tf.constant(random.uniform(-1, 1, (points, features)).astype("float32"))
    start = time.perf_counter()
    loss = step(x).numpy()
    return time.perf_counter() - start, loss


def measure(name, repeats):
    """Medians in milliseconds and compile times in seconds, by side and by XLA."""
    features, hidden, points, taylor, tapes = WORKS[name]
    sides = {"taylor": taylor, **{f"tape {n}": tape for n, tape in enumerate(tapes)}}
    steps = {
        (side, jit): training_step(derive, network(features, hidden), jit)
        for side, derive in sides.items()
        for jit in (False, True)
    }
    compiled, losses, times = {}, {}, {key: [] for key in steps}
    for key, step in steps.items():
        compiled[key], losses[key] = run(step, features, points, np.random.default_rng(0))
        run(step, features, points, np.random.default_rng(1))
    random = np.random.default_rng(2)
    for _ in range(repeats):
        for key, step in steps.items():
            times[key].append(run(step, features, points, random)[0])
    if not np.allclose(list(losses.values()), losses["taylor", False], rtol=1e-3):
        raise ValueError(f"The sides need to compute the same loss. Received: {losses}.")
    return {key: 1e3 * statistics.median(found) for key, found in times.items()}, compiled


def row(name, repeats):
    times, compiled = measure(name, repeats)
    taylor = [times["taylor", jit] for jit in (False, True)]
    tape = [
        min(found for (side, xla), found in times.items() if side != "taylor" and xla == jit)
        for jit in (False, True)
    ]
    seconds = [compiled[key] for key in (("taylor", True), ("tape 0", True))]
    cells = [*tape, *taylor]
    return (
        f"| {name} | "
        + " | ".join(f"{cell:.1f}" for cell in cells)
        + f" | {min(tape) / min(taylor):.2f} | {seconds[1]:.1f} | {seconds[0]:.1f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats")
    parser.add_argument("--only", help="the works whose name contains this")
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    print("| training step | tapes, ms | tapes XLA, ms | Taylor, ms | Taylor XLA, ms "
          "| ratio of the best | compile tapes, s | compile Taylor, s |")  # fmt: skip
    print("|---" * 8 + "|")
    for name in WORKS:
        if arguments.only is None or arguments.only in name:
            print(row(name, 7 if arguments.quick else arguments.repeats), flush=True)


if __name__ == "__main__":
    main()

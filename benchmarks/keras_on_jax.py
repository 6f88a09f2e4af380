"""Keras on JAX against JAX by hand, in one process: `python benchmarks/keras_on_jax.py [WORK ...]`.

All peers are compiled by `jax.jit`. They take turns on the same fresh points, and each moves its
weights at every step. Each work, of all or of those named, is written to docs/benchmarks.md.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import importlib.metadata
import pathlib
import statistics
import sys
import time

import jax
import keras
import numpy as np
import with_jax
import works
from ours import network, taylor

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEADING = "## Keras on JAX"
TURNS = 25
TOLERANCE = 1e-3  # float32, relative to the largest entry
AIMS = {"burgers": 1.2, "laplacian": 2, "biharmonic": 2}  # and u_xxxx; of the best peer
INTRODUCTION = """*This section is written by `python benchmarks/keras_on_jax.py`.*

The same training steps with Keras on JAX, against derivatives by hand in JAX; both sides are compiled by `jax.jit`, in one process. The peers take turns on the same fresh points, every step moves the weights, and the times are medians of {turns} turns. A ratio is the median over the turns of the rival's time divided by Taylor's in the same turn, with the quartiles of these in parentheses; the rival is the one with the least median time. Derivatives and losses agree with Taylor's to 1e-3 of their largest entry, or the run stops. {versions}; {cores} cores, shared with other work, which makes the times several times as long as above: the ratios count.
"""  # noqa: E501
REASON = """
Why some aims are missed: all peers but `jet` compile *u, u_t, u_x, u_xx* to the same matrix products, of 3.1 to 3.2 GFLOP by the count of XLA's own `cost_analysis`, and a Taylor pass written by hand in JAX takes as long as ours; what is left is element-wise work. folx carries the same coefficients as Taylor, 1.8 GFLOP for ten inputs. For u_xxxx `jet` compiles to 2.6 GFLOP and Taylor to 1.65, whose ratio is 1.6.
"""  # noqa: E501


def build(work):
    """As `with_jax.build`: (derivatives of x, training step at x), by the package."""
    net = network(work.weights(), work.features)
    x = keras.Input((work.features,))
    model = keras.Model(x, list(taylor(net, work)(x)))
    state = [[v.value for v in model.trainable_variables]]

    def derive(weights, x):
        return model.stateless_call(weights, [], x)[0]

    def loss(weights, x):
        return sum(jax.numpy.mean(jax.numpy.square(term)) for term in derive(weights, x))

    @jax.jit
    def moved(weights, x):
        value, slopes = jax.value_and_grad(loss)(weights, x)
        return value, [w - work.rate * slope for w, slope in zip(weights, slopes)]

    def step(x):
        value, state[0] = jax.block_until_ready(moved(state[0], x))
        return value

    return lambda x: jax.jit(derive)(state[0], x), step


def rivals(work):
    """The peers in JAX that know the work."""
    found = {}
    for name in with_jax.PEERS:
        if works.PEERS[name].knows(work):
            values, step, _ = with_jax.build(name, work, "jit")
            found[name] = values, step
    return found


def measure(work):
    """{peer: (median seconds, quartiles of the ratio to Taylor)}."""
    peers = {"Taylor": build(work), **rivals(work)}
    compare(peers, work)
    times = {name: [] for name in peers}
    for turn in range(TURNS + 2):
        x = jax.numpy.asarray(work.batch(turn + 1))
        for name, (_, step) in peers.items():
            start = time.perf_counter()
            step(x)
            times[name].append(time.perf_counter() - start)
    times = {name: found[2:] for name, found in times.items()}  # the first ones compile
    return {
        name: (
            statistics.median(found),
            np.quantile(np.divide(found, times["Taylor"]), (0.25, 0.5, 0.75)),
        )
        for name, found in times.items()
    }


def compare(peers, work):
    """Raise where a peer computes something else."""
    x = jax.numpy.asarray(work.batch(0, 50))
    expected = [np.asarray(term) for term in peers["Taylor"][0](x)]
    for name, (values, _) in peers.items():
        for found, term in zip(values(x), expected, strict=True):
            if not np.max(np.abs(found - term)) <= TOLERANCE * np.max(np.abs(term)):
                raise RuntimeError(f"{name} differs from Taylor in {work}")


def row(name, work, found):
    ours = found.pop("Taylor")[0]
    best = min(found, key=lambda peer: found[peer][0])
    seconds, (low, ratio, high) = found[best]
    aim = AIMS.get(work.kind, 2 if work.order > 3 else None)
    shown = f"{ratio:.2f}" if aim is None or ratio >= aim else f"*{ratio:.2f}*"
    others = ", ".join(f"{p} {r[1]:.2f}" for p, (_, r) in found.items() if p != best)
    shown += f" ({low:.2f} to {high:.2f})"
    return (
        f"| {name} | {1e3 * ours:.1f} | {1e3 * seconds:.1f} | {best} | {shown} | {aim or '-'} | "
        f"{others} |"
    )


def section(rows):
    packages = ("keras", "jax", "folx")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    text = INTRODUCTION.format(turns=TURNS, versions=versions, cores=os.cpu_count())
    head = "| work | Taylor, ms | best in JAX, ms | which | ratio | aim | ratios of the others |"
    table = "\n".join([head, "|" + "---|" * 7, *rows])
    return "\n\n".join([HEADING, text.rstrip(), table, REASON.strip()]) + "\n"


def write(name, line):
    """Put the line of a work into the page; the lines of other works stay."""
    before, _, after = PAGE.read_text().partition(HEADING)
    lines = {line.split(" | ")[0].strip("| "): line for line in after.splitlines()}
    lines[name] = line
    rows = [lines[name] for name in works.TABLE if name in lines]
    PAGE.write_text(f"{before.rstrip()}\n\n{section(rows)}")


def main(names):
    for name in names or works.TABLE:
        line = row(name, works.TABLE[name], measure(works.TABLE[name]))
        print(line, flush=True)
        write(name, line)


if __name__ == "__main__":
    main(sys.argv[1:])

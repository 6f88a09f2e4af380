"""What people build with derivatives, ours against tapes by hand: `python benchmarks/clients.py`.

Every program of `programs.py` is timed as its author would write it with tapes and with the
package: a training step (loss, gradient by the weights, a step of descent) and its inference. Both
sides run as a graph and with XLA, in turns, on fresh inputs at every call; the better of the two
counts. Before that, all sides must agree. The results go to build/clients.json, and as a page to
docs/clients.md. `--only NAME` times one program and keeps the others' figures.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
RESULTS = HERE.parent / "build" / "clients.json"
PAGE = HERE.parent / "docs" / "clients.md"
MODES = {"graph": False, "XLA": True}
FEWEST, MOST, SECONDS = 15, 100, 3.0  # rounds of a work, and how long they may take
TOLERANCE = 2e-3


def measure(name):
    """Medians in ms by work, side and mode of one program, in this process."""
    import programs

    program = programs.PROGRAMS[name]()
    inputs = program.inputs()
    agree(name, program, inputs)
    found = {}
    for work, sides in (("training", steps(program)), ("inference", calls(program))):
        seconds = in_turns(sides, program.inputs)
        found[work] = {" | ".join(side): 1e3 * value for side, value in seconds.items()}
    return found


def agree(name, program, inputs):
    """Raise unless all sides have the same results."""
    import numpy as np
    import tensorflow as tf

    (ours, *others) = program.sides.values()
    expected = [y.numpy() for y in tf.nest.flatten(tf.function(ours)(*inputs))]
    for other in others:
        found = [y.numpy() for y in tf.nest.flatten(tf.function(other)(*inputs))]
        for a, b in zip(expected, found, strict=True):
            error = np.max(np.abs(a - b)) / np.max(np.abs(a))
            if a.shape != b.shape or not error < TOLERANCE:
                raise ValueError(f"{name}: sides differ, shapes {a.shape} {b.shape}, {error:.1e}")


def modes(program, side):
    return [mode for mode in MODES if not (MODES[mode] and side in program.without_xla)]


def steps(program):
    """(side, mode) -> a training step."""
    return {
        (side, mode): step(derive, program, MODES[mode])
        for side, derive in program.sides.items()
        for mode in modes(program, side)
    }


def step(derive, program, jit_compile):
    import tensorflow as tf

    weights = [weight.value for weight in program.weights]

    @tf.function(jit_compile=jit_compile)
    def run(*inputs):
        with tf.GradientTape() as tape:
            loss = program.loss(tf.nest.flatten(derive(*inputs)))
        for weight, slope in zip(weights, tape.gradient(loss, weights)):
            if slope is not None:
                weight.assign_sub(1e-5 * slope)
        return loss

    return run


def calls(program):
    """(side, mode) -> the derivatives alone."""
    import tensorflow as tf

    return {
        (side, mode): tf.function(derive, jit_compile=MODES[mode])
        for side, derive in program.sides.items()
        for mode in modes(program, side)
    }


def in_turns(sides, make_inputs):
    """The median seconds of each, called in turn on the same fresh inputs."""
    for call in sides.values():
        for _ in range(2):
            waited(call(*make_inputs()))
    times = {side: [] for side in sides}
    begin, turn = time.perf_counter(), 0
    while turn < FEWEST or (turn < MOST and time.perf_counter() - begin < SECONDS):
        inputs, turn = make_inputs(), turn + 1
        order = list(sides.items())
        for side, call in order if turn % 2 else reversed(order):
            start = time.perf_counter()
            waited(call(*inputs))
            times[side].append(time.perf_counter() - start)
    return {side: statistics.median(seconds) for side, seconds in times.items()}


def waited(result):
    import tensorflow as tf

    for tensor in tf.nest.flatten(result):
        tensor.numpy()


def best(figures, ours):
    """(ms, side, mode) of the fastest of ours, or of the others."""
    found = [(ms, *key.split(" | ")) for key, ms in figures.items()]
    return min(item for item in found if (item[1] == "keras_derivs") == ours)


def row(name, result):
    cells = [name]
    for work in ("training", "inference"):
        (ours, _, our_mode), (theirs, side, mode) = (
            best(result[work], own) for own in (True, False)
        )
        ratio = theirs / ours
        cells += [f"{ours:.2f} ({our_mode})", f"{theirs:.2f} ({side}, {mode})",
                  f"{ratio:.2f}" if ratio >= 0.95 else f"*{ratio:.2f}*"]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def page(results):
    head = ["program", "training, ms", "tapes by hand, ms", "ratio",
            "inference, ms", "tapes by hand, ms", "ratio"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += [row(name, result) for name, result in results.items() if name != "facts"]
    text = (HERE / "clients.md").read_text()
    return text.format(table="\n".join(lines), fewest=FEWEST, most=MOST, **results["facts"])


def child(name):
    """The figures of a program, in a process of its own."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", **os.environ}
    command = [sys.executable, __file__, "--measure", name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def facts():
    from measure import processor

    return {"cores": os.cpu_count(), "processor": processor(), "load": os.getloadavg()[0]}


def main():
    import programs

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="names of programs")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() and arguments.only else {}
    RESULTS.parent.mkdir(exist_ok=True)
    machine = facts()  # before it is busy with this
    names = arguments.only or list(programs.PROGRAMS)
    for number, name in enumerate(names, start=1):
        start = time.perf_counter()
        results[name] = child(name)
        results["facts"] = {**machine, "end": os.getloadavg()[0]}
        RESULTS.write_text(json.dumps(results, indent=1))
        print(f"{number}/{len(names)} {time.perf_counter() - start:3.0f} s  "
              f"{row(name, results[name])}", flush=True)  # fmt: skip
    PAGE.write_text(page(results))
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()

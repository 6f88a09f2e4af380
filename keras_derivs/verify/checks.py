"""The checks of a model: each takes a `Problem` and returns a `Check`."""

import itertools
import re
from dataclasses import replace
from functools import partial

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.engine.taylor.rules import OtherValues, UnsupportedOperation
from keras_derivs.layers.hessian import Hessian
from keras_derivs.layers.partials import Partials
from keras_derivs.verify.clock import OutOfTime
from keras_derivs.verify.compare import (
    NEGLECT,
    alike,
    as_numpy,
    compared,
    flat,
    rounding,
    worst,
)
from keras_derivs.verify.differences import Truth
from keras_derivs.verify.found import found, possible, terms
from keras_derivs.verify.jumps import jumps
from keras_derivs.verify.problem import MOST_OUTPUTS
from keras_derivs.verify.report import Check

LOUD = 1e4  # factor on the other rows: shows a limit relative to the maximum of a batch
FACTORS = (-1.0, 0.01, 10.0, 1000.0)  # of the inputs, for derivatives far from the samples


def of_model(order):
    """name -> check, for all derivatives up to an order; what matters most comes first."""
    checks = {"rows are independent": rows}
    for n in range(1, order + 1):
        for strategy in ("reverse", "forward", "taylor"):
            if n == 1 or strategy != "forward":
                checks[against(n, strategy)] = partial(derivatives, order=n, strategy=strategy)
    checks["values are finite"] = partial(finite, order=order)
    checks["no jumps"] = jumps
    checks["far from the samples"] = partial(far, order=order)
    if order > 1:
        checks["the Hessian is symmetric"] = symmetric
    for mode in backend.MODES:
        checks[f"the same by {mode}"] = partial(same_by, order=order, mode=mode)
    return checks


def against(order, strategy):
    return f"order {order}, strategy '{strategy}'"


def run(name, check, problem):
    """The result of a check, also if it raises."""
    try:
        return check(problem, name)
    except Exception as error:  # whatever a user's layer raises is a result
        if isinstance(error, OutOfTime) or problem.clock.left < 0:
            return Check(name, "left out", note="no time left")
        if isinstance(error, UnsupportedOperation):
            return _without_rule(name, error.told)
        status = "skipped" if name.endswith("XLA") else "FAILED"
        return Check(name, status, note=first_words(error))


def _without_rule(name, culprit):
    if isinstance(culprit, OtherValues):
        return Check(name, "FAILED", note="a Taylor rule gives other values than its layer")
    return Check(name, "skipped", note=f"'taylor' stops at {culprit}")


def first_words(error):
    """What an error says, without what Keras and TensorFlow put around it."""
    text = re.sub(r"Exception encountered when calling \S+\s*|\x1b\[\d+m", "", str(error))
    text = " ".join(re.split(r"Arguments received by|Stack trace", text)[0].split())
    return f"{type(error).__name__}: {text[:240]}"


def rows(problem, name):
    """One row of the output, whatever the other rows of the batch hold."""
    y, again = problem(problem.inputs), problem(problem.inputs)
    if not np.array_equal(y, again, equal_nan=True):
        return Check(name, "FAILED", note="two calls on the same input differ: it is random")
    finite = np.isfinite(y)
    scale = np.abs(y) + np.max(np.abs(y), axis=0, initial=0, where=finite) + 1e-300
    largest, tolerance = 0.0, rounding(problem)
    for row, inputs, size in _mixed(problem):
        others = problem(inputs)
        if len(others) != size:
            return Check(name, "FAILED", note=f"{size} samples have {len(others)} outputs")
        with np.errstate(invalid="ignore"):
            off = np.abs(others[: len(y)] - y)[row] / scale[row]
        change = np.max(np.where(finite[row], np.where(np.isnan(off), np.inf, off), 0), initial=0)
        largest = max(largest, change)
        if change > tolerance:
            note = f"sample {row} changes with the other samples"
            return Check(name, "FAILED", change, tolerance, note)
    return Check(name, "ok", largest, tolerance)


def _mixed(problem):
    """(row, inputs, samples), with other samples beside that row: moved, louder, and more."""
    moved = problem.moved(problem.pairs[0], np.array([0.1, 0.05]))
    loud = [LOUD * x if n in problem.wrt else x for n, x in enumerate(moved)]
    count = len(problem.inputs[0])
    for row in range(min(count, 4)):
        for others in (moved, loud):
            pairs = zip(problem.inputs, others)
            yield row, [np.where(_at(row, x), x, other) for x, other in pairs], count
    if problem.stacks:
        more = [np.concatenate(three) for three in zip(problem.inputs, moved, moved)]
        yield from ((row, more, 3 * count) for row in range(count))


def _at(row, x):
    return (np.arange(len(x)) == row).reshape(-1, *[1] * (x.ndim - 1))


def finite(problem, name, order):
    y = problem(problem.inputs)
    if not np.isfinite(y).all():
        row = int(np.argmax(~np.isfinite(y).all(axis=1)))
        return Check(name, "FAILED", note=f"the function itself is not finite at sample {row}")
    for strategy, pair in itertools.product(possible(problem, "reverse", "taylor"), problem.pairs):
        for n in range(1, order + 1):
            bad = ~np.isfinite(found(problem, pair, strategy, n)).all(axis=(0, 2))
            if bad.any():
                note = f"not finite at sample {int(np.argmax(bad))}, order {n} by '{strategy}'"
                return Check(name, "FAILED", note=note)
    return Check(name, "ok")


def derivatives(problem, name, order, strategy, factors=None):
    """Derivatives along both directions of each pair, and mixed, against central differences.

    `factors` are those of the inputs, where the batch is made of several times the samples.
    """
    parts = []
    for pair in problem.pairs:
        parts += zip(found(problem, pair, strategy, order), _true(problem, pair, order))
    scale = np.max([np.abs(truth.value) for _, truth in parts], axis=0)
    floor = flat(problem, order, scale, factors) if factors else 0.0
    compare = partial(compared, scale=scale, problem=problem, order=order, floor=floor)
    check = worst([compare(name, y, truth) for y, truth in parts])
    again = partial(derivatives, name=name, order=order, strategy=strategy, factors=factors)
    return _of_one_output(check, problem, again)


def _of_one_output(check, problem, again):
    """A check that failed for mixed outputs, of those that fail: halved until they are few."""
    if check.status != "FAILED" or problem.mixture is None or problem.among is not None:
        return check
    among = np.arange(problem.value[0].size)
    try:
        while len(among) > MOST_OUTPUTS:
            first, second = np.array_split(among, 2)
            among = first if again(problem.at(among=first)).status == "FAILED" else second
        found = again(problem.at(among=among))
    except OutOfTime:
        return check
    return found if found.status == "FAILED" else check


def _true(problem, pair, order):
    """Truths of the derivatives along both directions and, of second ones, the mixed one."""
    truth = lambda *direction: problem.truths(pair, direction, [order])[order]  # noqa: E731
    yield truth(1, 0)
    yield truth(0, 1)
    if order == 2:  # d2/ds dt = (d2/d(s+t)2 - d2/d(s-t)2) / 4
        plus, minus = truth(1, 1), truth(1, -1)
        yield Truth(
            (plus.value - minus.value) / 4,
            (plus.error + minus.error) / 4,
            plus.kink | minus.kink,
            np.maximum(plus.size, minus.size),
        )


def far(problem, name, order):
    """The same for inputs that are much larger, smaller, and of the other sign."""
    if not problem.stacks:
        return Check(name, "skipped", note="the model takes batches of one size only")
    inputs = [
        np.concatenate([x * factor if k in problem.wrt else x for factor in FACTORS]).astype(
            x.dtype
        )
        for k, x in enumerate(problem.inputs)
    ]
    pairs = [
        {k: np.concatenate([abs(factor) * x for factor in FACTORS]) for k, x in pair.items()}
        for pair in problem.pairs[:1]
    ]
    there = problem.at(inputs=inputs, directions=pairs)
    count, checks = len(problem.inputs[0]), []
    for n in range(1, order + 1):
        for strategy in possible(problem, "reverse", "taylor"):
            check = derivatives(there, name, n, strategy, FACTORS)
            if check.status != "FAILED":
                checks.append(replace(check, status="ok", note=""))
            elif "nan instead" not in check.note:  # which is allowed there
                part, row = divmod(int(re.search(r"sample (\d+)", check.note)[1]), count)
                where = f"sample {row} times {FACTORS[part]:g}"
                return replace(check, note=re.sub(r"sample \d+", where, check.note, count=1))
    return worst(checks) if checks else Check(name, "ok")


def symmetric(problem, name):
    layer = problem.runner(Hessian(problem.line, wrt=0, strategy="reverse"))
    arguments = [keras.ops.convert_to_tensor(x) for x in problem.arguments(problem.pairs[0])]
    hessian = as_numpy(layer(arguments)).reshape(len(problem.value), -1, 2, 2)
    hessian = np.where(np.isfinite(hessian), hessian, 0)
    scale = np.max(np.abs(hessian), axis=(2, 3), keepdims=True) + 1e-300
    off = np.max(np.abs(hessian - np.swapaxes(hessian, -1, -2)) / scale, initial=0)
    tolerance = rounding(problem, 2)
    return Check(name, "ok" if off <= tolerance else "FAILED", off, tolerance)


def same_by(problem, name, order, mode):
    """The same derivatives eagerly and in a graph."""
    pure = [term for n in range(1, order + 1) for term in terms(n)[:2]]
    layer, pair = Partials(problem.line, pure, wrt=0), problem.pairs[0]
    arguments = [keras.ops.convert_to_tensor(x) for x in problem.arguments(pair)]
    expected = [y for n in range(1, order + 1) for y in found(problem, pair, "reverse", n)[:2]]
    if problem.plain.in_graphs and mode == backend.MODES[0]:  # they were found by graphs
        expected = map(as_numpy, layer(arguments))
    compiled = map(as_numpy, backend.compiled(layer, mode)(arguments))
    size = np.nan_to_num(np.max(np.abs(problem(problem.inputs)), axis=0))
    floor = NEGLECT[problem.precision] * size  # as of tanh where it is one, see `compared`
    return alike(name, compiled, expected, rounding(problem, order), floor)

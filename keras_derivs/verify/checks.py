"""The checks of a model: each takes a `Problem` and returns a `Check`."""

import itertools
import re
from functools import partial

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.engine.taylor.rules import UnsupportedOperation
from keras_derivs.layers.hessian import Hessian
from keras_derivs.layers.jacobian import Jacobian
from keras_derivs.layers.partials import Partials
from keras_derivs.verify.report import Check

ROUNDING = {"float64": 1e-9, "float32": 3e-4}  # of exact derivatives of order one; times 10 each
JUMPS = 25, 50  # points of the two sums that stand for an integral


def of_model(order):
    """name -> check, for all derivatives up to an order."""
    checks = {"rows are independent": rows, "values are finite": partial(finite, order=order)}
    for n in range(1, order + 1):
        for strategy in ("reverse", "forward", "taylor"):
            if n == 1 or strategy != "forward":
                name = f"order {n}, strategy '{strategy}'"
                checks[name] = partial(against_differences, order=n, strategy=strategy)
    checks["no jumps"] = jumps
    if order > 1:
        checks["the Hessian is symmetric"] = symmetric
    for mode in backend.MODES:
        checks[f"the same by {mode}"] = partial(same_by, order=order, mode=mode)
    return checks


def run(name, check, problem):
    """The result of a check, also if it raises."""
    try:
        return check(problem, name)
    except Exception as error:  # whatever a user's layer raises is a result
        if "needs a Taylor rule" in str(error) or isinstance(error, UnsupportedOperation):
            culprit = str(error).partition("Received: ")[2].split(". ")[0]
            return Check(name, "skipped", note=f"'taylor' stops at {culprit}")
        status = "skipped" if name.endswith("XLA") else "FAILED"
        return Check(name, status, note=first_words(error))


def first_words(error):
    """What an error says, without what Keras and TensorFlow put around it."""
    text = re.sub(r"Exception encountered when calling \S+\s*|\x1b\[\d+m", "", str(error))
    text = " ".join(re.split(r"Arguments received by|Stack trace", text)[0].split())
    return f"{type(error).__name__}: {text[:240]}"


def rows(problem, name):
    """One row of the output, whatever the other rows of the batch hold."""
    y = problem(problem.inputs)
    if not np.array_equal(y, problem(problem.inputs), equal_nan=True):
        return Check(name, "FAILED", note="two calls on the same input differ: it is random")
    others = problem.moved(problem.pairs[0], np.array([0.1, 0.05]))
    worst, tolerance = 0.0, rounding(problem) * _scale(y)
    for row in range(min(len(y), 4)):
        mixed = [np.where(_at(row, x), x, other) for x, other in zip(problem.inputs, others)]
        change = np.max(np.abs(problem(mixed)[row] - y[row]), initial=0, where=np.isfinite(y[row]))
        worst = max(worst, change)
        if change > tolerance:
            note = f"sample {row} changes with the other samples"
            return Check(name, "FAILED", change, tolerance, note)
    return Check(name, "ok", worst, tolerance)


def _at(row, x):
    return (np.arange(len(x)) == row).reshape(-1, *[1] * (x.ndim - 1))


def finite(problem, name, order):
    for pair in problem.pairs:
        values = _along(problem, pair, "auto", _pure(order))
        bad = ~np.all([np.isfinite(value) for value in values], axis=(0, 2))
        if bad.any():
            return Check(name, "FAILED", note=f"not finite at sample {int(np.argmax(bad))}")
    return Check(name, "ok")


def against_differences(problem, name, order, strategy):
    """Derivatives along both directions of each pair, and mixed, against central differences."""
    results = [
        compare(name, found, *problem_truth, rounding(problem, order))
        for pair in problem.pairs
        for found, problem_truth in _found_and_true(problem, pair, order, strategy)
    ]
    return worst(results)


def worst(checks):
    """The check that is furthest off."""
    ranks = {"FAILED": 2, "kink": 1, "ok": 0}
    return max(checks, key=lambda check: (ranks[check.status], check.error / check.tolerance))


def _found_and_true(problem, pair, order, strategy):
    found = _along(problem, pair, strategy, [(0,) * order, (1,) * order, (0,) * (order - 1) + (1,)])
    yield found[0], problem.truth(pair, (1, 0), order)
    yield found[1], problem.truth(pair, (0, 1), order)
    if order == 2:  # d2/ds dt = (d2/d(s+t)2 - d2/d(s-t)2) / 4
        plus, minus = problem.truth(pair, (1, 1), 2), problem.truth(pair, (1, -1), 2)
        yield found[2], ((plus[0] - minus[0]) / 4, (plus[1] + minus[1]) / 4, plus[2] & minus[2])


def compare(name, found, value, error, converged, rounding):
    scale = _scale(np.where(converged, value, 0))
    tolerance = rounding * scale + 20 * error
    with np.errstate(invalid="ignore"):
        off = np.where(np.isfinite(found), np.abs(found - value), np.inf)
    wrong, worst = converged & (off > tolerance), np.argmax(np.where(converged, off / tolerance, 0))
    at = np.unravel_index(worst, off.shape)
    sample = f"sample {at[0]}, output {at[1]}"
    if wrong.any():
        return Check(name, "FAILED", off[at] / scale, tolerance[at] / scale, f"wrong at {sample}")
    if not converged.all():
        near = f"kink near sample {int(np.argmax(~converged.all(axis=1)))}: nothing to compare with"
        return Check(name, "kink", off[at] / scale, tolerance[at] / scale, near)
    return Check(name, "ok", off[at] / scale, tolerance[at] / scale)


def jumps(problem, name):
    """What a function gains along a way is the integral of its derivative, unless it jumps."""
    layer = Partials(problem.line, [(0,)], wrt=0, strategy="reverse")
    slope = _as_graph(layer, problem.arguments(problem.pairs[0]))
    for pair in problem.pairs:
        ends = [problem(problem.moved(pair, np.array([s, 0.0]))) for s in (-1.0, 1.0)]
        (coarse, _), (fine, size) = (_integral(slope, problem, pair, n) for n in JUMPS)
        off = np.abs(ends[1] - ends[0] - fine)
        tolerance = 6 * np.abs(fine - coarse) + 0.02 * size + 1e-6 * (_scale(ends[1]) + size.max())
        wrong = np.isfinite(off) & (off > tolerance)
        if wrong.any():
            at = np.unravel_index(np.argmax(np.where(wrong, off / tolerance, 0)), off.shape)
            note = (
                f"sample {at[0]} changes by what its derivative does not show: a jump, as of "
                f"`argmax` or `round`, or a lost part of the derivative"
            )
            return Check(name, "FAILED", off[at], tolerance[at], note)
    return Check(name, "ok")


def _integral(slope, problem, pair, points):
    """The integrals of the derivative and of its size from -1 to 1, by the midpoint rule."""
    places = (np.arange(points) + 0.5) / points * 2 - 1
    slopes = np.stack([_numpy(slope(problem.arguments(pair, (s, 0.0)))[0]) for s in places])
    return slopes.mean(axis=0) * 2, np.abs(slopes).mean(axis=0) * 2


def _as_graph(layer, arguments):
    """The layer, compiled for many calls if it can be."""
    compiled = backend.compiled(layer)
    try:
        compiled(_tensors(arguments))
    except Exception:  # code that needs numbers
        return layer
    return lambda arguments: compiled(_tensors(arguments))


def symmetric(problem, name):
    worst, tolerance = 0.0, rounding(problem, 2)
    for strategy, pair in itertools.product(("reverse", "auto"), problem.pairs):
        hessian = _numpy(Hessian(problem.line, wrt=0, strategy=strategy)(problem.arguments(pair)))
        hessian = np.where(np.isfinite(hessian), hessian, 0)
        off = np.max(np.abs(hessian - np.swapaxes(hessian, -1, -2)), initial=0) / _scale(hessian)
        worst = max(worst, off)
    return Check(name, "ok" if worst <= tolerance else "FAILED", worst, tolerance)


def same_by(problem, name, order, mode):
    """The same derivatives eagerly and in a graph."""
    layer = Partials(problem.line, _pure(order), wrt=0)
    tolerance = rounding(problem, order)
    return compiled_alike(layer, problem.arguments(problem.pairs[0]), name, mode, tolerance)


def compiled_alike(layer, arguments, name, mode, tolerance):
    """The same results of a layer eagerly and in a graph."""
    arguments = _tensors(arguments)
    expected = map(_numpy, keras.tree.flatten(layer(arguments)))
    found = map(_numpy, keras.tree.flatten(backend.compiled(layer, mode)(arguments)))
    off = max(
        np.max(np.abs(a - b), initial=0, where=np.isfinite(b)) / _scale(b)
        for a, b in zip(found, expected)
    )
    return Check(name, "ok" if off <= tolerance else "FAILED", off, tolerance)


def _pure(order):
    return [(direction,) * n for n in range(1, order + 1) for direction in (0, 1)]


def _along(problem, pair, strategy, terms):
    """Derivatives by the two numbers s at s = 0, each (batch, outputs)."""
    arguments = problem.arguments(pair)
    if strategy == "forward":
        jacobian = _numpy(Jacobian(problem.line, wrt=0, strategy=strategy)(arguments))
        return [jacobian[..., term[0]] for term in terms]
    layer = Partials(problem.line, terms, wrt=0, strategy=strategy)
    return [_numpy(value) for value in layer(arguments)]


def rounding(problem, order=1):
    """The tolerance for exact derivatives of that order, relative to the largest."""
    return ROUNDING[problem.precision] * 10 ** (order - 1)


def _scale(values):
    return max(np.max(np.abs(values), initial=0, where=np.isfinite(values)), 1e-12)


def _tensors(arguments):
    return keras.tree.map_structure(keras.ops.convert_to_tensor, arguments)


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")

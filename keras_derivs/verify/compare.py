"""Compare derivatives with the truth, each entry by its own scale."""

import keras
import numpy as np

from keras_derivs.verify.problem import EPS
from keras_derivs.verify.report import Check

ROUNDING = {"float64": 1e-9, "float32": 3e-4}  # of exact derivatives of order one; times 10 each
NEGLECT = {"float64": 1e-6, "float32": 0.03}  # of what a function changes: no derivative
UNITS = 32  # of rounding in a derivative, where the function that it is of flattens


def rounding(problem, order=1):
    """The tolerance for exact derivatives of that order, relative to their scale."""
    return ROUNDING[problem.precision] * 10 ** (order - 1)


def flat(problem, order, scale, factors):
    """What rounding leaves of a derivative that vanishes far off, as that of tanh does.

    There 1 - tanh² is a rounding error instead of zero, and all else is as large as at the samples.

    Args:
        scale: Of the derivatives, (factors * batch, outputs).
        factors: Of the inputs; the first is 1 or -1.
    """
    near = scale[: len(scale) // len(factors)]
    near = UNITS * EPS[problem.precision] * np.maximum(near, np.median(near, axis=0))
    return np.concatenate([abs(factor) ** order * near for factor in factors])


def compared(name, found, truth, scale, problem, order, shape=None, floor=0.0):
    """A check of `found`, (batch, outputs), against a `Truth`, by entries as large as `scale`.

    Errors below `floor` are none.
    """
    scale = scale + NEGLECT[problem.precision] * truth.size + 1e-300
    good = truth.good(scale)
    scale = scale + floor / rounding(problem, order)
    tolerance = rounding(problem, order) * scale + truth.error
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.where(np.isfinite(found), np.abs(found - truth.value), np.inf)
        ratio = np.where(good, off / np.where(good, tolerance, 1), 0)
    at_worst = np.unravel_index(np.argmax(ratio), ratio.shape)
    numbers = off[at_worst] / scale[at_worst], tolerance[at_worst] / scale[at_worst]
    if np.max(ratio, initial=0) > 1:
        note = (
            f"wrong at sample {at_worst[0]}, {_entry(at_worst[1], problem, shape)}: "
            f"{found[at_worst]:.9g} instead of {truth.value[at_worst]:.9g}"
        )
        return Check(name, "FAILED", *numbers, note)
    if not good.all():
        rows = np.flatnonzero(~good.all(axis=1))
        kink = (~good & truth.kink).any()
        why = "a kink or a jump nearby" if kink else "differences are too inaccurate"
        note = f"cannot be decided at sample{'s' * (len(rows) > 1)} {_list(rows)}: {why}"
        return Check(name, "ok" if good.any() else "undecided", *numbers, note)
    return Check(name, "ok", *numbers)


def _list(rows):
    return ", ".join(map(str, rows[:6])) + (", …" if len(rows) > 6 else "")


def _entry(column, problem, shape):
    """Which output, or entry of a result of that shape, a column is."""
    if shape is None and problem.mixture is not None:
        used = np.flatnonzero(problem.mixture[:, column])
        if len(used) > 1:
            return f"a mixture of all {problem.value[0].size} outputs"
        column = used[0]
    word, shape = ("output", problem.value.shape[1:]) if shape is None else ("entry", shape)
    index = [int(n) for n in np.unravel_index(column, shape)] if len(shape) else [0]
    return f"{word} {index[0] if len(index) == 1 else tuple(index)}"


def worst(checks):
    """The check that is furthest off."""
    ranks = {"FAILED": 2, "undecided": 1, "ok": 0}
    return max(
        checks,
        key=lambda check: (ranks[check.status], bool(check.note), check.error / check.tolerance),
    )


def alike(name, found, expected, tolerance, floor=0.0):
    """A check of two ways to compute the same, each column of them by its own scale.

    Columns below `floor`, which has a number for each, count as that large.
    """
    pairs = zip(found, expected)
    off = max((_distance(columns(a), columns(b), floor) for a, b in pairs), default=0.0)
    return Check(name, "ok" if off <= tolerance else "FAILED", off, tolerance)


def _distance(a, b, floor):
    finite = np.isfinite(b)
    scale = np.max(np.abs(b), axis=0, initial=0, where=finite)
    scale = np.maximum(np.maximum(scale, floor), 1e-9 * np.max(scale, initial=0)) + 1e-300
    with np.errstate(invalid="ignore"):
        off = np.where(np.isfinite(a), np.abs(a - b), np.inf) / scale
    return np.max(off, initial=0, where=finite)


def columns(x):
    """The entries of each row side by side."""
    return x.reshape(len(x), -1)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")

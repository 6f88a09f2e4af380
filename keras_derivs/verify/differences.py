"""Derivatives by central differences, each with an estimate of its own error.

Ridders, "Accurate computation of F'(x) and F'(x)F''(x)" (1982): the differences for a ladder of
ever smaller steps are extrapolated to the step zero, until rounding makes them worse.
"""

import functools
import math

import numpy as np

LADDERS = (0.5, 0.03, 0.002)  # the first step of each: a kink shows as disagreement among them
STEPS, RATIO = 8, 1.6
NEAR = 1e-5  # a step at which a smooth function is a straight line


def derivative(function, order):
    """The derivative of that order of `function` at 0, for each entry of the array it returns.

    Returns `(values, errors, converged)`. Where it did not converge there is a kink, a jump, or
    noise within reach of the steps.
    """
    function = functools.cache(function)
    precision = 4 * np.finfo("float64").eps * np.abs(function(0.0)) + 4 * noise(function)
    found = [_ridders(function, order, first, precision) for first in LADDERS]
    values, errors = (np.stack(parts) for parts in zip(*found))
    best = np.argmin(errors, axis=0)[None]
    value = np.take_along_axis(values, best, axis=0)
    error = np.take_along_axis(errors, best, axis=0)
    scale = np.max(np.abs(value), initial=0, where=np.isfinite(value))
    apart = np.any(np.abs(values - value) > 20 * (errors + error) + 1e-7 * scale, axis=0)
    kink = _bend(function, NEAR) > 0.5 * _bend(function, 10 * NEAR) + 10 * precision / NEAR
    return value[0], error[0], np.isfinite(error[0]) & ~apart & ~kink


def noise(function):
    """The rounding errors of a function: what is left of its third differences nearby.

    Hamming's table of differences, as in Moré and Wild, "Estimating computational noise" (2011).
    """
    values = np.stack([function(n * NEAR) for n in range(7)])
    with np.errstate(invalid="ignore"):
        return np.max(np.abs(np.diff(values, n=3, axis=0)), axis=0, initial=0) / math.sqrt(20)


def _bend(function, step):
    """The change of slope across 0: it shrinks with the step, but not at a kink."""
    with np.errstate(invalid="ignore"):
        return np.abs(function(step) - 2 * function(0.0) + function(-step)) / step


def _ridders(function, order, first, precision):
    """Neville's extrapolation in the square of the step, entry by entry."""
    steps = first / RATIO ** np.arange(STEPS)
    rows = [[_central(function, order, step)] for step in steps]
    best, error = rows[0][0], np.full_like(rows[0][0], np.inf)
    for n in range(1, STEPS):
        for m in range(1, n + 1):
            factor = RATIO ** (2 * m)
            finer, coarser = rows[n][m - 1], rows[n - 1][m - 1]
            rows[n].append((finer * factor - coarser) / (factor - 1))
            change = np.maximum(np.abs(rows[n][m] - finer), np.abs(rows[n][m] - coarser))
            change = change + precision * (2 / steps[n]) ** order
            change = np.where(np.isfinite(change), change, np.inf)
            best = np.where(change < error, rows[n][m], best)
            error = np.minimum(change, error)
    return best, error


def _central(function, order, step):
    """sum_i (-1)^i binomial(order, i) f((order/2 - i) step) / step^order."""
    with np.errstate(invalid="ignore", over="ignore"):
        return (
            sum(
                (-1) ** i * math.comb(order, i) * function((order / 2 - i) * step)
                for i in range(order + 1)
            )
            / step**order
        )

"""Derivatives at 0 from values of a function alone, each with a bound of its own error.

The steps are powers of two. Every step gives an estimate, the derivative of the polynomial through
nine points around 0; what two points less and half the step change bounds its error, together
with rounding. From
the smallest step up, the estimates are used for as long as each agrees with all smaller ones, and
as those from the right of 0 alone agree with those from the left; the best of them is the result.
Where even the best is not good there is a kink, a jump, or too much noise.

Lepski, "On a problem of adaptive estimation in Gaussian white noise" (1990).
"""

import math
from dataclasses import dataclass

import numpy as np

NUM_STEPS = 28
STEPS = 0.5 ** np.arange(NUM_STEPS)[::-1]  # smallest first
FINE = 1e-6 * np.arange(1, 16)  # where noise is measured
PLACES = np.concatenate([[0.0], STEPS, -STEPS, FINE, -FINE])
WIDE, NARROW = (-8, -4, -2, -1, 0, 1, 2, 4, 8), (-4, -2, -1, 0, 1, 2, 4)
SIDE, LESS = (0, 1, 2, 4, 8, 16), (0, 1, 2, 4, 8)
RANGE = 0.25  # the part of the line whose values say how large the function is
GOOD, SMALL = 1e-3, 0.01  # see `Truth.good`


@dataclass(frozen=True)
class Truth:
    """Derivatives, (batch, outputs) each, of one order.

    `error` bounds that of `value` (infinite where there is none); `kink` tells whether one side
    differs from the other nearby, `size` how much the function changes.
    """

    value: np.ndarray
    error: np.ndarray
    kink: np.ndarray
    size: np.ndarray

    def good(self, scale):
        """Whether the error is small beside `scale`, or beside what the function changes."""
        with np.errstate(invalid="ignore"):
            return self.error <= GOOD * np.maximum(scale, SMALL * self.size)


def truths(values, orders, eps=2.3e-16, magnitude=0.0):
    """{order: Truth} from the values at `PLACES`, (places, batch, outputs).

    `eps` is the precision of the function, `magnitude` the size of the terms that it sums up.
    """
    with np.errstate(all="ignore"):
        line = _Line(values, eps, magnitude)
        return {order: line.truth(order) for order in orders}


class _Line:
    """The values of a function at `PLACES`."""

    def __init__(self, values, eps, magnitude):
        zero, right, left, *fine = np.split(values, np.cumsum([1, NUM_STEPS, NUM_STEPS, len(FINE)]))
        self.zero, self.right, self.left = zero[0], right, left
        near = np.concatenate([right[STEPS <= RANGE], left[STEPS <= RANGE]])
        change = np.max(np.abs(near - zero), axis=0, initial=0, where=np.isfinite(near))
        self.size = np.maximum(change, 1e-4 * np.abs(self.zero))
        sides = [noise(np.concatenate([zero, side])) for side in fine]
        least, most = np.minimum(*sides), np.maximum(*sides)  # one of them may hold a kink
        self.noise = 8 * np.where(most < 30 * least, most, least) + 2 * eps * magnitude
        self.eps = 2 * eps

    def truth(self, order):
        windows = range(NUM_STEPS - 4)
        parts = zip(*(self._estimate(n, order, WIDE, NARROW) for n in windows))
        values, cut, rounding = map(np.stack, parts)
        change = np.abs(np.diff(values, axis=0)) - rounding[1:] - rounding[:-1]
        cut[1:] = np.maximum(cut[1:], change)
        errors = 4 * cut + 2 * rounding
        errors[1:] += 2 * rounding[:-1]
        bent = np.stack([self._bent(n, order) for n in windows])
        low = np.maximum.accumulate(values - errors)
        high = np.minimum.accumulate(values + errors)
        used = np.logical_and.accumulate((low <= high) & np.isfinite(errors) & ~bent)
        errors = np.where(used, errors, np.inf)
        errors[0] = np.inf  # there is no half step to compare with
        best = np.argmin(errors, axis=0)[None]
        value, error = (np.take_along_axis(a, best, axis=0)[0] for a in (values, errors))
        return Truth(np.where(np.isfinite(error), value, 0.0), error, bent.any(axis=0), self.size)

    def _estimate(self, n, order, nodes, fewer):
        """The derivative from points at `nodes` times the n-th step, and two parts of its error."""
        step = STEPS[n]
        value, other = (self._sum(n, weights(points, order)) for points in (nodes, fewer))
        largest = np.max([np.abs(self._at(n, node)) for node in nodes], axis=0)
        rounding = self.noise + self.eps * largest
        rounding = rounding * sum(map(abs, weights(nodes, order).values()))
        return value / step**order, np.abs(value - other) / step**order, rounding / step**order

    def _bent(self, n, order):
        """Whether a derivative up to that order differs between the sides of 0."""
        bent = np.zeros_like(self.size, bool)
        for lower in range(1, order + 1):
            sides = []
            for sign in (1, -1):
                nodes = [tuple(sign * node for node in part) for part in (SIDE, LESS)]
                sides.append(self._estimate(n, lower, *nodes))
            values, cut, rounding = zip(*sides)
            bent |= np.abs(values[0] - values[1]) > 4 * sum(cut) + sum(rounding)
        return bent

    def _sum(self, n, weights):
        return sum(weight * self._at(n, node) for node, weight in weights.items())

    def _at(self, n, node):
        if node == 0:
            return self.zero
        return (self.right if node > 0 else self.left)[n + int(math.log2(abs(node)))]


def noise(values):
    """Rounding errors: what is left of sixth differences of close values.

    Hamming's table of differences, as in Moré and Wild, "Estimating computational noise" (2011).
    """
    differences = np.diff(values, n=6, axis=0)
    return np.sqrt(np.mean(differences**2, axis=0) / math.comb(12, 6))


_known = {}


def weights(nodes, order):
    """node -> weight, of the derivative at 0 of the polynomial through values at the nodes."""
    if (nodes, order) not in _known:
        powers = np.vander(np.asarray(nodes, "float64"), increasing=True).T
        unit = np.zeros(len(nodes))
        unit[order] = math.factorial(order)
        _known[nodes, order] = dict(zip(nodes, np.linalg.solve(powers, unit)))
    return _known[nodes, order]

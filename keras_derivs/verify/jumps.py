"""Look for jumps: places where a function changes by what its derivative does not show."""

import numpy as np
from keras import ops

from keras_derivs.layers.partials import Partials
from keras_derivs.verify.compare import as_numpy
from keras_derivs.verify.report import Check

NUM_INTERVALS = 16  # from -1 to 1
PARTS = 8  # into which an interval is divided
# How often, and the part of a gap that makes it a jump if it is still there in the end.
ROUNDS = {"float64": (12, 1e-3), "float32": (4, 0.1)}
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)
NOISE = {"float64": 1e-12, "float32": 1e-3}


def jumps(problem, name):
    """What a function gains along a way is the integral of its derivative, unless it jumps.

    An interval where it gains something else is divided until the rest is gone, as it is where a
    smooth function is steep, or until it is a point.
    """
    gap = _Gap(problem)
    row, edges = np.arange(gap.count), np.linspace(-1, 1, NUM_INTERVALS + 1)
    gaps, sizes = gap(*(np.tile(part[:, None], gap.count) for part in (edges[:-1], edges[1:])))
    least = 1e-6 * np.max(sizes, axis=0) + gap.noise
    interval, output = _worst(np.where(least > 0, gaps / np.where(least > 0, least, 1), 0))
    first, least = gaps[interval, row, output], least[row, output]
    left, right, still = edges[interval], edges[interval + 1], first > least
    rounds, kept = ROUNDS[problem.precision]
    for _ in range(rounds):
        if not still.any():
            break
        edges = left + (right - left) * np.linspace(0, 1, PARTS + 1)[:, None]
        parts = gap(edges[:-1], edges[1:])[0][:, row, output]
        largest = np.argmax(parts, axis=0)
        left, right = edges[largest, row], edges[largest + 1, row]
        still &= parts[largest, row] > np.maximum(kept * first, least)
    if not still.any():
        return Check(name, "ok")
    row = int(np.argmax(still))
    note = (
        f"sample {row} changes by what its derivative does not show, {abs(left[row]):.3g} times "
        f"the size of the inputs from it: a jump, as of `argmax` or `round`"
    )
    return Check(name, "FAILED", first[row], least[row], note)


def _worst(ratio):
    """For each row, the interval and the output of the largest number."""
    flat = np.moveaxis(np.where(np.isfinite(ratio), ratio, 0), 1, 0)
    return np.divmod(np.argmax(flat.reshape(len(flat), -1), axis=1), ratio.shape[2])


class _Gap:
    """By how much the change of the outputs over intervals is not the integral of the slope."""

    def __init__(self, problem):
        self.problem, self.pair = problem, problem.pairs[0]
        self.count = len(problem.inputs[0])
        self.slope = problem.runner(Partials(problem.line, [(0,)], wrt=0, strategy="reverse"))
        self.copies = min(problem.plain.copies, NUM_INTERVALS)
        self.noise = NOISE[problem.precision] * np.abs(problem.mixed(problem.value))

    def __call__(self, left, right):
        """(gaps, changes), (intervals, batch, outputs), for ends of shape (intervals, batch)."""
        change = self._all(self._value, right) - self._all(self._value, left)
        half, middle = (right - left) / 2, (right + left) / 2
        places = np.concatenate([middle + half * node for node in NODES])
        slopes = self._all(self._slope, places).reshape(len(NODES), *change.shape)
        with np.errstate(invalid="ignore"):
            gaps = np.abs(change - half[..., None] * np.tensordot(WEIGHTS, slopes, axes=1))
        return _finite(gaps), _finite(np.abs(change))

    def _all(self, function, places):
        """A function of s, (copies * batch,), at places of shape (any number, batch)."""
        found = []
        for start in range(0, len(places), self.copies):
            part = places[start : start + self.copies]
            if self.problem.plain.in_graphs:  # a graph is traced for each new shape
                part = np.resize(part, (self.copies, self.count))
            found.append(function(part.reshape(-1)))
        return np.concatenate(found).reshape(-1, self.count, found[0].shape[1])[: len(places)]

    def _value(self, s):
        inputs, moves = self._tiled(s)
        for k, move in zip(self.problem.wrt, moves):
            step = s.reshape(-1, *[1] * (inputs[k].ndim - 1)) * move[:, 0]
            inputs[k] = (inputs[k] + step).astype(inputs[k].dtype)
        return self.problem(inputs)

    def _slope(self, s):
        inputs, moves = self._tiled(s)
        place = np.stack([s, 0 * s], axis=1).astype(inputs[self.problem.wrt[0]].dtype)
        tensors = [ops.convert_to_tensor(x) for x in (place, *inputs, *moves)]
        y = as_numpy(self.slope(tensors)[0])
        return y.reshape(len(y), -1)

    def _tiled(self, s):
        """As many copies of the batch as there are numbers s for it."""
        copies = len(s) // self.count
        tensors = [*self.problem.inputs, *(self.pair[k] for k in self.problem.wrt)]
        tiled = [np.concatenate([x] * copies) for x in tensors]
        return tiled[: len(self.problem.inputs)], tiled[len(self.problem.inputs) :]


def _finite(values):
    return np.where(np.isfinite(values), values, 0)

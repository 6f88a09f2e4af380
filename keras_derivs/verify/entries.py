"""Every entry of a derivative layer's result, from plain calls of its model."""

import itertools
import math
from dataclasses import replace

import keras
import numpy as np

from keras_derivs.engine import layout
from keras_derivs.engine.sums import weighted_sum
from keras_derivs.engine.target import take
from keras_derivs.verify.differences import PLACES, truths
from keras_derivs.verify.problem import EPS, by_row, scale

MOST_TERMS = 300
SMALL = {"float64": 1e-4, "float32": 0.03}  # an entry beside the largest of its output
NO_BOUND = 1e100  # an error that is infinite, in sums


def assemble(request, xs, along, positive):
    """The results of a request from derivatives along directions, or bounds of their positive."""
    if request.kind == "jvp":
        return [along(dict(enumerate(request.vectors)))]
    if request.kind in ("vjp", "hvp"):
        return [_product(request, xs, k, along, positive) for k in range(len(xs))]
    weights = (
        request.weights if not positive or request.weights is None else np.abs(request.weights)
    )
    if request.directions is not None:
        moves = [_direction(request, xs, row) for row in request.directions]
        return [weighted_sum(zip(weights.tolist(), [along(move, move) for move in moves]))]
    return layout.assemble(
        replace(request, weights=weights), xs, lambda term: along(*(_unit(xs, e) for e in term))
    )


def check_count(request, xs):
    """Raise where there is too much to compare one by one."""
    if request.kind not in ("jvp", "vjp", "hvp") and request.directions is None:
        terms = layout.terms(request, xs)
        if terms is None or len(terms) > MOST_TERMS:
            raise ValueError(
                f"`verify` compares at most {MOST_TERMS} partial derivatives one by one. Received: "
                f"{'an unknown number' if terms is None else len(terms)}. Verify the model itself, "
                f"which takes random directions, or a layer for fewer inputs."
            )


def _product(request, xs, k, along, positive):
    """For each entry of an x, the derivative by it of the weighted outputs, or of the slope."""
    entries = []
    for index in range(xs[k][0].size):
        if request.kind == "vjp":
            weights = np.abs(request.vectors[0]) if positive else request.vectors[0]
            value = along(_unit(xs, (k, index))) * weights
            entries.append(value.reshape(len(value), -1).sum(axis=1))
        else:
            value = along(_unit(xs, (k, index)), dict(enumerate(request.vectors)))
            value = take(value.reshape(len(value), -1), request.rows)
            entries.append(np.asarray(keras.ops.convert_to_numpy(value))[:, 0])
    return np.stack(entries, axis=1).reshape(xs[k].shape)


def _unit(xs, entry):
    k, index = entry
    move = np.zeros((1, xs[k][0].size))
    move[0, index] = 1
    return {k: move.reshape(1, *xs[k].shape[1:])}


def _direction(request, xs, row):
    """A row of an operator's directions, as what it changes in each x."""
    moves, blocks = {}, layout.entries(request, xs)
    for entry, amount in zip(itertools.chain(*blocks), row):
        ((k, unit),) = _unit(xs, entry).items()
        moves[k] = moves.get(k, 0) + amount * unit
    return moves


class Partials:
    """Derivatives of the model along directions, each a dict number of x -> change of it.

    Each is a dict of its value, the bound of its error, whether there is a kink nearby, how much
    the function changes, and its scale: its size, or a small part of the largest of its order.
    """

    def __init__(self, problem, wrt):
        self.problem, self.wrt, self.known, self.largest = problem, wrt, {}, {}
        self.scales = {k: scale(problem.inputs[k]) for k in wrt}
        self.zoom = np.ones(len(problem.inputs[0])) if problem.zoom is None else problem.zoom

    def along(self, directions):
        key = tuple(
            (k, move.tobytes()) for moves in directions for k, move in sorted(moves.items())
        )
        if key not in self.known:
            self.known[key] = self._found(directions)
        order, found = len(directions), self.known[key]
        small = SMALL[self.problem.precision] * self.largest.get(order, 0.0)
        return {**found, "scale": np.abs(found["value"]) + small * found["unit"]}

    def _found(self, directions):
        """D_a D_b … = sum over signs of their product D^n_{a ± b …} / (n! 2^(n-1))."""
        y = self.problem.value
        if not directions:
            zero = np.zeros_like(y)
            return {"value": y, "error": zero, "kink": zero, "size": np.abs(y), "unit": zero + 1}
        order, sizes = len(directions), [self._size(moves) for moves in directions]
        moves = [_times(move, size) for move, size in zip(directions, sizes)]
        factor, parts = math.factorial(order) * 2 ** (order - 1), []
        for signs in itertools.product((1, -1), repeat=order - 1):
            move = _sum(moves, (1, *signs))
            if any(np.any(change) for change in move.values()):
                parts.append((math.prod(signs), self._along(move, order)))
        unit = np.ones_like(y)
        for size in sizes:
            unit = unit / by_row(y, size)
        value = sum((sign * truth.value for sign, truth in parts), np.zeros_like(y)) / factor
        error = sum((truth.error for _, truth in parts), np.zeros_like(y)) / factor
        kink = sum((truth.kink for _, truth in parts), np.zeros_like(y))
        size = np.max([truth.size for _, truth in parts] or [np.zeros_like(y)], axis=0)
        self.largest[order] = np.maximum(self.largest.get(order, 0.0), np.abs(value))
        error = np.where(np.isfinite(error), error, NO_BOUND)
        return {
            "value": value * unit, "error": error * unit, "kink": kink, "size": size * unit,
            "unit": unit,
        }  # fmt: skip

    def _along(self, move, order):
        moves = {self.wrt[k]: change for k, change in move.items()}
        values = self.problem.along(moves, PLACES)
        return truths(values, [order], EPS[self.problem.precision])[order]

    def _size(self, moves):
        """The step of each sample that is as large as the inputs that move."""
        count = len(self.problem.inputs[0])
        largest = np.zeros(count)
        for k, move in moves.items():
            part = np.abs(move) / self.scales[self.wrt[k]]
            largest = np.maximum(largest, np.max(part, axis=tuple(range(1, move.ndim)), initial=0))
        return self.zoom / np.where(largest > 0, largest, 1.0)


def _times(moves, size):
    return {k: by_row(move, size) * move for k, move in moves.items()}


def _sum(directions, signs):
    moves = {}
    for sign, direction in zip(signs, directions):
        for k, move in direction.items():
            moves[k] = moves.get(k, 0) + sign * move
    return moves

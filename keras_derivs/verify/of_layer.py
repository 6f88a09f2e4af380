"""The checks of a derivative layer: every entry of its result, against central differences.

The partial derivatives that a result is made of come from plain calls of the model; the layer
itself only puts them into their places.
"""

import itertools
import math
from dataclasses import replace

import keras
import numpy as np

from keras_derivs.engine import together
from keras_derivs.engine.target import Target
from keras_derivs.verify import differences
from keras_derivs.verify.checks import compare, rounding, worst

MOST_TERMS = 300


def against(make, inputs, truth, problem, name):
    """Whether what the layer from `make()` returns is the truth."""
    layer = make()
    results = [_numpy(x) for x in keras.tree.flatten(layer(inputs))]
    tolerance = rounding(problem, layer.plan.request.order)
    return worst(
        [
            compare(name, *(_rows(x) for x in (found, *parts)), tolerance)
            for found, parts in zip(results, truth)
        ]
    )


def _rows(x):
    return x.reshape(len(x), -1)


def true(layer, problem, vectors):
    """[(values, errors, converged), …] for the flat results of a layer."""
    plan, partial = layer.plan, Partial(problem, layer.plan)
    vectors = [np.asarray(v, "float64") for v in vectors]
    flat = [problem.inputs[k] for k in plan.wrt]
    target = Target(layer.model, problem.structure, problem.inputs, plan.wrt, plan.output)
    request = layer.with_vectors(plan, target, vectors)
    request = replace(request, vectors=tuple(map(_numpy, request.vectors)))
    y = partial.values(())[0]

    def arranged(part):
        results = _assemble(request, flat, lambda *steps: partial.values(steps)[part], part == 1)
        results = keras.tree.map_structure(keras.ops.convert_to_tensor, results)
        packed = layer.arrange(plan, target, keras.ops.convert_to_tensor(y), results)
        return [_numpy(x) for x in keras.tree.flatten(packed)]

    return [(value, error, np.isfinite(error)) for value, error in zip(arranged(0), arranged(1))]


def _assemble(request, xs, along, errors):
    """The results of a request from derivatives along directions, or bounds of their errors."""
    if request.kind == "jvp":
        return [along(dict(enumerate(request.vectors)))]
    if request.kind in ("vjp", "hvp"):
        return [_product(request, xs, k, along, errors) for k in range(len(xs))]
    weights = request.weights if not errors or request.weights is None else np.abs(request.weights)
    if request.directions is not None:
        moves = [_direction(request, xs, row) for row in request.directions]
        return [together.weighted_sum([along(move, move) for move in moves], weights)]
    terms = together.terms(request, xs)
    if terms is None or len(terms) > MOST_TERMS:
        raise ValueError(
            f"`verify` compares at most {MOST_TERMS} partial derivatives one by one. Received: "
            f"{'an unknown number' if terms is None else len(terms)}. Verify the model itself, "
            f"which takes random directions, or a layer for fewer inputs."
        )
    return together.assemble(
        replace(request, weights=weights), xs, lambda term: along(*(_unit(xs, e) for e in term))
    )


def _product(request, xs, k, along, errors):
    """For each entry of an x, the derivative by it of the weighted outputs, or of the slope."""
    entries = []
    for index in range(xs[k][0].size):
        if request.kind == "vjp":
            weights = np.abs(request.vectors[0]) if errors else request.vectors[0]
            value = along(_unit(xs, (k, index))) * weights
            entries.append(value.reshape(len(value), -1).sum(axis=1))
        else:
            value = along(_unit(xs, (k, index)), dict(enumerate(request.vectors)))
            entries.append(value.reshape(len(value), -1)[:, request.rows[0]])
    return np.stack(entries, axis=1).reshape(xs[k].shape)


def _unit(xs, entry):
    k, index = entry
    move = np.zeros((1, xs[k][0].size))
    move[0, index] = 1
    return {k: move.reshape(1, *xs[k].shape[1:])}


def _direction(request, xs, row):
    """A row of an operator's directions, as what it changes in each x."""
    moves, blocks = {}, together.entries(request, xs)
    for entry, amount in zip(itertools.chain(*blocks), row):
        ((k, unit),) = _unit(xs, entry).items()
        moves[k] = moves.get(k, 0) + amount * unit
    return moves


class Partial:
    """Derivatives of the model along directions, each a dict number of x -> change of it."""

    def __init__(self, problem, plan):
        self.problem, self.wrt, self.known = problem, plan.wrt, {}

    def values(self, directions):
        """(values, errors) of the derivative along all directions one after the other."""
        if not directions:
            y = self._plain({}, 0.0)
            return y, np.zeros_like(y)
        key = tuple((k, move.tobytes()) for moves in directions for k, move in moves.items())
        if key not in self.known:
            self.known[key] = self._polarised(directions)
        return self.known[key]

    def _polarised(self, directions):
        """D_a D_b … = sum over signs of their product D^n_{a ± b …} / (n! 2^(n-1))."""
        order = len(directions)
        total, bound, factor = 0.0, 0.0, math.factorial(order) * 2 ** (order - 1)
        for signs in itertools.product((1, -1), repeat=order - 1):
            moves = _sum(directions, (1, *signs))
            if not any(np.any(move) for move in moves.values()):
                continue
            size = self._size(moves)
            value, error, converged = differences.derivative(
                lambda s, moves=moves, size=size: self._plain(moves, s * size), order
            )
            total = total + math.prod(signs) * value / size**order / factor
            bound = bound + np.where(converged, error, np.inf) / size**order / factor
        return total, bound

    def _size(self, moves):
        """The step that is as large as what moves."""
        scales = [np.std(self._input(k)) / np.max(np.abs(move)) for k, move in moves.items()
                  if np.any(move)]  # fmt: skip
        return min([scale for scale in scales if scale > 0], default=1.0)

    def _input(self, k):
        return self.problem.inputs[self.wrt[k]]

    def _plain(self, moves, s):
        inputs = list(self.problem.inputs)
        for k, move in moves.items():
            x = self._input(k)
            inputs[self.wrt[k]] = (x + s * move).astype(x.dtype)
        return self.problem.outputs(inputs)


def _sum(directions, signs):
    moves = {}
    for sign, direction in zip(signs, directions):
        for k, move in direction.items():
            moves[k] = moves.get(k, 0) + sign * move
    return moves


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")

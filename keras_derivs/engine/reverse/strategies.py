"""The general engine: vector-Jacobian products of the backend, nested, reverse over reverse.

Rows of the batch are independent, so the gradient of a sum over the batch holds every sample's
own gradient. Forward mode is reverse over reverse as well; see `passes.push_forward`.

Every strategy takes `(target, request)` and returns `(y, results)`.
"""

import math

import numpy as np
from keras import ops

from keras_derivs.engine.reverse import passes
from keras_derivs.engine.reverse.many import each
from keras_derivs.engine.target import flatten, scatter, size, take


def jacobian_by_rows(target, request):
    """A pass backward for each selected output: for each entry of x, (B, rows, columns)."""
    if request.single and request.rows is not None and len(request.rows) == 1:
        y, (found,) = passes.gradients(target, [(int(request.rows[0]),)])
        pairs = [(found[k], columns) for k, columns in request.columns]
        return y, [g if columns is None else _take(flatten(g), columns) for g, columns in pairs]
    y, blocks = each(target, [outputs(target, request)], passes.gradients, request.chunk_size)
    return y, [_take(_flat(blocks[k]), columns) for k, columns in request.columns]


def jacobian_by_columns(target, request):
    """A pass for each selected input: for each entry of x, (B, rows, columns)."""
    results = []
    for k, columns in request.columns:

        def evaluate(copies, index, k=k):
            y, push = passes.push_forward(copies, lambda slopes: slopes[k], len(index))
            return y, [[push(passes.one_hot(copies.xs[k], column))] for (column,) in index]

        index = [_columns(target, k, columns)]
        y, (block,) = each(target, index, evaluate, request.chunk_size)
        rows = take(_flat(block), target.rows(y, request.rows), axis=2)
        results.append(ops.swapaxes(rows, 1, 2))
    return y, results


def hessian(target, request):
    """For each pair of entries of x, (B, rows, columns, columns); equal blocks once."""
    results = []
    for k, columns in request.columns:

        def evaluate(copies, index, k=k):
            return passes.hessian_rows(copies, k, index)

        rows, columns = outputs(target, request), _columns(target, k, columns)
        index = _pairs(rows, columns)
        y, blocks = each(target, index, evaluate, request.chunk_size)
        results.append(
            [_split(_take(_flat(blocks[j]), other), rows, columns) for j, other in request.columns]
        )
    for n, row in enumerate(results):
        row[:n] = [ops.swapaxes(above[n], 2, 3) for above in results[:n]]
    return y, results


def hessian_diagonal(target, request):
    """For each entry of x, (B, rows, columns); of the Hessian only one row at a time is held."""
    results = []
    for k, columns in request.columns:

        def evaluate(copies, index, k=k):
            y, rows = passes.hessian_rows(copies, k, index)
            return y, [[passes.entry(row[k], i)] for row, (_, i) in zip(rows, index)]

        rows, columns = outputs(target, request), _columns(target, k, columns)
        index = _pairs(rows, columns)
        y, (diagonal,) = each(target, index, evaluate, request.chunk_size)
        results.append(_split(diagonal, rows, columns))
    return y, results


def laplacian(target, request):
    """The weighted sum of the second derivatives along the directions, of y's shape."""
    if request.directions is not None:
        return _along_directions(target, request)
    y, diagonals = hessian_diagonal(target, request)
    return y, [_weighted(ops.concatenate(diagonals, axis=-1), request.weights)]


def _along_directions(target, request):
    moves = _moves(target, request)

    def evaluate(copies, index):
        return passes.curvatures(copies, index, moves)

    rows, directions = outputs(target, request), np.arange(request.directions.shape[0])
    y, (curvatures,) = each(target, _pairs(rows, directions), evaluate, request.chunk_size)
    return y, [_weighted(_split(curvatures, rows, directions), request.weights)]


def _moves(target, request):
    """For each x, what the directions change in it: (directions, entries)."""
    moves, start = [0.0] * len(target.xs), 0
    for k, columns in request.columns:
        x = target.xs[k]
        columns = _columns(target, k, columns)
        part = ops.cast(request.directions[:, start : start + len(columns)], x.dtype)
        start += len(columns)
        moves[k] += scatter(part, columns, size(x))
    return moves


def _weighted(values, weights):
    if weights is not None:
        values = values * ops.cast(weights, values.dtype)
    return ops.sum(values, axis=-1)


def jvp(target, request):
    """J v, of y's shape and the dtype of x."""
    y, push = passes.push_forward(target)
    return y, [ops.cast(push(list(request.vectors)), target.xs[0].dtype)]


def vjp(target, request):
    """v J, of the shape of each x."""
    y, pull = passes.value(target)
    return y, pull(request.vectors[0])


def hvp(target, request):
    """H v of the selected output, of the shape of each x."""
    (row,) = request.rows.tolist()

    def slopes(at):
        y, (slope,) = passes.gradients(at, [(row,)])
        return [slope], y

    _, y, pull = passes.differentiate(target, slopes, order=2)
    return y, pull(0, list(request.vectors))


def outputs(target, request):
    """The selected outputs; where their number is unknown, the model tells it."""
    return ops.arange(size(passes.run(target))) if request.rows is None else request.rows


def _columns(target, k, columns):
    if columns is not None:
        return columns
    entries = size(target.xs[k])
    return np.arange(entries) if isinstance(entries, int) else ops.arange(entries)


def _pairs(rows, columns):
    """Every output with every entry of x, as two columns of indices."""
    if isinstance(rows, np.ndarray) and isinstance(columns, np.ndarray):
        return [np.repeat(rows, len(columns)), np.tile(columns, len(rows))]
    rows, columns = (ops.cast(ops.convert_to_tensor(z), "int32") for z in (rows, columns))
    pairs = ops.meshgrid(rows, columns, indexing="ij")
    return [ops.reshape(column, (-1,)) for column in pairs]


def _flat(block):
    """(B, index, *shape) to (B, index, entries)."""
    if len(block.shape) == 3:
        return block
    batch, index, *shape = ops.shape(block)
    known = all(isinstance(n, int) for n in shape)
    entries = math.prod(shape) if known else ops.prod(ops.stack(shape))
    return ops.reshape(block, (batch, index, entries))


def _split(block, rows, columns):
    """(B, rows * columns, …) to (B, rows, columns, …)."""
    batch, _, *shape = ops.shape(block)
    return ops.reshape(block, (batch, _length(rows), _length(columns), *shape))


def _length(indices):
    return len(indices) if isinstance(indices, np.ndarray) else ops.shape(indices)[0]


def _take(block, indices):
    return block if indices is None else ops.take(block, indices, axis=-1)

"""Weighted sums of second derivatives along directions, carried as one coefficient."""

import numpy as np
from keras import ops

from keras_derivs.engine.target import scatter, size
from keras_derivs.engine.taylor.space import Space
from keras_derivs.engine.taylor.strategies import all_columns, coefficient, propagate
from keras_derivs.engine.terms import Sum

# Directions at once, by default: fewer stay in the processor's cache.
MIN_CHUNK, MAX_CHUNKS = 25, 4


def laplacian(target, request):
    """sum_d w_d d2y/dv_d^2 along the directions v_d, of y's shape.

    Every selected entry of x is a direction unless others are given, and weights are one. Each
    chunk of directions computes the model's value anew; a compiler does so once.
    """
    selected = [(k, all_columns(target.xs[k], columns)) for k, columns in request.columns]
    count = sum(len(columns) for _, columns in selected)
    count = count if request.directions is None else request.directions.shape[0]
    weights = np.ones(count) if request.weights is None else request.weights
    results, chunk_size = [], request.chunk_size or max(MIN_CHUNK, -(-count // MAX_CHUNKS))
    for start in range(0, count, chunk_size):
        chunk = range(start, min(start + chunk_size, count))
        moves = _moves(target, selected, request.directions, chunk)
        y, result = _collapsed(target, moves, weights[chunk.start : chunk.stop])
        results.append(result)
    return y, [sum(results[1:], start=results[0])]


def _moves(target, selected, directions, chunk):
    """For each x, what the directions of a chunk change in it: (D, 1, *shape)."""
    moves, start = {}, 0
    for k, columns in selected:
        x = target.xs[k]
        if directions is None:
            part = (np.arange(len(columns)) + start == np.asarray(chunk)[:, None]) * 1.0
        else:
            part = directions[chunk.start : chunk.stop, start : start + len(columns)]
        start += len(columns)
        if isinstance(part, np.ndarray) and not part.any():
            continue
        move = _at_columns(part, columns, size(x))
        move = ops.reshape(ops.cast(move, x.dtype), (len(chunk), 1, *x.shape[1:]))
        moves[k] = moves[k] + move if k in moves else move
    return moves


def _at_columns(part, columns, entries):
    """Spread (D, columns) to (D, entries): zero where nothing is selected."""
    if not isinstance(part, np.ndarray):
        return scatter(part, columns, entries)
    placed = np.zeros((len(part), entries))
    np.add.at(placed, (slice(None), np.asarray(columns)), part)
    return placed


def _collapsed(target, moves, weights):
    """y, and sum_d w_d d2y/dv_d^2 along directions v_d that are given for each x."""
    whole = Sum(((0, 0),), (tuple(weights.tolist()),))
    space = Space(sums=[whole], directions=len(weights))
    y = propagate(target, space, {k: {(0,): move} for k, move in moves.items()})
    return y.value, coefficient(y, whole) * 2

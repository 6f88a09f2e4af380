"""Products of the Jacobian with many random vectors, as directions of one polynomial."""

from keras import ops

from keras_derivs.engine.target import scatter, side_by_side, size
from keras_derivs.engine.taylor.shapes import spread
from keras_derivs.engine.taylor.space import Space
from keras_derivs.engine.taylor.strategies import propagate


def projections(target, request):
    """J v for each of the vectors v (samples, B, columns), and those, (B, samples, …) each."""
    (vectors,) = request.vectors
    chunk_size, count = request.chunk_size or vectors.shape[0], vectors.shape[0]
    pieces = []
    for start in range(0, count, chunk_size):
        y, piece = _pushed(target, request.columns, vectors[start : start + chunk_size])
        pieces.append(piece)
    product = pieces[0] if len(pieces) == 1 else ops.concatenate(pieces, axis=1)
    return y, [product, side_by_side(vectors)]


def _pushed(target, selected, vectors):
    count = vectors.shape[0]
    space = Space([(0,)], directions=count)
    y = propagate(target, space, {k: {(0,): m} for k, m in _moves(target, selected, vectors)})
    first = spread(y).table.get((0,))
    if first is None:
        first = ops.zeros((count, *ops.shape(y.value)), dtype=vectors.dtype)
    return y.value, side_by_side(first)


def _moves(target, selected, vectors):
    """For each x, what the vectors change in it: (samples, B, *shape)."""
    moves, start = {}, 0
    for k, columns in selected:
        x = target.xs[k]
        count = size(x) if columns is None else len(columns)
        part = vectors[:, :, start : start + count]
        start += count
        part = part if columns is None else scatter(part, columns, size(x))
        move = ops.reshape(ops.cast(part, x.dtype), (*ops.shape(vectors)[:2], *x.shape[1:]))
        moves[k] = moves[k] + move if k in moves else move
    return moves.items()

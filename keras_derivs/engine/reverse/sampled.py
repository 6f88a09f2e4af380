"""Products of the Jacobian with many random vectors, by pulling each back."""

import numpy as np
from keras import ops

from keras_derivs.engine.reverse import passes
from keras_derivs.engine.reverse.many import each
from keras_derivs.engine.target import flatten, side_by_side


def projections(target, request):
    """v J for each of the vectors v (samples, B, *y), and those, (B, samples, …) each.

    There is a product for each entry of x, (B, samples, columns).
    """
    (vectors,) = request.vectors

    def evaluate(copies, index):
        y, pull = passes.value(copies, num_pulls=len(index))
        pulled = [pull(_beside(vectors, which)) for (which,) in index]
        return y, [[flatten(gradient) for gradient in gradients] for gradients in pulled]

    index = [np.arange(vectors.shape[0])]
    y, blocks = each(target, index, evaluate, request.chunk_size)
    products = [_take(blocks[k], columns) for k, columns in request.columns]
    return y, [*products, side_by_side(vectors)]


def _beside(vectors, which):
    """The vectors of one number, or of one for each row of a batch of copies."""
    if isinstance(which, int):
        return vectors[which]
    if passes.is_same(which):
        return ops.take(vectors, which, axis=0)
    samples, batch, *shape = ops.shape(vectors)
    rows = which * batch + ops.arange(ops.shape(which)[0], dtype="int32") % batch
    return ops.take(ops.reshape(vectors, (samples * batch, *shape)), rows, axis=0)


def _take(block, columns):
    return block if columns is None else ops.take(block, np.asarray(columns), axis=-1)

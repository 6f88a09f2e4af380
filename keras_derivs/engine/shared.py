"""Derivatives by places that are the same for all functions: one pass serves all of these."""

from dataclasses import replace

import keras
from keras import ops

from keras_derivs.engine.fold import by_row, rows
from keras_derivs.engine.target import take

# By kind, how many axes follow that of the outputs; `None`: the result is of y's shape.
TAIL = {
    "jacobian": 1, "hessian": 2, "hessian_diagonal": 1, "laplacian": None, "partials": None,
    "jvp": None,
}  # fmt: skip


def solve(strategy, target, request):
    """(y, results) with a row for each function at each place; rows are selected afterwards."""
    y, results = strategy(replace(target, entry=None), replace(request, rows=None))
    tail = TAIL[request.kind]
    results = keras.tree.map_structure(lambda z: by_row(y, z, tail or 0), results)
    y = rows(ops.swapaxes(y, 0, 1))
    if tail is not None:
        chosen = target.rows(y, request.rows)
        results = keras.tree.map_structure(lambda z: take(z, chosen), results)
    return y, results

"""The results of a request, laid out from partial derivatives, so that several share one pass.

A term is a tuple of entries (number of x, flat index), as in `Request.terms`.
"""

import itertools

import numpy as np
from keras import ops

from keras_derivs.engine.sums import weighted_sum
from keras_derivs.engine.target import flatten, size, take
from keras_derivs.engine.terms import single_terms, sort_term, weights_of


def terms(request, xs):
    """The partial derivatives that a request is made of; `None` where they cannot be listed."""
    if request.kind == "partials":
        return single_terms(request.terms)
    if request.kind not in _POWERS:
        return None
    blocks = entries(request, xs)
    if blocks is None:
        return None
    flat = [entry for block in blocks for entry in block]
    if request.directions is not None:
        factors = _factors(request, flat)
        return list(factors) or None  # random directions are not known before a call
    if request.kind == "hessian":
        return list(itertools.combinations_with_replacement(sorted(set(flat)), 2))
    return [(entry,) * _POWERS[request.kind] for entry in flat]


_POWERS = {"jacobian": 1, "hessian": 2, "hessian_diagonal": 2, "laplacian": 2}


def entries(request, xs):
    """The selected entries of each x; `None` where a shape leaves their number open."""
    blocks = []
    for k, columns in request.columns:
        count = size(xs[k])
        if columns is None and not isinstance(count, int):
            return None
        columns = np.arange(count) if columns is None else columns
        blocks.append([(k, int(index)) for index in columns])
    return blocks


def assemble(request, xs, find):
    """The results of a request; `find` gives the partial derivative for a term, of y's shape."""
    if request.kind == "partials":
        weights = map(weights_of, request.terms)
        return [weighted_sum((w, find(term)) for term, w in one.items()) for one in weights]
    request = request.listed()
    blocks = entries(request, xs)
    if request.kind == "hessian":
        return [[_block(request, find, one, two) for two in blocks] for one in blocks]
    if request.directions is not None:
        factors = _factors(request, list(itertools.chain(*blocks)))
        return [weighted_sum(zip(factors.values(), map(find, factors)))]
    power = _POWERS[request.kind]
    found = [[find((entry,) * power) for entry in block] for block in blocks]
    if request.kind == "laplacian":
        found = list(itertools.chain(*found))
        weights = itertools.repeat(1.0) if request.weights is None else request.weights.tolist()
        return [weighted_sum(zip(weights, found))]
    return [
        ops.stack([_select(request, derivative) for derivative in block], axis=-1)
        for block in found
    ]


def _factors(request, flat):
    """{second derivative: factor}: the sum of w (v·d/dx)^2 over the directions v."""
    v = np.asarray(request.directions, "float64")
    matrix = (v.T if request.weights is None else v.T * request.weights) @ v
    least = 1e-14 * np.max(np.abs(matrix), initial=0)
    return {
        sort_term((flat[i], flat[j])): float(matrix[i, j]) * (1 if i == j else 2)
        for i, j in itertools.combinations_with_replacement(range(len(flat)), 2)
        if abs(matrix[i, j]) > least
    }


def _select(request, derivative):
    return take(flatten(derivative), request.rows)


def _block(request, find, first, second):
    """(B, rows, first, second)."""
    rows = [[_select(request, find(sort_term((a, b)))) for b in second] for a in first]
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)

"""The Taylor strategies: which polynomial a request needs, and its coefficients as results.

Every strategy takes `(target, request)` and returns `(y, results)`, like those of the tape.
"""

import math
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.engine import layout
from keras_derivs.engine.sums import weighted_sum
from keras_derivs.engine.target import size, take
from keras_derivs.engine.taylor.carried import carried
from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.engine.taylor.propagate import apply_output
from keras_derivs.engine.taylor.rules import UnsupportedOperation
from keras_derivs.engine.taylor.shapes import spread
from keras_derivs.engine.taylor.space import Space
from keras_derivs.engine.terms import Sum, single_terms


def propagate(target, space, tangents):
    """The chosen output, a polynomial, where x moves by `tangents[k][term]` for each monomial."""
    if target.training:
        raise _cannot("inference mode (`training=False`)", "training mode")
    if any(mask is not None for mask in target.masks):
        raise _cannot("inputs without masks", "masked inputs")
    xs, fold = [ops.convert_to_tensor(x) for x in target.xs], target.fold
    inputs = [ops.convert_to_tensor(x) for x in target.given_to_model]
    if fold is not None:
        tangents = {
            k: {term: fold.coefficient(c, xs[k]) for term, c in moves.items()}
            for k, moves in tangents.items()
        }
    y = _output(target, space, inputs, tangents)
    if not isinstance(y, Polynomial):
        return Polynomial(space, {(): target.seen(y)})
    if fold is not None:
        y = spread(y)
        y = y.like({term: fold.output_coefficient(c, y.value) for term, c in y.table.items()})
    dtype = keras.backend.result_type(*[x.dtype for x in target.xs])  # as on the tape
    return y.like({term: ops.cast(c, dtype) if term else c for term, c in y.table.items()})


def _output(target, space, inputs, tangents):
    """What the model returns for polynomials, or the tensor that does not vary."""
    seen = []

    def run(values):
        inputs = list(values)
        for k, moves in tangents.items():
            position = target.wrt[k]
            inputs[position] = Polynomial(space, {(): inputs[position], **moves})
        inputs = keras.tree.pack_sequence_as(target.structure, inputs)
        y = apply_output(target.model, inputs, target.output)
        seen[:] = [y]
        return list(y.table.values()) if isinstance(y, Polynomial) else [y]

    with backend.scope(target.model):
        found = backend.selected(run, inputs)
    (y,) = seen
    return Polynomial(space, dict(zip(y.table, found))) if isinstance(y, Polynomial) else found[0]


def _cannot(needed, culprit):
    error = UnsupportedOperation(
        f"Taylor propagation needs {needed}. Received: {culprit}. Use strategy='auto' or 'tape'."
    )
    error.culprit = culprit
    return error


def _unknown_shape():
    return _cannot("inputs of known shape, to count its directions", "an unknown shape")


def partials(target, request):
    """For each term, a tensor of y's shape."""
    form = carried(request.terms)
    entries = sorted({entry for term in single_terms(request.terms) for entry in term})
    tangents = {}
    for k, index in entries:
        move = one_hot(target.xs[k], [index])[0]
        for term, weight in _first_order(form.space, (k, index)):
            move = move * weight if weight != 1 else move
            moves = tangents.setdefault(k, {})
            moves[term] = moves[term] + move if term in moves else move
    y = spread(propagate(target, form.space, tangents))
    return y.value, [_read(y, reading) for reading in form.readings]


def _first_order(space, entry):
    """(term, weight) of the coefficients in which an entry of x stands itself."""
    for term in space.terms:
        if isinstance(term, Sum):
            yield from ((term, w) for one, w in zip(term.terms, term.weights) if one == (entry,))
        elif term == (entry,):
            yield term, 1


def _read(y, reading):
    """sum of weight times coefficient, of y's shape."""
    found = weighted_sum((w, y.table[term]) for term, w in reading.items() if term in y.table)
    return ops.zeros_like(y.value) if found is None else found


def jvp(target, request):
    """J v, of y's shape."""
    y = propagate(target, Space([(0,)]), {k: {(0,): v} for k, v in enumerate(request.vectors)})
    return y.value, [_read(spread(y), {(0,): 1})]


def jacobian(target, request):
    """A direction for each selected input: for each entry of x, (B, rows, columns)."""
    y, (first,) = _along_columns(target, request, Space, [(0,)])
    return y, [_rows_by_columns(c, target.rows(y, request.rows)) for c in first]


def hessian_diagonal(target, request):
    """For each entry of x, (B, rows, columns)."""
    y, (second,) = _along_columns(target, request, Space, [(0, 0)])
    return y, [_rows_by_columns(c * 2, target.rows(y, request.rows)) for c in second]


def _along_columns(target, request, space_of, wanted):
    """y, and for each wanted monomial and each (k, columns) the coefficient (D, B, *shape)."""
    found, y = [[] for _ in wanted], None
    for k, columns in request.columns:
        pieces = [[] for _ in wanted]
        for directions in _chunks(one_hot(target.xs[k], columns), request.chunk_size):
            space = space_of(wanted, directions=directions.shape[0])
            poly = propagate(target, space, {k: {(0,): directions}})
            y = poly.value
            for piece, term in zip(pieces, wanted):
                piece.append(coefficient(poly, term))
        for results, piece in zip(found, pieces):
            results.append(piece[0] if len(piece) == 1 else ops.concatenate(piece, axis=0))
    return y, found


def coefficient(y, term):
    """A coefficient of the full shape, zeros where it is absent."""
    y = spread(y)
    if term in y.table:
        return y.table[term]
    shape = tuple(ops.shape(y.value))
    lead = (y.space.directions,) if y.space.stacked(term) else ()
    return ops.zeros((*lead, *shape), dtype=y.dtype)


def _rows_by_columns(c, rows):
    """(D, B, *shape) to (B, rows, D)."""
    directions, batch, *shape = ops.shape(c)
    entries = math.prod(shape) if all(isinstance(n, int) for n in shape) else -1
    c = ops.transpose(ops.reshape(c, (directions, batch, entries)), (1, 2, 0))
    return take(c, rows)


def hessian(target, request):
    """For each pair of entries of x, (B, rows, columns, columns)."""
    terms = layout.terms(request, target.xs)
    if terms is None:
        raise _unknown_shape()
    y, values = partials(target, replace(request, terms=terms))
    request, found = request.listed(), dict(zip(terms, values))
    request = replace(request, rows=target.rows(y, request.rows))
    return y, layout.assemble(request, target.xs, found.get)


def all_columns(x, columns):
    entries = size(x)
    if columns is not None and isinstance(entries, int):
        return columns
    if not isinstance(entries, int):
        raise _unknown_shape()
    return np.arange(entries)


def one_hot(x, columns):
    """A direction for each entry of x: (D, 1, *shape), the same for all samples."""
    places = _places(x, columns)
    return ops.convert_to_tensor(places.reshape(len(places), 1, *x.shape[1:]), dtype=x.dtype)


def _places(x, columns):
    """A row for each column: one at its place among the entries of x, zero elsewhere."""
    columns = np.asarray(all_columns(x, columns))
    places = np.zeros((len(columns), size(x)))
    places[np.arange(len(columns)), columns] = 1
    return places


def _chunks(directions, chunk_size):
    count = directions.shape[0]
    if chunk_size is None or chunk_size >= count:
        return [directions]
    return [directions[n : n + chunk_size] for n in range(0, count, chunk_size)]

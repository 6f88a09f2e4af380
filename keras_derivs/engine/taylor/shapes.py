"""The shapes of coefficients: batch axes of one, axes of directions, broadcasting."""

import numpy as np
from keras import ops


def spread(x):
    """The same polynomial with all coefficients of the full shape of the value."""
    shape = tuple(ops.shape(x.value))
    tables = {
        term: _broadcast(c, (x.space.directions, *shape) if x.space.stacked(term) else shape)
        for term, c in x.table.items()
        if term
    }
    return x.like({(): x.value, **tables})


def fit(x, value):
    """The polynomial with another value, to whose shape its coefficients are broadcast.

    A batch axis of one may stay.
    """
    if same_shape(x.value, value):
        return x.like({**x.table, (): value})
    x = deepen(x, len(value.shape))
    sample = tuple(ops.shape(value))[1:]

    def fitted(term, c):
        axes = 1 + x.space.stacked(term)
        return _broadcast(c, (*tuple(ops.shape(c))[:axes], *sample))

    return x.like({term: fitted(term, c) if term else value for term, c in x.table.items()})


def rank(x):
    """The number of axes of a tensor, an array or a number."""
    return len(getattr(x, "shape", None) or np.shape(x))


def same_shape(a, b):
    """Whether two tensors are known to have one shape; axes of unknown length may differ."""
    shapes = [tuple(x.shape)[1:] for x in (a, b)]
    return len(a.shape) == len(b.shape) and shapes[0] == shapes[1] and None not in shapes[0]


def deepen(x, rank):
    """The polynomial with leading axes of one up to `rank`, as broadcasting adds them."""
    if x.ndim >= rank:
        return x
    x, ones = spread(x), (1,) * (rank - x.ndim)

    def deep(term, c):
        shape, lead = tuple(ops.shape(c)), int(x.space.stacked(term))
        return ops.reshape(c, (*shape[:lead], *ones, *shape[lead:]))

    return x.like({term: deep(term, c) for term, c in x.table.items()})


def map_linear(function, tensors, keeps_batch):
    """A function that is linear in all `tensors` together, coefficient by coefficient.

    `tensors` are polynomials and plain tensors; the results become polynomials. Where the
    function treats every entry of axis 0 alike (`keeps_batch`), directions are put into that axis.
    """
    space = next(x.space for x in tensors if not is_plain(x))
    if not keeps_batch:
        tensors = [x if is_plain(x) else spread(x) for x in tensors]
    results = function([x if is_plain(x) else x.value for x in tensors])
    tables = [{(): result} for result in results]
    for term in space.terms[1:]:
        coefficients = [None if is_plain(x) else x.table.get(term) for x in tensors]
        if any(c is not None for c in coefficients):
            parts = _alike(coefficients, tensors, space.stacked(term))
            for table, part in zip(tables, _at_term(function, parts, space, term, keeps_batch)):
                table[term] = part
    example = next(x for x in tensors if not is_plain(x))
    return [example.like(table) for table in tables]


def is_plain(x):
    return not hasattr(x, "table")


def _at_term(function, parts, space, term, keeps_batch):
    if not space.stacked(term):
        batch = parts[0].shape[0] if keeps_batch and parts[0].shape else None
        return [_keep_batch(result, batch) for result in function(parts)]
    if not keeps_batch:
        each = [function([part[n] for part in parts]) for n in range(space.directions)]
        return [ops.stack(results, axis=0) for results in zip(*each)]
    batch = parts[0].shape[1]
    results = function([merge(part) for part in parts])
    return [unmerge(result, space.directions, batch) for result in results]


def merge(c):
    """(directions, batch, ...) to (directions * batch, ...)."""
    return ops.reshape(c, (-1, *tuple(ops.shape(c))[2:]))


def unmerge(c, directions, batch):
    """(directions * batch, ...) to (directions, batch, ...)."""
    return ops.reshape(c, (directions, batch or -1, *tuple(ops.shape(c))[1:]))


def _keep_batch(c, batch):
    """`c` with a batch axis known to be one, if it is: a shared coefficient stays known as such."""
    if batch != 1 or c.shape[0] == 1:
        return c
    return ops.reshape(c, (1, *tuple(ops.shape(c))[1:]))


def _alike(coefficients, tensors, stacked):
    """The coefficients of one monomial, of equal batch axes, zeros in the place of absent ones."""
    if len(tensors) == 1:
        return coefficients
    present = [c for c in coefficients if c is not None]
    lead = next(((c.shape[0],) for c in present if stacked), ())
    sizes = {c.shape[stacked] for c in present}
    shared = sizes == {1}

    def full(c, x):
        value = x if is_plain(x) else x.value
        shape = (*lead, *((1,) if shared else ()), *tuple(ops.shape(value))[int(shared) :])
        dtype = present[0].dtype
        return ops.zeros(shape, dtype=dtype) if c is None else _broadcast(c, shape)

    return [full(c, x) for c, x in zip(coefficients, tensors)]


def _broadcast(c, shape):
    """`c` broadcast to a shape; nothing to do where the two agree as far as they are known."""
    same = all(
        n == m if isinstance(n, int) else m is None for m, n in zip(c.shape, shape, strict=True)
    )
    return c if same else ops.broadcast_to(c, shape)

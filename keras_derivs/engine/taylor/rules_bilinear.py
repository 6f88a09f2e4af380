"""Rules of products: every pair of coefficients whose monomials multiply to a carried one."""

import functools
import string

import keras
from keras import ops

from keras_derivs.engine.sums import total
from keras_derivs.engine.taylor import series
from keras_derivs.engine.taylor.polynomial import Polynomial, Scaled, handed_on, multiply
from keras_derivs.engine.taylor.rules import taylor_rule, unsupported, values
from keras_derivs.engine.taylor.shapes import deepen, fit, is_plain, map_linear, spread
from keras_derivs.graph.private import numpy as knp


def align(*tensors):
    """Polynomials with as many axes as the broadcast result, and tensors as they are."""
    rank = max(len(getattr(x, "shape", ())) for x in tensors)
    return [deepen(x, rank) if isinstance(x, Polynomial) else x for x in tensors]


def bilinear(function, a, b):
    """A bilinear function of polynomials or tensors, one of them at least a polynomial."""
    if is_plain(b):
        return a.each(lambda c: function(c, b))
    if is_plain(a):
        return b.each(lambda c: function(a, c))
    return multiply(a, b, function)


@taylor_rule(knp.Add)
def add(operation, a, b):
    return plus(a, b)


def plus(a, b):
    """The sum of polynomials or tensors that broadcast, of equal dtypes.

    By the operator: `ops.add` takes a second summand of shape (n, 1, 1) for a bias where the
    first has n channels, and adds it along the wrong axis.
    """
    first, second = (ops.convert_to_tensor(x, dtype_of(a, b)) for x in values([a, b]))
    return _sum(first + second, *align(a, b))


def dtype_of(*tensors):
    """The dtype of the polynomials' values with the tensors beside them."""
    return keras.backend.result_type(
        *[x.dtype if hasattr(x, "dtype") else type(x) for x in tensors]
    )


@taylor_rule(knp.Subtract)
def subtract(operation, a, b):
    value = operation.call(*values([a, b]))
    return _sum(value, *align(a, b if is_plain(b) else -b))


def _sum(value, *parts):
    """The sum of polynomials and tensors, of known value."""
    tables = [fit(x, value).table for x in parts if not is_plain(x)]
    example = next(x for x in parts if not is_plain(x))
    rest = {t: total([table.get(t) for table in tables]) for t in example.space.terms if t}
    return example.like({(): value, **rest})


@taylor_rule(knp.Multiply)
def product(operation, a, b):
    if a is b:
        return a * a
    result = bilinear(operation.call, *align(a, b))
    return handed_on(result, functools.partial(product, operation), a, b)


@taylor_rule(knp.Divide, knp.TrueDivide)
def quotient(operation, a, b):
    a, b = align(a, b)
    if is_plain(b):
        result = a.each(lambda c: operation.call(c, b))
        return handed_on(result, functools.partial(quotient, operation), a, b)
    value = operation.call(*values([a, b]))
    return fit(series.divide(a, b, value), value)


@taylor_rule(knp.Matmul)
def matmul(operation, a, b):
    if is_plain(b) and len(b.shape) <= 2 and a.ndim >= 2:
        return times_kernel(operation, a, b)
    if any(len(x.shape) < 3 for x in (a, b) if not is_plain(x)):  # along the axis of rows
        if any(len(x.shape) < 2 for x in (a, b)):
            raise unsupported(operation, "multiplies along the batch axis")
        a, b = (x if is_plain(x) else spread(x) for x in (a, b))
    return bilinear(operation.call, *align(a, b))


def times_kernel(operation, x, kernel):
    scaled = {t: c for t, c in x.lazy.items() if isinstance(c, Scaled) and len(kernel.shape) == 2}
    rest = x.like({t: c for t, c in x.lazy.items() if t not in scaled})
    y = map_linear(lambda parts: [operation.call(parts[0], kernel)], [rest], keeps_batch=True)[0]
    products = {
        t: operation.call(c.tensor, ops.transpose(c.factor) * kernel) for t, c in scaled.items()
    }
    y = y.like({**y.table, **products})
    y.mixed = True
    return y


@taylor_rule(knp.Dot)
def dot(operation, a, b):
    if len(a.shape) == len(b.shape) == 2:
        return matmul(knp.Matmul(), a, b)
    if not is_plain(b) or len(b.shape) > 2 or a.ndim < 2:
        raise unsupported(operation, "multiplies along the batch axis")
    return times_kernel(operation, a, b)


@taylor_rule(knp.Einsum)
def einsum(operation, *operands):
    """Linear in each operand; directions have a letter of their own."""
    varying = [n for n, x in enumerate(operands) if not is_plain(x)]
    if len(varying) > 2 or "." in operation.subscripts or "->" not in operation.subscripts:
        raise unsupported(operation, "has subscripts without a Taylor rule")
    if not _batch_stands_alone(operation.subscripts, varying):
        operands = [x if is_plain(x) else spread(x) for x in operands]
    space, table = operands[varying[0]].space, {}
    for term, factors in _factors(space, [operands[n].table for n in varying]).items():
        each = ((w, _einsum(operation, operands, dict(zip(varying, f)))) for f, w in factors)
        table[term] = space.collapse(each)
    return Polynomial(space, table)


def _batch_stands_alone(subscripts, polynomials):
    """Whether no other operand has the batch axis, so that it may have length one."""
    sources, result = subscripts.replace(" ", "").split("->")
    batch = sources.split(",")[polynomials[0]][:1]
    return sources.count(batch) == 1 and result.startswith(batch)


def _factors(space, tables):
    """For each term of the result, the terms of its factors, and the weight of each product."""
    if len(tables) == 1:
        return {term: [((term,), 1)] for term in tables[0]}
    found = {
        term: [((a, b), weight) for a, b, weight in pairs if a in tables[0] and b in tables[1]]
        for term, pairs in space.pairs.items()
    }
    return {term: factors for term, factors in found.items() if factors}


def _einsum(operation, operands, terms):
    """The product of coefficients: `terms` says which of each operand that varies."""
    sources, result = operation.subscripts.replace(" ", "").split("->")
    sources, operands = sources.split(","), list(operands)
    letter = next(c for c in string.ascii_letters if c not in operation.subscripts)
    for n, term in terms.items():
        x = operands[n]
        operands[n] = x.table[term]
        if x.space.stacked(term):
            sources[n] = letter + sources[n]
            result = result if result.startswith(letter) else letter + result
    return ops.einsum(",".join(sources) + "->" + result, *operands)

"""Rules of inverses, determinants and linear systems."""

import functools

from keras import ops

from keras_derivs.engine.taylor.propagate import call
from keras_derivs.engine.taylor.rules import taylor_rule, unsupported, values
from keras_derivs.engine.taylor.rules_bilinear import align, bilinear
from keras_derivs.engine.taylor.shapes import fit, is_plain
from keras_derivs.graph.private import linalg
from keras_derivs.graph.private import math as kmath
from keras_derivs.graph.private import numpy as knp

MAX_EXPANDED = 4  # the largest matrix whose determinant is expanded by its first row


@taylor_rule(linalg.Inv)
def inverse(operation, x):
    """From X Y = I, the coefficients of Y = X^-1: Y_k = -Y_0 sum_j X_j Y_{k-j}."""
    first, moves = operation.call(x.value), x.moves
    table = {(): first}
    for term in x.space.terms[1:]:
        product = x.space.products(moves, table, ops.matmul, x.space.pairs[term])
        table[term] = None if product is None else -ops.matmul(first, product)
    return x.like(table)


@taylor_rule(linalg.Solve)
def solve(operation, a, b):
    """A^-1 B, for matrices B, or for vectors, which have an axis less."""
    value = operation.call(*values([a, b]))
    inverted = ops.inv(a) if is_plain(a) else inverse(linalg.Inv(name="inv"), a)
    if len(b.shape) == len(a.shape):
        return fit(bilinear(ops.matmul, *align(inverted, b)), value)
    columns = call(lambda x: ops.expand_dims(x, -1), b)
    product = bilinear(ops.matmul, *align(inverted, columns))
    return fit(call(lambda x: ops.squeeze(x, -1), product), value)


@taylor_rule(knp.Slogdet)
def slogdet(operation, x):
    """(log |det X|)' = tr(X^-1 X'); the sign does not vary."""
    sign, logarithm = operation.call(x.value)
    inverted = inverse(linalg.Inv(name="inv"), x)
    advance = functools.partial(x.space.products, x.table, inverted.table, _trace)
    moves = {term: advance(x.space.steps[term]) for term in x.space.terms[1:]}
    return sign, x.like({(): logarithm, **moves})


def _trace(a, b):
    return ops.sum(a * ops.swapaxes(b, -1, -2), axis=(-2, -1))


@taylor_rule(kmath.Logdet)
def logdet(operation, x):
    _, result = slogdet(knp.Slogdet(name="slogdet"), x)
    return result.with_value(operation.call(x.value))


@taylor_rule(linalg.Det)
def determinant(operation, x):
    size = x.shape[-1]
    if size is None or size > MAX_EXPANDED:
        raise unsupported(operation, f"is of matrices of more than {MAX_EXPANDED} rows")
    return call(_expanded, x).with_value(operation.call(x.value))


def _expanded(x):
    """Along the first row; the entries are on the last two axes."""
    size = x.shape[-1]
    if size == 1:
        return x[..., 0, 0]
    terms = []
    for n in range(size):
        rest = [k for k in range(size) if k != n]
        minor = ops.take(x[..., 1:, :], rest, axis=-1)
        terms.append(x[..., 0, n] * _expanded(minor) * (-1) ** n)
    return sum(terms[1:], start=terms[0])

"""Rules of inverses and determinants of matrices."""

from keras import ops

from keras_derivs.engine.taylor.propagate import call
from keras_derivs.engine.taylor.rules import taylor_rule, unsupported
from keras_derivs.engine.taylor.rules_bilinear import align, bilinear
from keras_derivs.engine.taylor.shapes import fit, is_plain
from keras_derivs.graph.private import linalg

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
    """A^-1 B, for matrices B."""
    if len(b.shape) != len(a.shape):
        raise unsupported(operation, "solves for vectors")
    inverted = ops.inv(a) if is_plain(a) else inverse(linalg.Inv(name="inv"), a)
    result = bilinear(ops.matmul, *align(inverted, b))
    return fit(result, operation.call(*[x if is_plain(x) else x.value for x in (a, b)]))


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

"""The partial derivatives of x^y by both, at x = 0 too: there they are their limits from above.

A partial derivative is x^(y - i) sum_k binom(j, k) f^(k)(y) log(x)^(j - k), where f is
y (y - 1) ... (y - i + 1). At x = 0 that is zero for y > i; below, and at y = i unless j is 0, it is
infinite, unless the sum is zero whatever x is. A negative x has a logarithm of 0: there a power
does not vary with its exponent, as in TensorFlow.
"""

import math

from keras import ops

from keras_derivs.backend.steep import STEEP


def partial(x, y, i, j):
    """d^(i + j) x^y / dx^i dy^j, of tensors of one shape and dtype."""
    return coefficient(x, y, i, j) * (math.factorial(i) * math.factorial(j))


def coefficient(x, y, i, j):
    """The Taylor coefficient of x^y at the i-th power of x and the j-th of y."""
    zero, ones = ops.equal(x, 0), ops.ones_like(x)
    factors = [c / math.factorial(i) for c in _falling(y, i, j)]
    logarithm = ops.log(ops.where(x > 0, x, ones))
    total = factors[-1] * _term(logarithm, j - len(factors) + 1)
    for k, c in enumerate(factors[:-1]):
        total = total + c * _term(logarithm, j - k)
    power = ops.power(ops.where(zero, ones, x), y - i)
    constant = ops.logical_and(ops.equal(total, 0), ops.logical_not(ops.isfinite(power)))
    beside = total * ops.where(constant, ones, power)
    return ops.where(zero, _at_zero(x, y, i, j, factors), beside)


def _falling(y, i, j):
    """The Taylor coefficients of y (y - 1) ... (y - i + 1), up to the j-th that is not zero."""
    found = [ops.ones_like(y)]
    for m in range(i):
        longer = [(y - m) * c for c in found]
        found = [longer[0], *(a + b for a, b in zip(longer[1:], found)), found[-1]]
    return found[: j + 1]


def _term(logarithm, power):
    return logarithm**power / math.factorial(power) if power else 1.0


def _at_zero(x, y, i, j, factors):
    """The limit; x keeps a slope, for the gradient of a weight that x is a multiple of."""
    zeros, lead = ops.zeros_like(y), ops.zeros_like(y)
    for k, c in enumerate(factors):
        lead = ops.where(ops.equal(lead, 0), c * (-1.0) ** (j - k), lead)
    infinite = ops.where(lead > 0, zeros + math.inf, ops.where(lead < 0, zeros - math.inf, zeros))
    slope = ops.where(y - i < 1, zeros + STEEP * (-1.0) ** j, ops.where(y - i > 1, zeros, lead))
    above = x * (slope if j == 0 else ops.where(ops.equal(y - i, 1), zeros + STEEP, slope))
    at = factors[0] if j == 0 else infinite
    return ops.where(y > i, above, ops.where(y < i, infinite, at))

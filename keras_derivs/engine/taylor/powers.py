"""Powers and roots of polynomials, also where their slopes are infinite."""

import collections

from keras import ops

from keras_derivs.backend.powers import coefficient
from keras_derivs.backend.steep import STEEP
from keras_derivs.engine.sums import total
from keras_derivs.engine.taylor.polynomial import (
    Polynomial,
    multiply,
    root_of,
    square,
)
from keras_derivs.engine.taylor.series import (
    expand,
    guarded,
    integrate,
    powers_of_change,
    steep_product,
)


def power(z, exponent, y0):
    """z^exponent, of value `y0`: its Taylor coefficients are binom(exponent, k) z^(exponent - k).

    The exponent is a number or a tensor.
    """
    binomial, coefficients = 1.0, [y0]
    for k in range(1, z.space.order + 1):
        binomial = binomial * (exponent - (k - 1)) / k
        if isinstance(exponent, float):
            vanishes = binomial == 0
            coefficients.append(None if vanishes else binomial * steep_power(z.value, exponent - k))
        else:
            base = safe_base(z.value, binomial * (exponent - k))
            coefficients.append(binomial * steep_power(base, exponent - k))
    return expand(z, coefficients, guarded)


def steep_power(x, exponent):
    """x^exponent, whose gradient at 0 is finite."""
    if isinstance(exponent, float) and not 0 < exponent < 1:
        return x**exponent
    steep = ops.logical_and(x == 0, ops.logical_and(exponent > 0, exponent < 1))
    return ops.where(steep, x * STEEP, ops.power(ops.where(steep, ops.ones_like(x), x), exponent))


def safe_base(x, factor):
    """The base of a power; where it is 0 and its derivative has the factor 0, one."""
    return ops.where(ops.logical_and(x == 0, factor == 0), ops.ones_like(x), x)


def integer_power(z, exponent):
    """z^exponent by repeated products, which are right at z = 0 too."""
    if exponent < 0:
        return power(z, float(exponent), z.value ** float(exponent))
    result, factor = None, z
    while exponent:
        if exponent % 2:
            result = factor if result is None else result * factor
        exponent //= 2
        if exponent:
            factor = square(factor)
    return z.like({(): ops.ones_like(z.value)}) if result is None else result


def of_order(root, n, z):
    """The n-th root of z, whose powers from the n-th on have derivatives at zero, too."""
    root.whole = n, z
    return root


def power_of_root(root, exponent):
    """A whole power of an n-th root, not below the n-th."""
    n, z = root.whole
    result = integer_power(z, exponent // n)
    if exponent % n:
        result = multiply(result, integer_power(root, exponent % n), guarded)
    return result.with_value(root.value**exponent)


def slope_of_root(z, rest):
    """z / r for r = sqrt(z^2 + rest), from its slope rest / r^3, which does not cancel."""
    over = rsqrt(square(z) + rest)
    return integrate(z, z.value * over.value, square(over) * over * rest)


def sqrt(z):
    """Its slopes are infinite at zero, unless z does not move."""
    root = expand(z, [ops.sqrt(z.value), *_root_coefficients(z, 0.5)], guarded)
    return root_of(root, lambda: z)


def rsqrt(z):
    return expand(z, _root_coefficients(z, -0.5, start=0), steep_product(z))


def _root_coefficients(z, exponent, start=1):
    """binom(exponent, k) z^(exponent - k) from k = `start` on, for exponents of 1/2 and -1/2."""
    root, over = ops.rsqrt(z.value), 1 / z.value
    binomial = exponent if start else 1.0
    for k in range(start, z.space.order + 1):
        yield root * binomial
        root, binomial = root * over, binomial * (exponent - k) / (k + 1)


def norm(z):
    """sqrt(z) for a sum of squares, whose derivatives at zero are taken to be zero."""
    positive = z.value > 0
    root = sqrt(z.with_value(ops.where(positive, z.value, ops.ones_like(z.value))))
    kept = root.each(lambda c: ops.where(positive, c, ops.zeros_like(c)))
    return root_of(kept.with_value(ops.where(positive, root.value, z.value)), lambda: z)


def cbrt(z):
    """|z|^(1/3 - k) with the sign of z, which may be negative."""
    size, sign = ops.abs(z.value), ops.where(z.value < 0, -ops.ones_like(z.value), 1.0)
    binomial, coefficients = 1.0, [ops.cbrt(z.value)]
    for k in range(1, z.space.order + 1):
        binomial = binomial * (1 / 3 - (k - 1)) / k
        slope = binomial * size ** (1 / 3 - k)
        coefficients.append(slope if k % 2 else slope * sign)
    return of_order(expand(z, coefficients, guarded), 3, z)


def general_power(base, exponent):
    """base^exponent where the exponent varies: a polynomial, and the base one or a tensor."""
    x, y = (getattr(z, "value", z) for z in (base, exponent))
    value, order = ops.power(x, y), exponent.space.order
    x, y = x + ops.zeros_like(value), y + ops.zeros_like(value)
    changes = powers_of_change(base) if isinstance(base, Polynomial) else []
    parts = collections.defaultdict(list)
    for i, first in enumerate([None, *changes]):
        for j, second in enumerate([None, *powers_of_change(exponent)][: order + 1 - i]):
            change = multiply(first, second) if i and j else first or second
            if change is not None and change.table:
                c = coefficient(x, y, i, j)
                for term, move in change.table.items():
                    parts[term].append(guarded(move, c))
    return exponent.like({(): value, **{term: total(added) for term, added in parts.items()}})

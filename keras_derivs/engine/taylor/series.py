"""Elementary functions of polynomials, from the differential equations that they solve.

If y' = v(y, z) z' then, coefficient by coefficient, y_k = sum_j (j/k) z_j v_{k-j}: each
coefficient of y follows from lower ones (Griewank and Walther, "Evaluating Derivatives",
chapter 13). At orders one and two the coefficients of f at the value are composed instead:
f(z0 + d) = f(z0) + f'(z0) d + f''(z0)/2 d^2.
"""

import math

from keras import ops

from keras_derivs.engine.taylor.polynomial import (
    Polynomial,
    Scaled,
    Space,
    convolve_square,
    multiply,
    scaled,
    square,
    total,
)
from keras_derivs.engine.taylor.rules import UnsupportedOperation


def compose(function, z):
    """`function`, written for polynomials, of `z`."""
    shared = _is_shared(z)
    if z.space.order > 2 and not shared:
        return function(z)
    line = Space([(0,) * z.space.order])
    point = Polynomial(line, {(): z.value, (0,): 1.0} if z.space.order else {(): z.value})
    c = function(point).table
    powers = _powers(z)
    table = {t: _composed(c, powers, t, shared) for t in z.space.monomials if t}
    return z.like({(): c[()], **table})


def elementwise(z, *derivatives):
    """f(z) of a polynomial, element by element.

    Args:
        z: A `Polynomial`.
        *derivatives: f, f', f'', ..., functions of the tensor `z.value`, as many as the highest
            order that is asked for.

    Raises:
        UnsupportedOperation: More orders were asked for than derivatives are given.
    """
    if len(derivatives) <= z.space.order:
        raise UnsupportedOperation(
            f"A derivative of order {z.space.order} needs as many derivatives of each element-wise "
            f"function. Received: {len(derivatives) - 1}. Give `elementwise` more of them."
        )
    powers, shared = _powers(z) if z.space.order else [], _is_shared(z)
    c = {(0,) * k: f(z.value) / math.factorial(k) for k, f in enumerate(derivatives)}
    return z.like(
        {(): c[()], **{t: _composed(c, powers, t, shared) for t in z.space.monomials if t}}
    )


def _is_shared(z):
    """Whether all samples move alike, as they do up to the first activation of a model."""
    moves = [c for term, c in z.table.items() if term]
    apart = z.space.directions is None and z.ndim == 2 and z.shape[0] != 1
    return apart and all(c.shape[0] == 1 for c in moves)


def _powers(z):
    """d, d^2, ... up to the highest order, for the part d of z that is not its value."""
    d = Polynomial(z.space, {term: c for term, c in z.table.items() if term})
    powers = [d, square(d)] if z.space.order > 1 else [d]
    while len(powers) < z.space.order:
        powers.append(multiply(powers[-1], d))
    return powers


def _composed(c, powers, term, shared):
    """The coefficient at `term` of sum_k f^(k)(z0)/k! d^k."""
    parts = [
        (c[(0,) * k], power.table[term])
        for k, power in enumerate(powers, start=1)
        if (0,) * k in c and term in power.table
    ]
    if shared and len(parts) == 1 and not isinstance(parts[0][0], float):
        return Scaled(*parts[0])
    return total([power * slope for slope, power in parts])


def integrate(z, y0, slope):
    """y(z) of a polynomial, for a function whose derivative is known as a polynomial.

    Args:
        z: A `Polynomial`.
        y0: The tensor y(z.value).
        slope: The `Polynomial` dy/dz.
    """
    y = {term: _advance(z, slope.table, term) for term in z.space.monomials if term}
    return z.like({(): y0, **y})


def _advance(z, v, term):
    """sum_j (j/k) z_j v_{k-j}: a coefficient of y where y' = v z'."""
    return total(
        [
            scaled(z.space.join(first, second, z.table[first] * v[second]), weight)
            for first, second, weight in z.space.steps[term]
            if first in z.table and v.get(second) is not None
        ]
    )


def riccati(z, y0, constant, linear, quadratic):
    """The solution of y' = constant + linear y + quadratic y^2, of value `y0`."""
    y, v = {}, {}
    for term in z.space.monomials:
        value = _advance(z, v, term) if term else y0
        if value is not None:
            y[term] = value
        if term in z.space.inner:
            squared = convolve_square(Polynomial(z.space, y), term) if quadratic else None
            v[term] = total([scaled(y.get(term), linear), scaled(squared, quadratic)])
            if not term and constant:
                v[term] = v[term] + constant
    return z.like(y)


def power(z, exponent, y0):
    """z^exponent, of value `y0`, from z y' = exponent y z'."""
    y, over = {(): y0}, 1 / z.value
    for term in z.space.monomials[1:]:
        parts = [
            scaled(z.space.join(first, second, z.table[first] * y[second]), factor)
            for first, second, factor in _power_steps(z.space, term, exponent)
            if first in z.table and second in y
        ]
        if parts:
            y[term] = total(parts) * over
    return z.like(y)


def _power_steps(space, term, exponent):
    """(first, second, (exponent j - (k - j)) / k), j and k the degrees of `first` and `term`."""
    chosen = min(set(term), key=term.count)
    for first, second in space.pairs[term]:
        if first:
            j, rest = first.count(chosen), second.count(chosen)
            yield first, second, (exponent * j - rest) / term.count(chosen)


def integer_power(z, exponent):
    """z^exponent by repeated products, which are right at z = 0 too."""
    if exponent < 0:
        return reciprocal(integer_power(z, -exponent))
    result, factor = None, z
    while exponent:
        if exponent % 2:
            result = factor if result is None else result * factor
        exponent //= 2
        if exponent:
            factor = square(factor)
    return z.like({(): ops.ones_like(z.value)}) if result is None else result


def sine_and_cosine(z, sine, cosine, sign):
    """The solutions of s' = c, c' = sign s: sin and cos for -1, sinh and cosh for 1."""
    s, c = {(): sine}, {(): cosine}
    for term in z.space.monomials[1:]:
        s[term], c[term] = _advance(z, c, term), scaled(_advance(z, s, term), sign)
    return z.like(s), z.like(c)


def exp(z):
    return riccati(z, ops.exp(z.value), 0, 1, 0)


def tanh(z):
    return riccati(z, ops.tanh(z.value), 1, 0, -1)


def sigmoid(z):
    return riccati(z, ops.sigmoid(z.value), 0, 1, -1)


def reciprocal(z):
    return riccati(z, 1 / z.value, 0, 0, -1)


def log(z):
    return integrate(z, ops.log(z.value), reciprocal(z))


def sqrt(z):
    return power(z, 0.5, ops.sqrt(z.value))


def rsqrt(z):
    return power(z, -0.5, ops.rsqrt(z.value))


def softplus(z):
    return integrate(z, ops.softplus(z.value), sigmoid(z))


def erf(z):
    return integrate(z, ops.erf(z.value), exp(-square(z)) * (2 / math.sqrt(math.pi)))


def general_power(z, exponent):
    """z^exponent for an exponent that is a polynomial or a tensor."""
    if not isinstance(exponent, Polynomial):
        return power(z, exponent, ops.power(z.value, exponent))
    base = log(z) if isinstance(z, Polynomial) else ops.log(z)
    return exp(exponent * base)

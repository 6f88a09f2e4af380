"""Elementary functions of polynomials, from the differential equations that they solve.

If y' = v(y, z) z' then, coefficient by coefficient, y_k = sum_j (j/k) z_j v_{k-j}: each
coefficient of y follows from lower ones (Griewank and Walther, "Evaluating Derivatives",
chapter 13). At orders one and two the coefficients of f at the value are composed instead:
f(z0 + d) = f(z0) + f'(z0) d + f''(z0)/2 d^2.
"""

import math
import operator

from keras import ops

from keras_derivs import backend
from keras_derivs.engine.sums import scaled, total
from keras_derivs.engine.taylor.polynomial import (
    Polynomial,
    Scaled,
    multiply,
    square,
    square_at,
)
from keras_derivs.engine.taylor.rules import UnsupportedOperation
from keras_derivs.engine.taylor.space import Space


def compose(function, z, steep=False):
    """`function`, written for polynomials, of `z`; `steep`: its slopes may overflow."""
    shared = _is_shared(z)
    product = guarded if z.squared is not None else steep_product(z) if steep else _product
    if z.space.order > 2 and not shared and product is _product:
        return function(z)
    line = Space([(0,) * z.space.order])
    point = Polynomial(line, {(): z.value, (0,): 1.0} if z.space.order else {(): z.value})
    point.mixed = z.mixed
    c = function(point).table
    powers = powers_of_change(z)
    table = {t: _composed(c, powers, t, shared, product) for t in z.space.terms if t}
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
    return expand(z, [f(z.value) / math.factorial(k) for k, f in enumerate(derivatives)])


def _product(slope, power):
    return power * slope


def expand(z, coefficients, product=_product):
    """sum_k c_k d^k, for the part d of z that is not its value; `None` for a c_k that is zero."""
    powers, shared = powers_of_change(z) if z.space.order else [], _is_shared(z)
    c = {(0,) * k: c_k for k, c_k in enumerate(coefficients) if c_k is not None}
    terms = [t for t in z.space.terms if t]
    return z.like({(): c[()], **{t: _composed(c, powers, t, shared, product) for t in terms}})


def _is_shared(z):
    """Whether all samples move alike, as they do up to the first activation of a model."""
    each = z.space.directions is None and z.ndim == 2 and z.shape[0] != 1
    moves = z.moves.values()
    return each and all(not isinstance(c, float) and c.shape[0] == 1 for c in moves)


def powers_of_change(z):
    """d, d^2, ... up to the highest order, for the part d of z that is not its value."""
    d = Polynomial(z.space, z.moves)
    powers = [d, _square_of_change(z, d)] if z.space.order > 1 else [d]
    while len(powers) < z.space.order:
        powers.append(multiply(powers[-2], powers[1]))
    return powers


def _square_of_change(z, d):
    """d^2; at a root that is zero, where only its even powers have derivatives, the square."""
    if z.squared is None:
        return square(d)
    zero, own, whole = z.value == 0, square(d).table, z.squared().table
    table = {}
    for term in filter(None, z.space.terms):
        pair = [part.get(term) for part in (whole, own)]
        if any(c is not None for c in pair):
            nothing = ops.zeros_like(next(c for c in pair if c is not None))
            table[term] = ops.where(zero, *[nothing if c is None else c for c in pair])
    return d.like(table)


def _composed(c, powers, term, shared, product=_product):
    """The coefficient at `term` of sum_k f^(k)(z0)/k! d^k."""
    parts = [
        (c[(0,) * k], power.table[term])
        for k, power in enumerate(powers, start=1)
        if (0,) * k in c and term in power.table
    ]
    single = shared and len(parts) == 1 and product is _product
    if single and not isinstance(parts[0][0], float):
        return Scaled(*parts[0])
    return total([product(slope, power) for slope, power in parts])


def integrate(z, y0, slope, product=operator.mul):
    """y(z) of a polynomial, for a function whose derivative is known as a polynomial.

    Args:
        z: A `Polynomial`.
        y0: The tensor y(z.value).
        slope: The `Polynomial` dy/dz.
        product: That of their coefficients.
    """
    y = {term: _advance(z, slope.table, term, product) for term in z.space.terms if term}
    return z.like({(): y0, **y})


def _advance(z, v, term, product=operator.mul):
    """sum_j (j/k) z_j v_{k-j}: a coefficient of y where y' = v z'."""
    return z.space.products(z.table, v, product, z.space.steps[term])


def riccati(z, y0, constant, linear, quadratic, slope=None):
    """The solution of y' = constant + linear y + quadratic y^2, of value `y0`.

    `slope` is y' at the value, where the sum would cancel.
    """
    y, v = {}, {}
    for term in z.space.terms:
        value = _advance(z, v, term) if term else y0
        if value is not None:
            y[term] = value
        if term in z.space.inner:
            v[term] = slope if not term else None
            if v[term] is None:
                squared = square_at(Polynomial(z.space, y), term) if quadratic else None
                v[term] = total([scaled(y.get(term), linear), scaled(squared, quadratic)])
                if not term and constant:
                    v[term] = v[term] + constant
    return z.like(y)


def steep_product(z):
    """How slopes that may be infinite are multiplied by what moves a polynomial."""
    return _product if z.mixed else guarded


def guarded(a, b):
    """a b, where zero times infinity is zero: what does not move stays where it is.

    So an entry whose slopes overflow leaves the derivatives of others alone. Its own value is
    infinite there, so that no finite derivative is lost.
    """
    if isinstance(a, float) or isinstance(b, float):
        return a * b
    finite = ops.where(ops.logical_or(ops.isfinite(a), b != 0), a, ops.zeros_like(a))
    return finite * ops.where(ops.logical_or(ops.isfinite(b), a != 0), b, ops.zeros_like(b))


def sine_and_cosine(z, sine, cosine, sign):
    """The solutions of s' = c, c' = sign s: sin and cos for -1, sinh and cosh for 1."""
    s, c = {(): sine}, {(): cosine}
    for term in z.space.terms[1:]:
        s[term], c[term] = _advance(z, c, term), scaled(_advance(z, s, term), sign)
    return z.like(s), z.like(c)


def exp(z):
    return riccati(z, ops.exp(z.value), 0, 1, 0)


def tanh(z):
    return riccati(z, ops.tanh(z.value), 1, 0, -1, backend.slope_of_tanh(z.value))


def sigmoid(z):
    """(1 + tanh(z / 2)) / 2: its own equation y' = y - y^2 cancels where y is one half."""
    return (tanh(z * 0.5) * 0.5).with_value(ops.sigmoid(z.value))


def reciprocal(z):
    return divide(1.0, z, 1.0 / z.value)


def divide(a, b, value):
    """From b q = a, q_k = (a_k - sum_j b_j q_{k-j}) / b_0: no square of a large or small number.

    `a` is a polynomial or a tensor; `value` is that of the quotient.
    """
    numerator, q = a.table if isinstance(a, Polynomial) else {}, {(): value}
    product, over = (operator.mul, operator.truediv) if b.mixed else (guarded, _still_at_poles)
    for term in b.space.terms[1:]:
        moved = b.space.products(b.moves, q, product, b.space.pairs[term])
        rest = total([numerator.get(term), None if moved is None else -moved])
        if rest is not None:
            q[term] = over(rest, b.value)
    return b.like(q)


def _still_at_poles(rest, divisor):
    """rest / divisor, where zero by zero is zero; see `guarded`."""
    at_pole = ops.logical_and(ops.equal(rest, 0), ops.equal(divisor, 0))
    return rest / ops.where(at_pole, ops.ones_like(divisor), divisor)


def log(z):
    return integrate(z, ops.log(z.value), reciprocal(z), steep_product(z))


def softplus(z):
    return integrate(z, ops.softplus(z.value), sigmoid(z))


def erf(z):
    return integrate(z, ops.erf(z.value), exp(-square(z)) * (2 / math.sqrt(math.pi)))

"""Rules of functions in pieces: what holds on each side of a kink, and at the kink itself.

The convention at kinks, which holds for both engines (`tests/test_kinks.py`):

| at | the derivatives are those of |
|---|---|
| 0 of `absolute`, `sign`, `PReLU`, norms, `hypot`, `std` | a constant: 0 |
| 0 of `relu`, `leaky_relu`, `elu`, `celu`, `selu`, the threshold of `threshold`, `ReLU` | the |
| | lower side |
| the bounds of `clip`, `hard_tanh` | the inside |
| the bounds of `relu6`, `ReLU(max_value)`, `hard_sigmoid`, `hard_silu`, `sparse_plus`, | |
| `sparse_sigmoid`, `hard_shrink`, `soft_shrink` | the outside |
| ties of `maximum`, `minimum`, `max`, `min` | the mean of those that tie; of y^n, of their powers |
| ties of maximum pooling, `sort` and quantiles | the first of those that tie |
| 0 of `x ** y` where `y` varies, too | their limits from above, see `backend/powers.py` |
| steps of `round`, `floor`, `ceil`, `trunc` and of comparisons | a constant: 0 |

Where kinks of several operations may cancel each other, see `engine/neighbours.py`.
"""

import functools

import keras
from keras import ops

from keras_derivs.backend import constant
from keras_derivs.engine.taylor import series
from keras_derivs.engine.taylor.polynomial import (
    Polynomial,
    handed_on,
    root_of,
    square,
    square_of,
)
from keras_derivs.engine.taylor.rules import require_plain, taylor_rule, values
from keras_derivs.engine.taylor.rules_bilinear import align
from keras_derivs.engine.taylor.shapes import fit
from keras_derivs.graph.private import activations, nn
from keras_derivs.graph.private import numpy as knp


def piecewise_linear(*classes):
    """Register the slope of an operation, a function of its argument's value."""

    def register(slope):
        @taylor_rule(*classes)
        def rule(operation, x):
            factor = slope(operation, x.value)
            return x.each(lambda c: sloped(c, factor)).with_value(operation.call(x.value))

        return slope

    return register


def sloped(c, factor):
    """A coefficient times a slope, or a condition: 0 where that is, whatever the coefficient is."""
    if keras.backend.standardize_dtype(factor.dtype) == "bool":
        return ops.where(factor, c, ops.zeros_like(c))
    return ops.where(factor == 0, ops.zeros_like(c), c * ops.cast(factor, c.dtype))


def pick(condition, a, b, like):
    """The number `a` where the condition holds, else `b`, in the dtype of `like`."""
    return ops.cast(condition, like.dtype) * (a - b) + b


SLOPES = {
    nn.Relu: lambda operation, x: x > 0,
    nn.Relu6: lambda operation, x: _inside(x, 0, 6),
    nn.LeakyRelu: lambda operation, x: pick(x > 0, 1.0, constant(operation.negative_slope), x),
    nn.HardSigmoid: lambda operation, x: pick(_inside(x, -3, 3), 1 / 6, 0.0, x),
    nn.SparseSigmoid: lambda operation, x: pick(_inside(x, -1, 1), 0.5, 0.0, x),
    nn.HardTanh: lambda operation, x: ops.logical_and(x >= -1, x <= 1),
    nn.HardShrink: lambda operation, x: ops.abs(x) > operation.threshold,
    nn.SoftShrink: lambda operation, x: ops.abs(x) > operation.threshold,
    nn.Threshold: lambda operation, x: x > operation.threshold,
    knp.NanToNum: lambda operation, x: ops.isfinite(x),
    knp.Clip: lambda operation, x: ops.logical_and(x >= operation.x_min, x <= operation.x_max),
}
for _cls, _slope in SLOPES.items():
    piecewise_linear(_cls)(_slope)


@taylor_rule(knp.Absolute, knp.Fabs)
def absolute(operation, x):
    """sign(x) x, whose square is that of x."""
    sign = ops.sign(x.value)
    return root_of(
        x.each(lambda c: c * sign).with_value(operation.call(x.value)), lambda: square(x)
    )


@piecewise_linear(activations.ReLU)
def relu(operation, x):
    """negative_slope below the threshold, 1 above it, 0 above the maximum."""
    slope = pick(x > operation.threshold, 1.0, operation.negative_slope, x)
    if operation.max_value is None:
        return slope
    return slope * ops.cast(x < operation.max_value, x.dtype)


def _inside(x, low, high):
    return ops.logical_and(x > low, x < high)


def select(condition, a, b, value):
    """`a` where the condition holds, else `b`, coefficient by coefficient."""
    tables = [fit(x, value).table if isinstance(x, Polynomial) else {} for x in (a, b)]
    space = next(x.space for x in (a, b) if isinstance(x, Polynomial))
    table = {(): value}
    for term in space.terms[1:]:
        pair = [table.get(term) for table in tables]
        if any(c is not None for c in pair):
            zeros = ops.zeros_like(next(c for c in pair if c is not None))
            table[term] = ops.where(condition, *[zeros if c is None else c for c in pair])
    return Polynomial(space, table)


@taylor_rule(knp.Where)
def where(operation, condition, a, b):
    require_plain(operation, condition)
    condition, a, b = align(condition, a, b)
    result = select(condition, a, b, operation.call(condition, *values([a, b])))
    return handed_on(result, functools.partial(where, operation, condition), a, b)


@taylor_rule(knp.Maximum, knp.Fmax)
def maximum(operation, a, b):
    return _extreme(operation, ops.greater, a, b)


@taylor_rule(knp.Minimum, knp.Fmin)
def minimum(operation, a, b):
    return _extreme(operation, ops.less, a, b)


def _extreme(operation, wins, a, b):
    """The argument that wins; where none does, the mean of both. A NaN never wins."""
    a, b = align(a, b)
    first, second = values([a, b])
    value = operation.call(first, second)
    first_wins = ops.logical_or(wins(first, second), second != second)
    tie = ops.equal(first, second)

    def chosen(a, b, value):
        mean = _sum_of_halves(a, b, value * 0.5)
        return select(first_wins, a, select(tie, mean, b, value), value)

    squared = lambda: chosen(square_of(a), square_of(b), value * value)  # noqa: E731
    return root_of(chosen(a, b, value), squared)


def _sum_of_halves(a, b, value):
    parts = [x * 0.5 for x in (a, b) if isinstance(x, Polynomial)]
    return fit(sum(parts[1:], start=parts[0]), value)


def bent(*classes):
    """Register (function up to zero, function above it) of `(operation, polynomial)`.

    The side that does not hold is computed at zero, where it is finite.
    """

    def register(pieces):
        @taylor_rule(*classes)
        def rule(operation, x):
            below, above = pieces(operation)
            negative, nothing = x.value <= 0, ops.zeros_like(x.value)
            lower = series.compose(below, x.with_value(ops.where(negative, x.value, nothing)))
            upper = series.compose(above, x)
            return select(negative, lower, upper, operation.call(x.value))

        return pieces

    return register


def _exponential(scale, rate=1.0):
    """scale (exp(rate z) - 1)"""
    return lambda z: (series.exp(z * rate) - 1) * scale


@bent(nn.Elu)
def elu(operation):
    return _exponential(operation.alpha), lambda z: z


@bent(nn.Celu)
def celu(operation):
    return _exponential(operation.alpha, 1 / operation.alpha), lambda z: z


@bent(nn.Selu)
def selu(operation):
    """Klambauer et al., "Self-Normalizing Neural Networks" (2017)."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return _exponential(scale * alpha), lambda z: z * scale


@taylor_rule(nn.HardSilu)
def hard_silu(operation, x):
    """x min(max(x + 3, 0), 6) / 6"""
    inside = _inside(x.value, -3, 3)
    line = x.each(lambda c: c * ops.cast(x.value >= 3, x.dtype))
    parabola = series.compose(lambda z: (square(z) + z * 3) * (1 / 6), x)
    return select(inside, parabola, line, operation.call(x.value))


@taylor_rule(nn.SparsePlus)
def sparse_plus(operation, x):
    """0 below -1, (x + 1)^2 / 4 up to 1, x above."""
    inside = _inside(x.value, -1, 1)
    line = x.each(lambda c: c * ops.cast(x.value >= 1, x.dtype))
    parabola = series.compose(lambda z: square(z + 1) * 0.25, x)
    return select(inside, parabola, line, operation.call(x.value))

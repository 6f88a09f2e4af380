"""Rules of operations that are a formula of other operations."""

import functools
import math
import operator
import string

import keras
import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.engine.sums import total
from keras_derivs.engine.taylor.polynomial import Polynomial, root_of, square
from keras_derivs.engine.taylor.powers import sqrt
from keras_derivs.engine.taylor.propagate import call
from keras_derivs.engine.taylor.rules import taylor_rule, unsupported, values
from keras_derivs.engine.taylor.rules_bilinear import align, plus
from keras_derivs.engine.taylor.series import compose, divide, expand
from keras_derivs.engine.taylor.shapes import fit, is_plain
from keras_derivs.graph.private import numpy as knp

LOG2 = backend.constant(math.log(2))
I0_NODES = 64, 256  # up to where the result is infinite, in single and in double precision


def composed(*classes):
    """Register a function of `(operation, *arguments)`, written in `keras.ops`."""

    def register(function):
        @taylor_rule(*classes)
        def rule(operation, *args, **kwargs):
            return call(functools.partial(function, operation), *args, **kwargs)

        return function

    return register


def _number(number, x):
    """In the dtype of `x`: Keras rounds numbers to float32 on PyTorch."""
    return ops.convert_to_tensor(number, x.dtype)


def formula(*classes):
    """As `composed`; the value is that of the operation itself."""

    def register(function):
        @taylor_rule(*classes)
        def rule(operation, *args):
            result = call(functools.partial(function, operation), *args)
            return fit(result, operation.call(*values(args)))

        return function

    return register


@taylor_rule(knp.Hypot)
def hypot(operation, a, b):
    """p + q t / (1 + sqrt(1 + t^2)), t = q / p, for the vector (p, q) that is (a, b), turned.

    0 at the origin. As q is 0 at the value, no term needs the highest coefficient of t, which may
    be infinite where the result is not.
    """
    value, across, ahead = _turned(a, b)
    tangent = divide(across, ahead, across.value)
    half = compose(lambda t: divide(t, sqrt(square(t) + 1) + 1, t.value / 2), tangent)
    product = functools.partial(ahead.space.products, across.moves, half.moves, operator.mul)
    parts = {t: [ahead.table.get(t), product(ahead.space.pairs[t])] for t in ahead.space.terms}
    size = ahead.like({t: total(part) for t, part in parts.items()})
    kept = size.each(lambda c: ops.where(value > 0, c, ops.zeros_like(c)))
    return root_of(kept.with_value(value), lambda: _sum_of_squares(a, b))


def _sum_of_squares(a, b):
    squares = [x * x for x in align(a, b)]
    return plus(*squares)


def _turned(a, b):
    """The length of the vector (a, b), and its coordinates along axes turned by its angle.

    They are computed with an angle that is exact at the value: there the first is 0, the second
    the length, or 1 at the origin.
    """
    a, b = (_lifted(x, [a, b]) for x in align(a, b))
    value = ops.hypot(a.value, b.value)
    length = ops.where(value > 0, value, ops.ones_like(value))
    cosine, sine = a.value / length, b.value / length
    across = fit(b * cosine + a * -sine, ops.zeros_like(value))
    return value, across, fit(a * cosine + b * sine, length)


@formula(knp.Logaddexp)
def logaddexp(operation, a, b):
    """max(a, b) + softplus(-|a - b|)"""
    a, b = ops.convert_to_tensor(a), ops.convert_to_tensor(b)  # numbers in single precision
    larger = ops.greater_equal(a, b)
    return ops.where(larger, a, b) + ops.softplus(ops.where(larger, b - a, a - b))


@formula(knp.Logaddexp2)
def logaddexp2(operation, a, b):
    larger, log2 = ops.greater_equal(a, b), _number(LOG2, a)
    return ops.where(larger, a, b) + ops.softplus(ops.where(larger, b - a, a - b) * log2) / log2


@formula(knp.Ptp)
def ptp(operation, x):
    along = {"axis": operation.axis, "keepdims": operation.keepdims}
    return ops.max(x, **along) - ops.min(x, **along)


@taylor_rule(knp.Mod, knp.Fmod)
def remainder(operation, a, b):
    """a - n b for a whole number n, which does not vary."""
    first, second = values([a, b])
    value = operation.call(first, second)
    count = ops.round((first - value) / second)
    return fit(call(lambda a, b: a - count * b, a, b), value)


@formula(knp.Sinc)
def sinc(operation, x):
    """Near 0 the mean of cos(pi t x) for t from 0 to 1, by Gauss's quadrature."""
    near = ops.abs(x) < 1 / math.pi
    nodes, weights = (ops.convert_to_tensor(values, x.dtype) for values in _gauss())
    inner = ops.expand_dims(ops.where(near, x, ops.zeros_like(x)) * _number(math.pi, x), -1)
    outer = ops.where(near, ops.ones_like(x), x) * _number(math.pi, x)
    mean = ops.sum(ops.cos(inner * nodes) * weights, axis=-1)
    return ops.where(near, mean, ops.sin(outer) / outer)


@formula(knp.I0)
def bessel_i0(operation, x):
    """The mean of cosh(x cos t) over a half circle (Abramowitz and Stegun, 9.6.16)."""
    count = I0_NODES[keras.backend.standardize_dtype(x.dtype) == "float64"]
    cosines = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    inner = ops.expand_dims(x, -1) * ops.convert_to_tensor(cosines, x.dtype)
    return ops.mean(ops.cosh(inner), axis=-1)


def _gauss():
    nodes, weights = np.polynomial.legendre.leggauss(16)
    return (nodes + 1) / 2, weights / 2


@formula(knp.Median)
def median(operation, x):
    """The mean of the two entries in the middle of the sorted ones, or that one."""
    axis, size = _only_axis(operation, x)
    middle = ops.take(ops.sort(x, axis=axis), [(size - 1) // 2, size // 2], axis=axis)
    return ops.mean(middle, axis=axis, keepdims=operation.keepdims)


def _only_axis(operation, x):
    axes = operation.axis or ()
    if len(axes) != 1 or axes[0] % len(x.shape) == 0 or x.shape[axes[0]] is None:
        raise unsupported(operation, "needs one axis of known length, which is not that of samples")
    return axes[0] % len(x.shape), x.shape[axes[0]]


@formula(knp.Cross)
def cross(operation, a, b):
    """a2 b3 - a3 b2 and so on, along the last axis."""
    last = all(axis == -1 for axis in (operation.axisa, operation.axisb, operation.axisc))
    if not last or a.shape[-1] != 3 or b.shape[-1] != 3:
        raise unsupported(operation, "needs vectors of three entries along the last axis")
    ahead = lambda x, n: ops.roll(x, -n, axis=-1)  # noqa: E731
    return ahead(a, 1) * ahead(b, 2) - ahead(a, 2) * ahead(b, 1)


@formula(knp.Tensordot)
def tensordot(operation, a, b):
    letters = iter(string.ascii_letters)
    first, second = ([next(letters) for _ in x.shape] for x in (a, b))
    for n, m in zip(*_contracted(operation.axes, len(first))):
        second[m] = first[n]
    kept = [c for c in first + second if (c in first) != (c in second)]
    return ops.einsum(f"{''.join(first)},{''.join(second)}->{''.join(kept)}", a, b)


def _contracted(axes, rank):
    if isinstance(axes, int):
        return range(rank - axes, rank), range(axes)
    return [[n] if isinstance(n, int) else n for n in axes]


@taylor_rule(knp.Select)
def select(operation, conditions, choices, default=0):
    """The choice of the first condition that holds, whatever the others are."""
    return call(_first, conditions, choices, default)


def _first(conditions, choices, default):
    result = default
    for condition, choice in reversed(list(zip(conditions, choices))):
        result = ops.where(condition, choice, result)
    return result


@taylor_rule(knp.Arctan2)
def arctan2(operation, y, x):
    """The angle of (x, y), turned by its value: an arctangent t - t^3/3 + ... at zero."""
    length, across, ahead = _turned(x, y)
    value, tangent = operation.call(*values(align(y, x))), divide(across, ahead, across.value)
    one = length / length  # no number at the origin
    odd = [one * (-1.0) ** (k // 2) / k if k % 2 else None for k in range(1, ahead.space.order + 1)]
    return expand(tangent, [value, *odd])


def _lifted(x, others):
    """A tensor as a polynomial that does not vary."""
    if not is_plain(x):
        return x
    example = next(other for other in others if not is_plain(other))
    return Polynomial(example.space, {(): ops.cast(ops.convert_to_tensor(x), example.dtype)})

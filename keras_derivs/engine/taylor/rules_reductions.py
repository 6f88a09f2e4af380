"""Rules that combine entries along axes: reductions, softmax, normalisations."""

import functools
import itertools
import math
import operator

import keras
from keras import ops

from keras_derivs.engine.taylor import series
from keras_derivs.engine.taylor.polynomial import square
from keras_derivs.engine.taylor.propagate import call
from keras_derivs.engine.taylor.rules import require_plain, taylor_rule, unsupported
from keras_derivs.engine.taylor.rules_bilinear import plus, product
from keras_derivs.engine.taylor.rules_linear import apart
from keras_derivs.engine.taylor.shapes import map_linear, spread
from keras_derivs.graph.private import linalg, nn
from keras_derivs.graph.private import math as kmath
from keras_derivs.graph.private import numpy as knp


def reduce(function, x, axis, keepdims=False):
    """A linear reduction, `ops.sum` or `ops.mean`, of a polynomial."""
    axes = range(x.ndim) if axis is None else keras.tree.flatten(axis)
    axes = tuple(n % x.ndim for n in axes)
    run = lambda parts: [function(parts[0], axis=axes, keepdims=keepdims)]  # noqa: E731
    return map_linear(run, [x], keeps_batch=0 not in axes)[0]


def times(a, b):
    """The product of polynomials or tensors that broadcast."""
    return product(knp.Multiply(name="multiply"), a, b)


def of(function, x):
    return series.compose(function, x)


def softmax(x, axis):
    """exp(x - m) / sum exp(x - m), the same for every constant m."""
    highest = ops.stop_gradient(ops.max(x.value, axis=axis, keepdims=True))
    raised = of(series.exp, plus(x, -highest))
    return times(raised, of(series.reciprocal, reduce(ops.sum, raised, axis, keepdims=True)))


def log_sum_exp(x, axis, keepdims=True):
    highest = ops.stop_gradient(ops.max(x.value, axis=axis, keepdims=True))
    raised = of(series.exp, plus(x, -highest))
    total = of(series.log, reduce(ops.sum, raised, axis, keepdims))
    return total + ops.reshape(highest, ops.shape(total.value))


def moments(x, axis, keepdims=True):
    """Mean and variance, the variance with the derivative of the mean."""
    mean = reduce(ops.mean, x, axis, keepdims=True)
    variance = reduce(ops.mean, square(plus(x, -mean)), axis, keepdims)
    return (mean if keepdims else reduce(ops.mean, x, axis)), variance


def on_axes(weight, x, axis):
    """A weight of a normalisation, shaped to broadcast along the normalised axes."""
    axes = sorted(n % x.ndim for n in keras.tree.flatten(axis))
    shape = [x.shape[n] if n in axes else 1 for n in range(x.ndim)]
    return ops.reshape(ops.convert_to_tensor(weight, x.dtype), shape)


@taylor_rule(nn.Softmax)
def softmax_rule(operation, x):
    return softmax(x, operation.axis)


@taylor_rule(nn.LogSoftmax)
def log_softmax(operation, x):
    return plus(x, -log_sum_exp(x, operation.axis))


@taylor_rule(kmath.Logsumexp)
def logsumexp(operation, x):
    return log_sum_exp(x, operation.axis, operation.keepdims)


@taylor_rule(knp.Var)
def variance(operation, x):
    return moments(x, operation.axis, operation.keepdims)[1]


@taylor_rule(knp.Std)
def standard_deviation(operation, x):
    return series.norm(moments(x, operation.axis, operation.keepdims)[1])


@taylor_rule(nn.Moments)
def moments_rule(operation, x):
    if operation.synchronized:
        raise unsupported(operation, "is synchronised")
    return moments(x, operation.axes, operation.keepdims)


@taylor_rule(nn.LayerNorm)
def layer_norm(operation, x, gamma=None, beta=None):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta"""
    require_plain(operation, gamma, beta)
    epsilon = keras.backend.epsilon() if operation.epsilon is None else operation.epsilon
    mean, spread_ = moments(x, operation.axis)
    centred = x if operation.rms_scaling else plus(x, -mean)
    y = times(centred, of(series.rsqrt, spread_ + epsilon))
    y = y if gamma is None else times(y, on_axes(gamma, x, operation.axis))
    skipped = beta is None or operation.rms_scaling
    return y if skipped else y + on_axes(beta, x, operation.axis)


@taylor_rule(nn.RMSNorm)
def rms_norm(operation, x, scale=None):
    require_plain(operation, scale)
    epsilon = keras.backend.epsilon() if operation.epsilon is None else operation.epsilon
    power = reduce(ops.mean, square(x), operation.axis, keepdims=True)
    y = times(x, of(series.rsqrt, power + epsilon))
    return y if scale is None else times(y, ops.convert_to_tensor(scale, x.dtype))


@taylor_rule(nn.Normalize)
def normalize(operation, x):
    """x / |x|; where |x| is below epsilon, x / epsilon."""
    epsilon = keras.backend.epsilon() if operation.epsilon is None else operation.epsilon
    size = norm_of(operation, x, operation.order, operation.axis, keepdims=True)
    large = size.value >= epsilon
    floored = ops.where(large, size.value, ops.full_like(size.value, epsilon))
    factor = of(series.reciprocal, size.with_value(floored))
    kept = factor.each(lambda c: ops.where(large, c, ops.zeros_like(c)))
    return times(x, kept.with_value(factor.value))


@taylor_rule(linalg.Norm)
def norm(operation, x):
    axes = 1 if operation.axis is None else len(operation.axis)
    if axes > 1 and operation.ord not in (None, "fro"):
        raise unsupported(operation, "is a norm of matrices without a Taylor rule")
    order = 2 if operation.ord in (None, "fro") else operation.ord
    return norm_of(operation, x, order, operation.axis, operation.keepdims)


def norm_of(operation, x, order, axis, keepdims):
    if order == 2:
        return series.norm(reduce(ops.sum, square(x), axis, keepdims))
    if order == 1:
        sign = ops.sign(x.value)
        return reduce(ops.sum, x.each(lambda c: c * sign), axis, keepdims)
    if isinstance(order, str) or not 0 < abs(order) < math.inf or order < 1:
        raise unsupported(operation, f"has no Taylor rule for order {order}")
    return call(functools.partial(_sum_of_powers, order, axis, keepdims), x)


def _sum_of_powers(order, axis, keepdims, x):
    """(sum |x|^p)^(1/p), whose derivatives at zero are taken to be zero."""
    total = ops.sum(ops.abs(x) ** order, axis=axis, keepdims=keepdims)
    zero = ops.equal(total, 0)
    root = ops.where(zero, ops.ones_like(total), total) ** (1 / order)
    return ops.where(zero, ops.zeros_like(total), root)


@taylor_rule(knp.Max, knp.Amax)
def largest(operation, x):
    return extreme(operation, x)


@taylor_rule(knp.Min, knp.Amin)
def smallest(operation, x):
    return extreme(operation, x)


def extreme(operation, x):
    """The coefficients of the entries that are taken; those of a tie are averaged."""
    if getattr(operation, "initial", None) is not None:
        raise unsupported(operation, "has an `initial` value")
    chosen = operation.call(x.value)
    axes = None if operation.axis is None else tuple(keras.tree.flatten(operation.axis))
    kept = chosen if operation.keepdims else _keep(chosen, axes, x)
    taken = ops.cast(ops.equal(x.value, kept), x.dtype)
    taken = taken / ops.sum(taken, axis=axes, keepdims=True)
    picked = reduce(ops.sum, x.each(lambda c: c * taken), axes, operation.keepdims)
    return picked.with_value(chosen)


def _keep(y, axes, x):
    axes = tuple(range(x.ndim)) if axes is None else tuple(sorted(n % x.ndim for n in axes))
    return ops.expand_dims(y, axes)


@taylor_rule(knp.Prod)
def prod(operation, x):
    *_, result = _products(operation, x)
    if operation.keepdims:
        return result
    (axis,) = keras.tree.flatten(operation.axis)
    return map_linear(lambda parts: [ops.squeeze(parts[0], axis)], [result], keeps_batch=True)[0]


@taylor_rule(knp.Cumprod)
def cumprod(operation, x):
    join = lambda parts: [ops.concatenate(parts, operation.axis)]  # noqa: E731
    return map_linear(join, _products(operation, x), keeps_batch=True)[0]


def _products(operation, x):
    """The products of the first entries, of one, two, ..., along one axis of known length."""
    axes = [n % x.ndim for n in keras.tree.flatten(operation.axis) if n is not None]
    if len(axes) != 1 or x.shape[axes[0]] is None or axes == [0]:
        raise unsupported(operation, "needs one axis of known length")
    split = lambda parts: ops.split(parts[0], x.shape[axes[0]], axis=axes[0])  # noqa: E731
    return list(itertools.accumulate(map_linear(split, [x], keeps_batch=True), operator.mul))


@taylor_rule(knp.Sort)
def sort(operation, x):
    order = ops.argsort(x.value, axis=operation.axis)
    take = lambda parts: [ops.take_along_axis(parts[0], order, axis=operation.axis)]  # noqa: E731
    return map_linear(take, [spread(x)], keeps_batch=False)[0]


@taylor_rule(nn.Glu)
def glu(operation, x):
    """a sigmoid(b) of the two halves of x."""
    halve = lambda parts: ops.split(parts[0], 2, axis=operation.axis)  # noqa: E731
    a, b = map_linear(halve, [x], keeps_batch=apart("axis")(operation, x))
    return a * of(series.sigmoid, b)

"""Rules that combine entries along axes: reductions, softmax, normalisations."""

import functools
import itertools
import math
import operator

import keras
from keras import ops

from keras_derivs.engine.taylor import powers, series
from keras_derivs.engine.taylor.polynomial import root_of, square
from keras_derivs.engine.taylor.propagate import call
from keras_derivs.engine.taylor.rules import taylor_rule, unsupported
from keras_derivs.engine.taylor.rules_bilinear import product
from keras_derivs.engine.taylor.rules_formulas import composed
from keras_derivs.engine.taylor.shapes import fit
from keras_derivs.graph.private import linalg, nn
from keras_derivs.graph.private import math as kmath
from keras_derivs.graph.private import numpy as knp


@composed(nn.Softmax)
def softmax(operation, x):
    """exp(x - m) / sum exp(x - m), the same for every constant m."""
    raised = ops.exp(x - _highest(x, operation.axis))
    return raised / ops.sum(raised, axis=operation.axis, keepdims=True)


@composed(nn.LogSoftmax)
def log_softmax(operation, x):
    return x - _log_sum_exp(x, operation.axis, keepdims=True)


@composed(kmath.Logsumexp)
def log_sum_exp(operation, x):
    return _log_sum_exp(x, operation.axis, operation.keepdims)


def _log_sum_exp(x, axis, keepdims):
    highest = _highest(x, axis)
    total = ops.log(ops.sum(ops.exp(x - highest), axis=axis, keepdims=keepdims))
    return total + ops.reshape(highest, ops.shape(ops.stop_gradient(total)))


def _highest(x, axis):
    return ops.max(ops.stop_gradient(x), axis=axis, keepdims=True)


@composed(knp.Var)
def variance(operation, x):
    return _moments(x, operation.axis, operation.keepdims)[1]


@taylor_rule(knp.Std)
def standard_deviation(operation, x):
    return powers.norm(call(functools.partial(variance, operation), x))


@composed(nn.Moments)
def moments(operation, x):
    if operation.synchronized:
        raise unsupported(operation, "is synchronised")
    return _moments(x, operation.axes, operation.keepdims)


def _moments(x, axis, keepdims=True):
    """Mean and variance, the variance with the derivative of the mean."""
    mean = ops.mean(x, axis=axis, keepdims=True)
    variance = ops.mean(ops.square(x - mean), axis=axis, keepdims=keepdims)
    return (mean if keepdims else ops.mean(x, axis=axis)), variance


@composed(nn.LayerNorm)
def layer_norm(operation, x, gamma=None, beta=None):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta"""
    mean, variance = _moments(x, operation.axis)
    centred = x if operation.rms_scaling else x - mean
    y = centred * ops.rsqrt(variance + _epsilon(operation))
    y = y if gamma is None else y * _on_axes(gamma, x, operation.axis)
    skipped = beta is None or operation.rms_scaling
    return y if skipped else y + _on_axes(beta, x, operation.axis)


def _on_axes(weight, x, axis):
    """A weight of a normalisation, shaped to broadcast along the normalised axes."""
    rank = len(x.shape)
    axes = sorted(n % rank for n in keras.tree.flatten(axis))
    shape = [x.shape[n] if n in axes else 1 for n in range(rank)]
    return ops.reshape(ops.convert_to_tensor(weight, x.dtype), shape)


@composed(nn.RMSNorm)
def rms_norm(operation, x, scale=None):
    power = ops.mean(ops.square(x), axis=operation.axis, keepdims=True)
    y = x * ops.rsqrt(power + _epsilon(operation))
    return y if scale is None else y * ops.convert_to_tensor(scale, x.dtype)


def _epsilon(operation):
    return keras.backend.epsilon() if operation.epsilon is None else operation.epsilon


@taylor_rule(nn.Normalize)
def normalize(operation, x):
    """x / |x|; where |x| is below epsilon, x / epsilon."""
    epsilon = _epsilon(operation)
    size = _norm(operation, x, operation.order, operation.axis, keepdims=True)
    large = size.value >= epsilon
    floored = ops.where(large, size.value, ops.full_like(size.value, epsilon))
    factor = series.compose(series.reciprocal, size.with_value(floored))
    kept = factor.each(lambda c: ops.where(large, c, ops.zeros_like(c)))
    return product(knp.Multiply(name="multiply"), x, kept.with_value(factor.value))


@taylor_rule(linalg.Norm)
def norm(operation, x):
    axes = 1 if operation.axis is None else len(operation.axis)
    if axes > 1 and operation.ord not in (None, "fro"):
        raise unsupported(operation, "is a norm of matrices without a Taylor rule")
    order = 2 if operation.ord in (None, "fro") else operation.ord
    return _norm(operation, x, order, operation.axis, operation.keepdims)


def _norm(operation, x, order, axis, keepdims):
    along = {"axis": axis, "keepdims": keepdims}
    if order == 2:
        return powers.norm(call(lambda x: ops.sum(ops.square(x), **along), x))
    if order == 1:
        return call(lambda x: ops.sum(ops.abs(x), **along), x)
    if abs(order) == math.inf:
        extreme = ops.max if order > 0 else ops.min
        return call(lambda x: extreme(ops.abs(x), **along), x)
    if isinstance(order, str) or not 0 < abs(order) < math.inf or order < 1:
        raise unsupported(operation, f"has no Taylor rule for order {order}")
    total = call(lambda x: ops.sum(ops.abs(x) ** order, **along), x)
    root = call(functools.partial(_root, order), total)
    return powers.of_order(root, order, total) if order == int(order) else root


def _root(order, total):
    """total^(1/p), whose derivatives at zero are taken to be zero."""
    zero = ops.equal(total, 0)
    root = ops.where(zero, ops.ones_like(total), total) ** (1 / order)
    return ops.where(zero, ops.zeros_like(total), root)


@taylor_rule(knp.Max, knp.Amax)
def largest(operation, x):
    return _extreme(operation, ops.max, x)


@taylor_rule(knp.Min, knp.Amin)
def smallest(operation, x):
    return _extreme(operation, ops.min, x)


def _extreme(operation, reduction, x):
    """The sum of the entries that are taken; those of a tie, and their powers, are averaged."""
    if getattr(operation, "initial", None) is not None:
        raise unsupported(operation, "has an `initial` value")
    axis = operation.axis
    taken = ops.cast(ops.equal(x.value, reduction(x.value, axis=axis, keepdims=True)), x.dtype)
    taken = taken / ops.sum(taken, axis=axis, keepdims=True)

    def mean(x):
        x = ops.where(taken > 0, x, ops.zeros_like(taken))  # what is left out may be infinite
        return ops.sum(x * taken, axis=axis, keepdims=operation.keepdims)

    result = fit(call(mean, x), operation.call(x.value))
    return root_of(result, lambda: call(mean, square(x)))


@composed(knp.Prod)
def prod(operation, x):
    *_, result = _products(operation, x)
    (axis,) = keras.tree.flatten(operation.axis)
    return result if operation.keepdims else ops.squeeze(result, axis)


@composed(knp.Cumprod)
def cumprod(operation, x):
    return ops.concatenate(_products(operation, x), axis=operation.axis)


def _products(operation, x):
    """The products of the first entries, of one, two, ..., along one axis of known length."""
    axes = [n % len(x.shape) for n in keras.tree.flatten(operation.axis) if n is not None]
    if len(axes) != 1 or x.shape[axes[0]] is None or axes == [0]:
        raise unsupported(operation, "needs one axis of known length")
    parts = ops.split(x, x.shape[axes[0]], axis=axes[0])
    return list(itertools.accumulate(parts, operator.mul))


@composed(knp.Sort)
def sort(operation, x):
    order = ops.argsort(ops.stop_gradient(x), axis=operation.axis)
    return ops.take_along_axis(x, order, axis=operation.axis)


@composed(nn.Glu)
def glu(operation, x):
    """a sigmoid(b) of the two halves of x."""
    a, b = ops.split(x, 2, axis=operation.axis)
    return a * ops.sigmoid(b)

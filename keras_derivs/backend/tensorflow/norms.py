"""Norms, distances and deviations by formulas: roots whose derivative at 0 is that of a norm, 0."""

import math

import numpy as np
import tensorflow as tf

from keras_derivs.backend.override import plain
from keras_derivs.backend.tensorflow import operands, quotients, unselected
from keras_derivs.graph.private import of_backend

knp, kmath, linalg = of_backend.numpy, of_backend.math, of_backend.linalg


def root(x, exponent=0.5):
    """A power below 1 whose derivative at 0 is taken for 0, as that of a norm is.

    In a power of the root it is that of the power.
    """

    @tf.custom_gradient
    def found(x):
        y = tf.sqrt(x) if exponent == 0.5 else tf.pow(x, operands.number(exponent, x.dtype))

        def gradient_of(gradient):
            by_x = quotients.of_root(gradient, exponent)
            if by_x is None:
                quotients.missed("norm", x)
                where = unselected.marked(gradient)
                at = x if where is None else unselected.harmless(x, where())
                by_x = gradient * _slope_of_root(at, exponent)
            return unselected.alike(gradient, by_x)

        return y, gradient_of

    return found(x)


def _slope_of_root(x, exponent):
    zero = tf.equal(x, 0)
    slope = tf.pow(tf.where(zero, tf.ones_like(x), x), operands.number(exponent - 1, x.dtype))
    return tf.math.conj(tf.where(zero, tf.zeros_like(x), exponent * slope))


def hypot(x1, x2):
    x1, x2 = operands.promoted("hypot", x1, x2)
    largest = tf.maximum(tf.abs(x1), tf.abs(x2))
    usable = (largest > 0) & tf.math.is_finite(largest)
    scale = operands.held(tf.where(usable, largest, tf.ones_like(largest)))
    squares = tf.square(x1 / scale) + tf.square(x2 / scale)
    return scale * (tf.sqrt(squares) if _never_zero(x1) or _never_zero(x2) else root(squares))


def _never_zero(x):
    values = tf.get_static_value(x)
    return values is not None and np.all(values)


def std(x, axis=None, keepdims=False):
    return root(knp.var(x, axis, keepdims))


def norm(x, ord=None, axis=None, keepdims=False):
    x = tf.convert_to_tensor(x)
    axes = list(range(x.shape.rank) if axis is None else tf.nest.flatten(axis))
    vector = len(axes) == 1
    if not x.dtype.is_integer and (ord in (None, "fro") or (vector and ord == 2)):
        return _euclidean_norm(x, axes, keepdims)
    if not x.dtype.is_floating or not vector or isinstance(ord, str) or not 0 < ord < math.inf:
        return plain(linalg.norm)(x, ord, axis, keepdims)
    powers = tf.pow(tf.abs(x), operands.number(ord, x.dtype))
    return root(tf.reduce_sum(powers, axes, keepdims), 1 / ord)


def tf_norm(tensor, ord="euclidean", axis=None, keepdims=None, name=None):
    matrix = axis is not None and len(tf.nest.flatten(axis)) == 2
    if ord not in ("euclidean", "fro") and (matrix or ord != 2):
        return plain(tf.norm)(tensor, ord, axis, keepdims, name)
    return _euclidean_norm(tf.convert_to_tensor(tensor), axis, bool(keepdims))


def _euclidean_norm(x, axes, keepdims):
    axes = None if axes is None else list(tf.nest.flatten(axes))
    return root(tf.reduce_sum(x * tf.math.conj(x), axes, keepdims))


def cdist(x, y):
    plain(kmath.cdist)(x, y)  # raises where the shapes do not fit
    x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    difference = tf.expand_dims(x, -2) - tf.expand_dims(y, -3)
    return root(tf.reduce_sum(tf.square(difference), axis=-1))

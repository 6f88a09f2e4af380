"""Gradients of powers, also of a base that is zero."""

import functools

import tensorflow as tf

from keras_derivs.backend import powers
from keras_derivs.backend.steep import STEEP
from keras_derivs.backend.tensorflow import quotients, unselected
from keras_derivs.backend.tensorflow.gradients import gradient_of, is_needed, unbroadcast
from keras_derivs.backend.tensorflow.outer import outer

MAX_EXPONENT = 64


@gradient_of("Pow")
def _pow(op, gradient, plain):
    """Whole powers as products, and no multiple of 0^-1 where the multiplier is 0."""
    x, y = op.inputs
    exponent = None if is_needed(op, 1) else _whole(y)
    if exponent == 0:
        return tf.zeros_like(x), None
    if exponent is not None:
        return _of_whole_power(x, exponent, gradient), None
    if is_needed(op, 1) and x.dtype.is_floating:
        shape = tf.shape(op.outputs[0])
        wide = tf.broadcast_to(x, shape), tf.broadcast_to(y, shape)
        by_x = gradient * _steep(*wide, power_partial(*wide, 1, 0))
        by_y = gradient * power_partial(*wide, 0, 1)
        return unbroadcast(by_x, x), unbroadcast(by_y, y)
    root = quotients.of_root(gradient, y)
    if root is not None:
        return root, None
    constant = tf.equal(x, 0) & (tf.equal(y, 0) | tf.equal(y, 1))
    slope = _multiple(tf.pow(tf.where(constant, tf.ones_like(x), x), y - 1), y)
    by_x = unbroadcast(gradient * tf.math.conj(_steep(x, y, slope)), x)
    return by_x, plain(gradient)[1] if is_needed(op, 1) else None


def _steep(x, y, slope):
    """The slope, in the gradient of a weight one that is finite: see `backend/steep.py`."""
    if not outer.on or not x.dtype.is_floating:
        return slope
    return tf.where(tf.equal(x, 0) & (y > 0) & (y < 1), tf.constant(STEEP, x.dtype), slope)


def power_partial(x, y, i, j):
    """The partial derivative of x^y of the orders i and j, whose gradients are the next ones."""

    @tf.custom_gradient
    def found(x, y):
        def gradient_of(gradient):
            where = unselected.marked(gradient)
            at = (x, y) if where is None else [unselected.harmless(z, where()) for z in (x, y)]
            parts = power_partial(*at, i + 1, j), power_partial(*at, i, j + 1)
            return [unselected.alike(gradient, gradient * part) for part in parts]

        return powers.partial(x, y, i, j), gradient_of

    return found(x, y)


def _of_whole_power(x, exponent, gradient):
    """n x^(n - 1) times the gradient, which is a multiple of x, x^2, ..."""

    def divided(power):
        slope = tf.cast(exponent, x.dtype) * _product(x, exponent - 1 - power)
        return gradient * tf.math.conj(slope)

    parts = [functools.partial(divided, power) for power in range(1, exponent)]
    return quotients.attach(divided(0), parts)


def _multiple(x, y):
    """x y, and 0 where y is: `multiply_no_nan` has no right gradient of complex numbers."""
    return x * y if x.dtype.is_complex else tf.math.multiply_no_nan(x, y)


def _whole(y):
    """The number of factors that an exponent stands for; `None` if it does not."""
    y = tf.get_static_value(y)
    if y is None or y.ndim or y not in range(MAX_EXPONENT + 1):
        return None
    return int(y.real)


def _product(x, count):
    if count == 0:
        return tf.ones_like(x)
    if count == 1:
        return x
    half = _product(x, count // 2)
    return half * half * x if count % 2 else half * half

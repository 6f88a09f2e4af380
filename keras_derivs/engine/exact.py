"""Run a model so that its derivatives are exact and its state stays untouched.

`tf.nn.moments` stops the gradient at the mean. The variance is stationary in the mean, so first
derivatives survive that; second ones do not. While a scope is open, moments are computed by the
same formula without the stop: values stay the same to the bit. And TensorFlow takes the gradients
of `gradients.py` in place of its own. Both hold only in the thread that opened the scope.
"""

import contextlib
import threading

import keras
import tensorflow as tf
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope
from tensorflow.python.framework.ops import _gradient_registry as registry

from keras_derivs.engine.gradients import GRADIENTS

_active = threading.local()
_plain_moments = tf.nn.moments
_plain_lookup = type(registry).lookup


@contextlib.contextmanager
def gradients():
    """Moments and gradients that are exact at every order."""
    depth = getattr(_active, "depth", 0)
    _active.depth = depth + 1
    try:
        yield
    finally:
        _active.depth = depth


@contextlib.contextmanager
def scope():
    """Exact derivatives, and no update of any variable, seed or loss."""
    scope = keras.StatelessScope()
    if in_stateless_scope():  # the values that an enclosing scope gives to variables go on
        scope.state_mapping.update(get_stateless_scope().state_mapping)
    with gradients(), scope:
        yield


def _moments(x, axes, shift=None, keepdims=False, name=None):
    if not getattr(_active, "depth", 0):
        return _plain_moments(x, axes, shift, keepdims, name)
    x = tf.convert_to_tensor(x)
    z = tf.cast(x, "float32") if x.dtype == "float16" else x  # as TensorFlow does
    mean = tf.reduce_mean(z, axis=axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(z, mean), axis=axes, keepdims=keepdims)
    mean = mean if keepdims else tf.squeeze(mean, axis=axes)
    return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def _lookup(self, name):
    plain, name = _plain_lookup(self, name), tf.compat.as_str(name)
    if self is not registry or name not in GRADIENTS or not getattr(_active, "depth", 0):
        return plain

    def gradient(operation, *gradients):
        return GRADIENTS[name](operation, *gradients, lambda *g: plain(operation, *g))

    return gradient


tf.nn.moments = _moments
type(registry).lookup = _lookup

"""Run a model so that its derivatives are exact and its state stays untouched.

`tf.nn.moments` stops the gradient at the mean. The variance is stationary in the mean, so first
derivatives survive that; second ones do not. While a scope is open, Keras computes its moments
by the same formula without the stop: values stay the same to the bit.
"""

import contextlib
import threading

import keras
import tensorflow as tf
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope
from keras.src.backend.tensorflow import nn

_active = threading.local()
_keras_moments = nn._compute_moments


@contextlib.contextmanager
def scope():
    """Exact moments, and no update of any variable, seed or loss."""
    depth = getattr(_active, "depth", 0)
    _active.depth = depth + 1
    scope = keras.StatelessScope()
    if in_stateless_scope():  # the values that an enclosing scope gives to variables go on
        scope.state_mapping.update(get_stateless_scope().state_mapping)
    try:
        with scope:
            yield
    finally:
        _active.depth = depth


def _compute_moments(x, axes, keepdims):
    if not getattr(_active, "depth", 0):
        return _keras_moments(x, axes, keepdims)
    mean = tf.reduce_mean(x, axis=axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=axes, keepdims=keepdims)
    return (mean if keepdims else tf.squeeze(mean, axis=axes)), variance


nn._compute_moments = _compute_moments

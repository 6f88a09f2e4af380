"""Slopes of functions that Taylor polynomials are made of, with short gradients of their own."""

import tensorflow as tf

from keras_derivs.backend import defaults
from keras_derivs.backend.tensorflow.exporting import exporting
from keras_derivs.backend.tensorflow.modes import tracing
from keras_derivs.backend.tensorflow.unselected import alike


def slope_of_tanh(x):
    """See `keras_derivs.backend`; in a graph, where what is computed twice is found."""
    return _slope(x) if tracing() and not exporting.on else defaults.slope_of_tanh(x)


@tf.custom_gradient
def _slope(x):
    def gradient_of(gradient):
        return alike(gradient, gradient * (-2 * (tf.tanh(x) * _slope(x))))

    return defaults.slope_of_tanh(x), gradient_of

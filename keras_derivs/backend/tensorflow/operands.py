"""What formulas that are exact at every order take their operands for."""

import tensorflow as tf

from keras_derivs.backend.override import plain
from keras_derivs.graph.private import of_backend

HELD = "keras_derivs_held"  # names a stopped gradient of what the result does not depend on


def held(x):
    """A tensor as a constant, in a formula whose value does not depend on it."""
    return tf.stop_gradient(x, name=HELD)


def promoted(name, *arguments):
    """The arguments in the dtype of the result that Keras has for them."""
    dtype = plain(getattr(of_backend.numpy, name))(*arguments).dtype
    return [tf.cast(x, dtype) for x in arguments]


def number(x, dtype):
    """In this dtype; `tf.cast` alone would round a number of Python to single precision."""
    return tf.cast(x, dtype) if hasattr(x, "dtype") else tf.constant(x, dtype)

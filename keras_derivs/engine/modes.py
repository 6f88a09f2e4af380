"""The ways TensorFlow runs a function."""

import tensorflow as tf

NAMES = ("tf.function", "XLA")


def compiled(function, mode):
    """A function of tensors as a graph, with or without XLA."""
    return tf.function(function, jit_compile=mode == "XLA")

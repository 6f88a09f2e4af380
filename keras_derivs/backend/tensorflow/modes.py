"""The ways TensorFlow runs a function."""

import contextlib

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

MODES = ("tf.function", "XLA")


def compiled(function, mode=MODES[0]):
    """A function of tensors as a graph, with or without XLA."""
    return tf.function(function, jit_compile=mode == "XLA")


def compiling():
    """Whether a function is being traced for XLA."""
    in_graph = not tf.executing_eagerly()
    return in_graph and GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def tracing():
    """Whether a graph is being built."""
    return not tf.executing_eagerly()


def weights_scope():
    """A function that makes the context in which weights are made here, for another thread."""
    distributed = tf.distribute.has_strategy()
    return tf.distribute.get_strategy().scope if distributed else contextlib.nullcontext

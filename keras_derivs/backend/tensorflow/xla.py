"""What XLA cannot compile, and cannot differentiate."""

import functools

import tensorflow as tf
from tensorflow.python.framework import kernels

from keras_derivs.backend.step import EXCHANGED
from keras_derivs.backend.tensorflow.bounds import OBSTACLES

MAX_LOOP_ORDER = 2  # of derivatives through a loop


def loops(steps, order):
    """The types of loops that derivatives of that order cannot be compiled through."""
    types = {step.type for step in steps if step.operation.endswith("While")}
    return types if order > MAX_LOOP_ORDER else OBSTACLES if order else set()


def not_compiled(steps):
    """The types of operations that have no kernel of XLA."""
    types = {step.type for step in steps if EXCHANGED not in step.scopes}
    return {type for type in types if not _has_kernel(type)}


def refuse_gradient(x, error):
    """`x`, whose gradient raises `error`."""

    @tf.custom_gradient
    def identity(x):
        def gradient(upstream):
            raise error

        return tf.identity(x), gradient

    return identity(x)


def _has_kernel(type):
    _load()
    found = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(type).kernel}
    return not found or "XLA_CPU_JIT" in found


@functools.cache
def _load():
    """XLA registers its kernels when it compiles for the first time."""
    with tf.init_scope():
        tf.function(tf.identity, jit_compile=True)(0.0)

"""What XLA cannot compile, said before TensorFlow says it without naming a layer."""

import functools

import keras
import tensorflow as tf
from tensorflow.python.framework import kernels

from keras_derivs.engine.modes import compiling
from keras_derivs.engine.notes import places

MAX_LOOP_ORDER = 2  # of derivatives through a loop


def obstacle(model, steps, order):
    """What keeps XLA from compiling derivatives of that order; `None` if nothing does."""
    loops = places(model, steps, {step.type for step in steps if step.type.endswith("While")})
    if loops and order > MAX_LOOP_ORDER:
        return f"a loop, {loops}, differentiated {order} times"
    missing = {type for type in {step.type for step in steps} if not _has_kernel(type)}
    return places(model, steps, missing, beside=True) or None


def guarded(results, model, steps, order, name):
    """The results; raises where XLA cannot compile them, and where it cannot differentiate them."""
    if not compiling():
        return results
    found = obstacle(model, steps, order)
    if found:
        raise _error(found, model, name)
    beyond = obstacle(model, steps, order + 1)
    if beyond:
        refuse = _refusing(_error(beyond, model, name))
        return keras.tree.map_structure(refuse, results)
    return results


def _error(found, model, name):
    return ValueError(
        f"XLA (`jit_compile=True`) needs operations that it can compile and differentiate. "
        f"Received: '{name}' of '{model.name}', which goes through {found}. Use "
        f"`jit_compile=False`; a recurrent layer may also be unrolled, `unroll=True`."
    )


def _refusing(error):
    """The identity, whose gradient is an error."""

    @tf.custom_gradient
    def identity(x):
        def gradient(upstream):
            raise error

        return tf.identity(x), gradient

    return identity


def _has_kernel(type):
    _load()
    found = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(type).kernel}
    return not found or "XLA_CPU_JIT" in found


@functools.cache
def _load():
    """XLA registers its kernels when it compiles for the first time."""
    with tf.init_scope():
        tf.function(tf.identity, jit_compile=True)(0.0)

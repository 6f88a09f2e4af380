"""What XLA cannot compile, said before TensorFlow says it without naming a layer."""

import functools

import tensorflow as tf
from tensorflow.python.framework import kernels

from keras_derivs.engine.modes import compiling
from keras_derivs.engine.notes import places

MAX_LOOP_ORDER = 2  # of derivatives through a loop


def obstacle(model, steps, order):
    """What keeps XLA from compiling derivatives of that order; `None` if nothing does."""
    loops = {step.type for step in steps if step.type.endswith("While")}
    if loops and order > MAX_LOOP_ORDER:
        return f"a loop, {places(model, steps, loops)}, differentiated {order} times"
    missing = {step.type for step in steps if not _has_kernel(step.type)}
    return places(model, steps, missing) or None


def check(model, steps, order, name):
    """Raise where a derivative is being compiled that cannot be."""
    found = obstacle(model, steps, order) if compiling() else None
    if found:
        raise ValueError(
            f"XLA (`jit_compile=True`) needs operations that it can compile and differentiate. "
            f"Received: '{name}' of '{model.name}', which goes through {found}. Use "
            f"`jit_compile=False`; a recurrent layer may also be unrolled, `unroll=True`."
        )


def _has_kernel(type):
    _load()
    found = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(type).kernel}
    return not found or "XLA_CPU_JIT" in found


@functools.cache
def _load():
    """XLA registers its kernels when it compiles for the first time."""
    with tf.init_scope():
        tf.function(tf.identity, jit_compile=True)(0.0)

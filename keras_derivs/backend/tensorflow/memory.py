"""The memory that a call takes, by the counters of TensorFlow's allocators."""

import tensorflow as tf


def peak_memory(call):
    """See `keras_derivs.backend`."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    name = devices[0].name.removeprefix("/device:")
    try:
        tf.config.experimental.reset_memory_stats(name)
        before = tf.config.experimental.get_memory_info(name)["current"]
    except ValueError:  # a device without counters
        call()
        return None
    call()
    return max(0, tf.config.experimental.get_memory_info(name)["peak"] - before)

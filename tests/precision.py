"""The dtype in which models of a test are made."""

import contextlib

import keras


@contextlib.contextmanager
def precision(dtype):
    """Keras makes numbers and layers of this dtype inside."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])

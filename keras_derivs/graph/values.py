"""Values of variables, where a framework has taken them away."""

import contextlib
import math

import keras
import numpy as np


@contextlib.contextmanager
def with_values(model):
    """Variables that have no value stand for likely ones meanwhile.

    JAX's trainer takes the values out of a model's variables, and passes them beside it.
    """
    emptied = [v for v in model.variables if v._value is None and v._initializer is None]
    for variable in emptied:
        variable._initializer = _likely(variable)
    try:
        yield
    finally:
        for variable in emptied:
            variable._initializer = None


def _likely(variable):
    """Whole numbers are zero, statistics near one, and weights as large as those of new layers."""
    trained = variable.trainable

    def initialize(shape, dtype):
        if not keras.backend.is_float_dtype(dtype):
            return keras.ops.zeros(shape, dtype)
        values = np.random.default_rng(0).uniform(-1.0, 1.0, shape)
        values = values / math.sqrt(math.prod(shape[:-1])) if trained else 1 + values / 2
        return keras.ops.convert_to_tensor(values, dtype)

    return initialize

"""Truth from outside the package: central differences in float64, and the tolerances."""

import keras
import numpy as np

# by dtype: (relative to the largest value, against another exact computation)
EXACT = {"float32": 2e-5, "float64": 1e-11}
# against central differences, which are always taken in float64, by order of the derivative
DIFFERENCES = {1: 1e-8, 2: 1e-6, 3: 1e-4}
SINGLE = {1: 1e-4, 2: 2e-3, 3: 2e-2}  # what float32 leaves of them


def close(found, expected, tolerance):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    scale = max(1.0, np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def jacobian(function, x, step=1e-3):
    """df/dx per sample, (B, *out, *in), by Richardson-extrapolated central differences."""
    x = np.asarray(x, "float64")
    entries = x.reshape(len(x), -1).shape[1]

    def difference(index, h):
        shift = np.zeros((1, entries))
        shift[0, index] = h
        shift = shift.reshape(1, *x.shape[1:])
        return (np.asarray(function(x + shift)) - np.asarray(function(x - shift))) / (2 * h)

    columns = [(4 * difference(i, step / 2) - difference(i, step)) / 3 for i in range(entries)]
    stacked = np.stack(columns, axis=-1)
    return stacked.reshape(*stacked.shape[:-1], *x.shape[1:])


def hessian(function, x, step=1e-2):
    return jacobian(lambda z: jacobian(function, z, step), x, step)


def predict(model):
    """The model as a function of numpy arrays."""
    return lambda x: keras.ops.convert_to_numpy(model(x, training=False))

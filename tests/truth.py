"""Truth from outside the package: central differences in float64, and the tolerances."""

import keras
import numpy as np

from keras_derivs.backend.wide import wide

# by dtype: (relative to the largest value, against another exact computation)
EXACT = {"float32": 2e-5, "float64": 1e-11}
# against central differences, which are always taken in float64, by order of the derivative
DIFFERENCES = {1: 1e-8, 2: 1e-6, 3: 1e-4}
SINGLE = {1: 1e-4, 2: 2e-3, 3: 2e-2}  # what float32 leaves of them


def numpy(values):
    """As an array; a tensor of PyTorch that is differentiated needs more than numpy."""
    return keras.ops.convert_to_numpy(values) if keras.ops.is_tensor(values) else np.asarray(values)


def close(found, expected, tolerance):
    found, expected = numpy(found), numpy(expected)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    scale = max(1.0, np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def jacobian(function, x, step=1e-3, at_once=True):
    """df/dx per sample, (B, *out, *in), by Richardson-extrapolated central differences.

    All shifted points are one batch, unless the rows of `function` are not independent.
    """
    x = np.asarray(x, "float64")
    entries = x[:1].size
    units = np.eye(entries).reshape(entries, 1, *x.shape[1:])
    shifts = np.concatenate([h * units for h in (step, -step, step / 2, -step / 2)])
    if at_once:
        values = numpy(function((x + shifts).reshape(-1, *x.shape[1:])))
        values = values.reshape(len(shifts), len(x), *values.shape[1:])
    else:
        values = np.stack([numpy(function(x + shift)) for shift in shifts])
    far, near = ((values[n : n + entries] - values[n + entries : n + 2 * entries])
                 for n in (0, 2 * entries))  # fmt: skip
    columns = (4 * near / step - far / (2 * step)) / 3
    stacked = np.moveaxis(columns, 0, -1)
    return stacked.reshape(*stacked.shape[:-1], *x.shape[1:])


def hessian(function, x, step=1e-2):
    return jacobian(lambda z: jacobian(function, z, step), x, step)


def along(function, x, v, orders=4, radius=0.1, nodes=15):
    """d^k f(x + t v)/dt^k at t = 0, from a Chebyshev interpolation in t."""
    t = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    values = np.stack([numpy(function(x + radius * s * v)) for s in t])
    fit = np.polynomial.chebyshev.chebfit(t, values.reshape(nodes, -1), nodes - 1)
    found = [np.polynomial.chebyshev.chebder(fit, k) if k else fit for k in range(orders + 1)]
    found = [np.polynomial.chebyshev.chebval(0.0, c) / radius**k for k, c in enumerate(found)]
    return [c.reshape(values.shape[1:]) for c in found]


def predict(model):
    """The model as a function of numpy arrays, in float64 where it is made so."""

    def run(x):
        with wide():  # Keras narrows float64 on JAX and PyTorch
            return keras.ops.convert_to_numpy(model(x, training=False))

    return run

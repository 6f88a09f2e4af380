"""Gradients of losses on derivatives by weights: no NaN where they exist, at 0 and at kinks.

The weight stands before the function, z = w (x + p) at x = 0 for each point p, so that a loss on a
derivative by x is differentiated through all that the derivative is made of.
"""

import functools

import keras
import numpy as np
import pytest
from framework import BACKEND, gradients
from keras import layers, ops
from truth import close

import keras_derivs as kd
from keras_derivs.backend.wide import wide

POINTS, WEIGHT, STEP = (0.0, 0.3, -0.7, 1.6), 1.3, 1e-3
TOLERANCE = 1e-7  # of differences of exact derivatives
STRATEGIES = ["taylor", *(["reverse"] if BACKEND == "tensorflow" else [])]


def pair(z):
    return ops.stack([z, 2 * z], axis=-1)


def along(function, **options):
    return lambda z: function(pair(z), axis=-1, **options)


def far(z, function, otherwise=None):
    """The function where it is right, and a square where it is not."""
    return ops.where(z > 0.1, function, z * z if otherwise is None else otherwise)


TWICE = {
    "x**2.5": lambda z: ops.relu(z) ** 2.5,
    "|x|**2.5": lambda z: ops.abs(z) ** 2.5,
}
SMOOTH = {
    "x**3.5": lambda z: ops.abs(z) ** 3.5,
    "x**4.5": lambda z: ops.relu(z) ** 4.5,
    "x**3": lambda z: z**3,
    "(1 + x**2)**x": lambda z: (1 + z * z) ** z,
    "2**x": lambda z: ops.power(2.0, z),
    "norm**2": lambda z: along(ops.norm)(z) ** 2,
    "norm**3": lambda z: along(ops.norm)(z) ** 3,
    "norm, shifted": lambda z: ops.norm(ops.stack([z, 1 + z], axis=-1), axis=-1),
    "cos(norm)": lambda z: ops.cos(along(ops.norm)(z)),
    "hypot**2": lambda z: ops.hypot(z, 2 * z) ** 2,
    "hypot": lambda z: ops.hypot(z, 1 + z),
    "arctan2": lambda z: ops.arctan2(z, 1 + z * z),
    "std**2": lambda z: along(ops.std)(z) ** 2,
    "sqrt**2": lambda z: ops.sqrt(z * z) ** 2,
    "sqrt": lambda z: ops.sqrt(z * z + 1),
    "abs**2": lambda z: ops.abs(z) ** 2,
    "maximum**2": lambda z: ops.maximum(z, -z) ** 2,
    "cbrt": lambda z: ops.cbrt(1 + z * z),
    "logsumexp": along(ops.logsumexp),
    "softmax": lambda z: along(ops.softmax)(z)[..., 0],
    "logaddexp": lambda z: ops.logaddexp(z, 2 * z),
    "normalize": lambda z: ops.normalize(ops.stack([z, 1 + z], axis=-1), axis=-1)[..., 0],
    "sinc": ops.sinc,
    "gelu": ops.gelu,
    "softplus": ops.softplus,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "arcsin": lambda z: ops.arcsin(z / 3),
    "arctanh": lambda z: ops.arctanh(z / 3),
    "arccosh": lambda z: ops.arccosh(2 + z * z),
    "arcsinh": ops.arcsinh,
    "erf": ops.erf,
    "tan": lambda z: ops.tan(z / 3),
    "layer norm": lambda z: ops.layer_normalization(ops.stack([z, z * z, 1 + z], axis=-1))[..., 0],
    "prod": lambda z: ops.prod(ops.stack([z, 2 * z, 1 + z], axis=-1), axis=-1),
    "det": lambda z: ops.det(
        ops.stack([ops.stack([z, z * z], axis=-1), ops.stack([1 + z, z], axis=-1)], axis=-2)
    ),
}
UNSELECTED = {
    "x log x": lambda z: far(z, z * ops.log(z)),
    "sqrt": lambda z: far(z, ops.sqrt(z)),
    "rsqrt": lambda z: far(z, ops.rsqrt(z)),
    "1 / x": lambda z: far(z, 1 / z),
    "x**-2": lambda z: far(z, z**-2),
    "x**0.5": lambda z: far(z, z**0.5),
    "x**1.5": lambda z: far(z, z**1.5),
    "x**x": lambda z: far(z, z**z),
    "sin(x) / x": lambda z: ops.where(z == 0, 1 - z * z / 6 + z**4 / 120, ops.sin(z) / z),
    "exp(1 / x)": lambda z: far(z, ops.exp(1 / z)),
    "exp(-1 / x)": lambda z: far(z, ops.exp(-1 / z), 0 * z),
    "exp of a large number": lambda z: ops.where(z < 9, z * z, ops.exp(1000 * z)),
    "cosh of a large number": lambda z: ops.where(z < 9, z * z, ops.cosh(1000 * z)),
    "log1p": lambda z: far(-z, ops.log1p(-z)),
    "arcsin": lambda z: ops.where(ops.abs(z) < 0.95, ops.arcsin(z), z),
    "arctanh": lambda z: ops.where(ops.abs(z) < 0.95, ops.arctanh(z), z),
    "arccosh": lambda z: ops.where(z > 1.5, ops.arccosh(z), z),
    "log of a norm": lambda z: far(z, ops.log(along(ops.norm)(z))),
    "sine of a logarithm": lambda z: far(z, ops.sin(ops.log(z))),
    "sum of logarithms": lambda z: far(z, ops.sum(ops.log(pair(z)), axis=-1)),
    "logsumexp of logarithms": lambda z: far(z, ops.logsumexp(ops.log(pair(z)), axis=-1)),
    "maximum": lambda z: ops.maximum(ops.log(ops.abs(z)), z * z - 3),
    "minimum": lambda z: ops.minimum(1 / (z * z), 3 + z),
    "clip": lambda z: ops.clip(1 / (z * z), 0.0, 3.0) * z,
    "relu": lambda z: ops.relu(ops.sqrt(z) - 0.75) + z * z,
    "select": lambda z: ops.select([z > 0, z < -0.5], [z * ops.log(z), z * z], z),
}


TABLES = {"smooth": SMOOTH, "unselected": UNSELECTED, "twice": TWICE}


class Columns(layers.Layer):
    """Each function at each point, with a weight of its own."""

    def __init__(self, functions):
        super().__init__()
        self.functions = functions
        self.weight = self.add_weight(shape=(len(functions) * len(POINTS),))
        self.weight.assign(np.full(self.weight.shape, WEIGHT))

    def call(self, x):
        z = self.weight * ops.add(x, np.array(POINTS * len(self.functions)))
        parts = [z[:, n : n + len(POINTS)] for n in range(0, z.shape[1], len(POINTS))]
        return ops.concatenate([f(part) for f, part in zip(self.functions, parts)], axis=1)


def model_of(table, combine=None):
    x, columns = keras.Input((1,), dtype="float64"), Columns(list(table.values()))
    y = columns(x)
    return keras.Model(x, y if combine is None else combine(y)), columns.weight


@functools.cache
def differences(name, order):
    """The derivatives at each function and point, and their slopes by the weight."""
    model, weight = model_of(TABLES[name])
    made = kd.Partials(model, [(0,) * order], strategy="taylor", audit=False)
    values = []
    for step in (0, STEP, -STEP, STEP / 2, -STEP / 2):
        weight.assign(np.full(weight.shape, WEIGHT + step))
        values.append(ops.convert_to_numpy(made(np.zeros((1, 1)))[0][0]))
    value, *shifted = values
    near, wide = (shifted[2] - shifted[3]) / STEP, (shifted[0] - shifted[1]) / STEP / 2
    return value, (4 * near - wide) / 3


def wrong(name, order, strategy):
    """The functions and points at which the gradient by the weight is not that of differences."""
    model, weight = model_of(TABLES[name], lambda y: ops.sum(y, axis=1, keepdims=True))
    made = kd.Partials(model, [(0,) * order], strategy=strategy, audit=False)
    (found,) = gradients(lambda: ops.sum(made(np.zeros((1, 1)))[0]), [weight])
    value, true = differences(name, order)
    assert np.isfinite(true).all(), [names(name)[n] for n in np.flatnonzero(~np.isfinite(true))]
    scale = np.maximum(1, np.abs(value) + np.abs(true))
    off = ~(np.abs(ops.convert_to_numpy(found) - true) < TOLERANCE * scale)
    return [names(name)[n] for n in np.flatnonzero(off)]


def names(table):
    return [f"{name} at {point}" for name in TABLES[table] for point in POINTS]


@pytest.fixture(autouse=True)
def in_double_precision(float64):
    """Keras narrows float64 on JAX and PyTorch."""
    with wide():
        yield


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", TABLES)
def test_second_derivatives(name, strategy):
    assert not wrong(name, 2, strategy)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("name", [name for name in TABLES if name != "twice"])
def test_other_orders(name, order, strategy):
    assert not wrong(name, order, strategy)


AT_ZERO = {  # a is 0, and so are its derivatives by x; but not those of these by the weights of a
    "a / b": lambda a, b: a / b,
    "1 / (a + b)": lambda a, b: 1 / (a + b),
    "a**3 + a b": lambda a, b: a**3 + a * b,
    "b**a": lambda a, b: b**a,
    "(a + b)**a": lambda a, b: (a + b) ** a,
    "exp": lambda a, b: ops.exp(a) * b,
    "log": lambda a, b: ops.log(a + b),
    "log1p": lambda a, b: ops.log1p(a) * b,
    "rsqrt": lambda a, b: ops.rsqrt(a + b),
    "arctan2": ops.arctan2,
    "arctan2, turned": lambda a, b: ops.arctan2(b, a),
    "sinh": lambda a, b: ops.sinh(a) + b,
    "softmax": lambda a, b: ops.softmax(ops.concatenate([a, 2 * a, b], axis=1))[:, :1],
}


@pytest.mark.parametrize("term", [(0,), (0, 1)])
def test_weights_that_are_zero(term):
    x = keras.Input((2,), dtype="float64")
    dense = layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    a, b = dense(x), 3 + ops.sin(x[:, :1] + 2 * x[:, 1:])
    y = ops.concatenate([function(a, b) for function in AT_ZERO.values()], axis=1)
    y = ops.sum(y * np.arange(1.0, 1 + len(AT_ZERO)), axis=1, keepdims=True)
    made = kd.Partials(keras.Model(x, y), [term], strategy="taylor", audit=False)
    point, change = np.array([[0.3, -0.7]]), np.array([[1.0], [-2.0]])

    def value(step):
        dense.kernel.assign(step * change)
        return float(ops.convert_to_numpy(made(point)[0])[0, 0])

    wide, near = (value(h) - value(-h) for h in (2 * STEP, STEP))
    dense.kernel.assign(0 * change)
    (slope,) = gradients(lambda: made(point)[0][0, 0], [dense.kernel])
    close(np.sum(ops.convert_to_numpy(slope) * change), (8 * near - wide) / (12 * STEP), 1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="compiled by TensorFlow")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_at_the_first_instant(jit_compile):
    """u = (w t)^2.5, whose second derivative 3.75 w^2.5 t^0.5 has the slope 9.375 w^1.5 t^0.5."""
    t = keras.Input((1,), name="t", dtype="float64")
    dense = layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Model(t, kd.diff(dense(t) ** 2.5, t, t))
    model.compile(keras.optimizers.SGD(0.1), "mean_absolute_error", jit_compile=jit_compile)
    model.fit(np.array([[0.0], [1.0]]), np.zeros((2, 1)), epochs=1, verbose=0)
    close(dense.kernel, [[1 - 0.1 * 9.375 / 2]], 1e-6)

"""Smooth functions that users write in pieces, in float32, where a square is infinite or 0."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from truth import EXACT, close

import keras_derivs as kd

TENSORFLOW = keras.backend.backend() == "tensorflow"
STRATEGIES = ["taylor", *(["tape"] if TENSORFLOW else [])]


def logistic(x):
    return 1 / (1 + np.exp(-x))


def slope(x):
    return logistic(x) * logistic(-x)


# name -> (function, its first derivative, its second one)
FUNCTIONS = {
    "softplus": (lambda x: ops.log(1 + ops.exp(x)), logistic, slope),
    "softplus, log1p": (lambda x: ops.log1p(ops.exp(x)), logistic, slope),
    "sigmoid": (
        lambda x: ops.exp(x) / (1 + ops.exp(x)), slope, lambda x: -np.tanh(x / 2) * slope(x),
    ),
    "sigmoid, reciprocal": (
        lambda x: ops.reciprocal(1 + ops.exp(-x)), slope, lambda x: -np.tanh(x / 2) * slope(x),
    ),
    "identity": (lambda x: ops.log(ops.exp(x)), np.ones_like, np.zeros_like),
}  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_far_out(name, strategy):
    function, *true = FUNCTIONS[name]
    x = keras.Input((1,))
    made = kd.Partials(keras.Model(x, function(x)), [(0,), (0, 0)], strategy=strategy)
    at = np.array([-80.0, -50.0, -5.0, 0.0, 5.0, 50.0, 80.0])
    for found, expected in zip(made(at[:, None].astype("float32")), true):
        close(np.ravel(found), expected(at).astype("float32"), EXACT["float32"])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", ["erf", "erfc", "gelu", "softsign"])
@pytest.mark.parametrize("options", [{}, {"approximate": False}])
def test_very_far_out(name, options, strategy):
    """Squares and cubes of x are infinite."""
    function = getattr(ops, name)
    options = options if name == "gelu" else {}
    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Lambda(lambda x: function(x, **options))(x))
    terms = [(0,) * order for order in range(1, 5)]
    found = kd.Partials(model, terms, strategy=strategy)(np.array([[-1e25], [1e25]], "float32"))
    slope = [0, 1] if name == "gelu" else [0, 0]
    close(np.reshape(found, (4, 2)), np.array([slope, [0, 0], [0, 0], [0, 0]]), EXACT["float32"])


@pytest.mark.filterwarnings("ignore:(?s).*No second derivative")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("size", [1e25, 1e-30])
def test_a_hypotenuse_of_any_size(size, strategy):
    """Of equal legs; the square of its size is infinite, or zero."""
    x = keras.Input((2,))
    model = keras.Model(x, keras.layers.Lambda(lambda x: ops.hypot(x[:, :1], x[:, 1:]))(x))
    made = kd.Partials(model, [(0,), (0, 0), (0, 1)], strategy=strategy)
    first, *second = np.reshape(made(np.full((1, 2), size, "float32")), 3)
    close(first, np.float32(math.sqrt(0.5)), EXACT["float32"])
    close(np.array(second) * size, np.array([1, -1], "float32") / math.sqrt(8), EXACT["float32"])


class Equal(keras.layers.Layer):
    def call(self, x):
        return ops.where(x == 0, x * x, ops.cast(x != 1, x.dtype) * x**3)


@pytest.mark.filterwarnings("ignore:(?s).*single points")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_operators_of_equality(strategy):
    """On polynomials, too, they compare entries, and not which object there is."""
    x = keras.Input((1,))
    made = kd.Partials(keras.Model(x, Equal()(x)), [(0,), (0, 0)], strategy=strategy)
    found = made(np.array([[0.0], [1.0], [2.0]], "float32"))
    close(np.reshape(found, (2, 3)), np.array([[0, 0, 12], [2, 0, 12]]), EXACT["float32"])


class Powers(keras.layers.Layer):
    def build(self, input_shape):
        self.w = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        powers = ops.power(self.w * x, ops.arange(4, dtype=x.dtype))
        return ops.sum(powers, axis=1, keepdims=True)


class Singular(Powers):
    def call(self, x):
        z = self.w * x
        rows = ops.concatenate([z, 2 * z, z * z, z * z + z], axis=1)
        return ops.det(ops.reshape(rows, (-1, 2, 2)))[:, None]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("layer, change", [(Powers, 1 + 4), (Singular, 4)])
def test_training_at_zero(layer, change, strategy):
    """The sum of both derivatives of sum_n (w x)^n at 0 is w + 2 w^2; of the determinant, 2 w^2."""
    x = keras.Input((1,))
    y = layer()
    first, second = kd.Partials(keras.Model(x, y(x)), [(0,), (0, 0)], strategy=strategy)(x)
    model = keras.Model(x, first + second)
    model.compile(keras.optimizers.SGD(0.1), "mean_absolute_error", jit_compile=False)
    model.fit(np.zeros((2, 1)), np.zeros((2, 1)), verbose=0)
    close(ops.convert_to_numpy(y.w), np.float32(1 - 0.1 * change), EXACT["float32"])

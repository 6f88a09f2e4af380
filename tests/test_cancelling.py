"""Smooth functions of parts with kinks, where the parts have them at the same inputs."""

import re
import warnings

import keras
import numpy as np
import pytest
from framework import on_tensorflow, tf
from keras import layers, ops
from truth import EXACT, close

import keras_derivs as kd

TERMS = [(0,), (1,), (0, 0), (0, 1), (1, 1)]
NAMES = "'([Mm]aximum|max)', '([Mm]inimum|min)'"  # of each framework
AT = np.array([[0, 0], [1, 1], [-2.3, -2.3], [0, 1], [-1, 1], [0.5, -3]])


def both(x, y):
    return ops.concatenate([x, y], axis=1)


def along(function, z):
    return function(z, axis=1, keepdims=True)


def product(x, y):
    return [y, x, 0 * x, 0 * x + 1, 0 * x]


def identity(x, y):
    return [0 * x + 1, 0 * x, 0 * x, 0 * x, 0 * x]


def squared_difference(x, y):
    return [2 * (x - y), 2 * (y - x), 0 * x + 2, 0 * x - 2, 0 * x + 2]


def softplus(x, y):
    slope = 1 / (1 + np.exp(-x))
    return [slope, 0 * x, slope * (1 - slope), 0 * x, 0 * x]


def exponential(x, y):
    return [np.exp(x), 0 * x, np.exp(x), 0 * x, 0 * x]


def used_twice(x, y):
    larger = ops.maximum(x, y)
    return larger * (x + y - larger)


def exponential_product(x, y):
    larger = ops.exp(ops.maximum(x, y))
    return larger * (ops.exp(x) + ops.exp(y) - larger)


def parts(x, y):
    positive = ops.maximum(x, 0.0)
    return ops.exp(positive) + ops.exp(x - positive) - 1


def in_functions(x, y):
    """The product of two functions of TensorFlow, one inside another."""
    larger = tf.function(lambda x, y: tf.maximum(x, y))
    smaller = tf.function(lambda x, y: tf.minimum(x, y))
    outer = tf.function(lambda z: larger(z[:, :1], z[:, 1:]) + 0 * z[:, :1])
    return layers.Lambda(lambda z: outer(z) * smaller(z[:, 1:], z[:, :1]))(both(x, y))


# name -> (function, its true derivatives)
SMOOTH = {
    "product": (lambda x, y: ops.maximum(x, y) * ops.minimum(x, y), product),
    "swapped": (lambda x, y: ops.maximum(2 * x, 2 * y) * ops.minimum(y, x) / 2, product),
    "reduced": (lambda x, y: along(ops.max, both(x, y)) * along(ops.min, both(x, y)), product),
    "sorted": (lambda x, y: along(ops.prod, ops.sort(both(x, y), axis=1)), product),
    "range": (lambda x, y: along(ops.ptp, both(x, y)) ** 2, squared_difference),
    "relu": (lambda x, y: ops.relu(x) - ops.relu(-x), identity),
    "joined": (
        lambda x, y: along(ops.sum, ops.relu(both(x, -x)) * np.array([[1, -1]], x.dtype)),
        identity,
    ),
    "relu and minimum": (lambda x, y: (y + ops.relu(x - y)) * ops.minimum(x, y), product),
    "same pieces": (lambda x, y: ops.where(x > y, x, y) * ops.where(x > y, y, x), product),
    "other pieces": (lambda x, y: ops.where(x > y, x, y) * ops.where(y > x, x, y), product),
    "softplus": (lambda x, y: ops.relu(x) + ops.log1p(ops.exp(-ops.abs(x))), softplus),
    "used twice": (used_twice, product),
    "a function of it": (exponential_product, lambda x, y: [np.exp(x + y)] * 5),
    "parts": (parts, exponential),
}
KINKED = {
    "one": lambda x, y: ops.maximum(x, y) + ops.relu(x) * ops.abs(y),
    "relu": lambda x, y: layers.Dense(1)(layers.Dense(3, "relu")(layers.Dense(3, "relu")(both(x, y)))),
    "unselected": lambda x, y: ops.where(x > 0, x * ops.log(ops.where(x > 0, x, 1.0)), 0 * x),
    "one use": lambda x, y: layers.Dense(2, "gelu")(ops.maximum(x, y)),
    "bounds": lambda x, y: ops.clip(x, -1, 1) + ops.hard_sigmoid(x) + ops.where(x > 1, x, 1.0),
    "range": lambda x, y: along(ops.ptp, ops.concatenate([x, y, x * y], axis=1)),
    "PReLU": lambda x, y: layers.PReLU("ones")(x + y),
    "sides alike": lambda x, y: ops.relu(x) + ops.elu(x) * ops.selu(x) + ops.celu(y) * ops.relu(y),
    "activations": lambda x, y: ops.celu(x) + ops.selu(y) + ops.hard_silu(x + y) * ops.silu(y),
}  # fmt: skip


def model_of(function, dtype="float32"):
    z = keras.Input((2,), dtype=dtype)
    return keras.Model(z, function(z[:, :1], z[:, 1:]))


@pytest.mark.filterwarnings("ignore:(?s).*(Piecewise|No second derivative)")
@pytest.mark.parametrize("strategy", ["taylor", "reverse"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth(name, strategy, float64):
    function, true = SMOOTH[name]
    layer = kd.Partials(model_of(function, "float64"), TERMS, strategy=strategy)
    expected = [np.reshape(d, (-1, 1)) for d in true(*AT.T)]
    for found, derivative in zip(layer(AT), expected):
        close(found, derivative, EXACT["float64"])


@on_tensorflow
def test_in_functions_of_the_framework(float64):
    layer = kd.Partials(model_of(in_functions, "float64"), TERMS)
    for found, derivative in zip(layer(AT), product(*AT.T)):
        close(found, np.reshape(derivative, (-1, 1)), EXACT["float64"])


@pytest.mark.filterwarnings("ignore:(?s).*(Piecewise|No second derivative)")
@pytest.mark.parametrize("name", KINKED)
def test_others_cost_no_more(name):
    assert "Kinks" not in kd.Hessian(model_of(KINKED[name])).explain()


def test_it_is_explained():
    text = kd.Hessian(model_of(SMOOTH["product"][0])).explain()
    assert re.search(f"Kinks that may cancel: {NAMES}", text)
    assert "Kinks" not in kd.Jacobian(model_of(SMOOTH["product"][0])).explain()


def test_a_derivative_of_a_derivative():
    layer = kd.Jacobian(kd.Gradient(model_of(SMOOTH["product"][0])))
    close(layer(np.ones((1, 2), "float32")), [[[0, 1], [1, 0]]], EXACT["float32"])


def test_single_precision_and_training():
    """w x y, of the mixed derivative w, at a tie."""
    z = keras.Input((2,))
    scale = layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Model(z, scale(SMOOTH["product"][0](z[:, :1], z[:, 1:])))
    trained = keras.Sequential([keras.Input((2,)), kd.Partials(model, [(0, 1)])])
    trained.compile(keras.optimizers.SGD(0.1), "mean_absolute_error")
    trained.fit(np.ones((4, 2)), np.zeros((4, 1)), epochs=1, verbose=0)
    close(scale.kernel.numpy(), [[0.9]], EXACT["float32"])


def test_in_training_mode_they_are_told():
    model = model_of(lambda x, y: SMOOTH["product"][0](layers.Dropout(0.5)(x), y))
    for layer, number in ((kd.Gradient, 0), (kd.Hessian, 1)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            layer(model, training=True)
        words = f"Kinks at the same inputs: {NAMES}"
        assert sum(bool(re.search(words, str(w.message))) for w in told) == number

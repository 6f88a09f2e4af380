"""Exact derivatives beside what is not selected: what selects keeps its own numbers."""

import keras
import numpy as np
import pytest
from keras import ops
from truth import DIFFERENCES, close, hessian, jacobian, predict

import keras_derivs as kd

X = np.array([[0.3, 0.7], [0.2, -0.4], [1.1, 0.3], [2.0, 1.3]])
EXPONENTS = np.array([[1.3, 0.0], [0.7, 1.0], [2.0, 0.0], [1.0, 1.0], [1.0, 0.0]])


def total(x):
    return ops.sum(x, axis=1, keepdims=True)


def product(x):
    return x[:, :1] * x[:, 1:]


FUNCTIONS = {
    "clip of a product": lambda x: total(ops.clip(3 * x * x, -1.0, 1.0) * x),
    "clip by products": lambda x: (
        ops.clip(x[:, :1], -(product(x) ** 2), product(x) ** 2) * x[:, :1]
    ),
    "its own condition": lambda x: ops.where(product(x) > 0.5, product(x), x[:, :1] ** 3),
    "a product decides": lambda x: ops.where(product(x) > 0.5, ops.sin(x[:, :1]), x[:, 1:] ** 3),
    "a root where it has none": lambda x: ops.where(
        x[:, :1] > 0.5, ops.sqrt(x[:, :1] - 0.5), x[:, 1:] ** 3
    ),
    "the larger product": lambda x: ops.maximum(product(x), x[:, :1] * x[:, :1]) * x[:, 1:],
}


def model(function):
    x = keras.Input((2,), dtype="float64")
    return keras.Model(x, keras.layers.Lambda(function, output_shape=(1,), dtype="float64")(x))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore:.*Piecewise linear")
def test_what_selects_keeps_its_numbers(name, float64):
    net = model(FUNCTIONS[name])
    y, slope = kd.Gradient(net, strategy="reverse", return_value=True)(X)
    close(y, predict(net)(X), DIFFERENCES[1])
    close(slope, jacobian(predict(net), X)[:, 0], DIFFERENCES[1])


def test_a_bessel_function_at_its_minimum(float64):
    net = model(lambda x: total(ops.i0(x)))
    x = np.array([[0.0, 1.5], [2.5, -1.9]])
    found = kd.HessianDiagonal(net, strategy="reverse")(x)
    close(found, np.einsum("bii->bi", hessian(predict(net), x)[:, 0]), DIFFERENCES[2])


@pytest.mark.parametrize("strategy", ["reverse", "taylor"])
def test_powers_whose_exponents_vary(strategy, float64):
    net = model(lambda x: ops.power(x[:, :1], x[:, 1:]))
    found = kd.Hessian(net, strategy=strategy)(EXPONENTS)
    close(found, hessian(predict(net), EXPONENTS)[:, 0], DIFFERENCES[2])


def test_a_power_of_a_tensor_by_a_number_keeps_double_precision(float64):
    x = keras.Input((2,), dtype="float64")
    for net in (model(lambda x: x[:, :1] ** 7.3), keras.Model(x, ops.power(x[:, :1], 7.3))):
        for strategy in ("reverse", "taylor"):
            slope = kd.Gradient(net, strategy=strategy)(X)
            close(slope[:, 0], 7.3 * X[:, 0] ** 6.3, 1e-13)

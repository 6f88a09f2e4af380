"""The word that second derivatives of `relu` are zero: only where they are."""

import warnings

import keras
import pytest
from keras import layers, ops

import keras_derivs as kd


def total(x):
    return ops.sum(x, axis=1, keepdims=True)


def hinge(x):
    return ops.square(ops.relu(1 - x[:, :1]))


def dense(units, activation=None):
    return layers.Dense(units, activation)


# functions whose second derivatives are right on both sides of each kink
RIGHT = {
    "cube": lambda x: total(ops.relu(x) ** 3),
    "square times x": lambda x: total(ops.relu(x) ** 2 * x),
    "product of two": lambda x: ops.relu(x[:, :1]) * ops.relu(x[:, 1:]),
    "softplus after it": lambda x: total(ops.softplus(ops.relu(x))),
    "sine before it": lambda x: total(ops.relu(ops.sin(x))),
    "cube of a size": lambda x: total(ops.abs(x) ** 3),
    "square of a maximum": lambda x: total(ops.maximum(x, 0.0) ** 2),
    "squared hinge": hinge,
    "relu6 in a quotient": lambda x: total(1 / (1 + ops.relu6(x))),
    "leaky in a matrix product": lambda x: ops.matmul(
        ops.leaky_relu(x)[:, None, :], ops.leaky_relu(x)[:, :, None]
    )[:, 0],
    "before tanh": lambda x: dense(1)(dense(4, "tanh")(dense(4, "relu")(x))),
    "in softmax": lambda x: dense(3, "softmax")(dense(4, "relu")(x)),
    "normalised": lambda x: dense(1)(layers.LayerNormalization()(dense(4, "relu")(x))),
}
# at least one way on which nothing bends
ZERO = {
    "network": lambda x: dense(1)(dense(4, "relu")(dense(4, "relu")(x))),
    "scaled": lambda x: total(3 * ops.relu(2 * x - 1) / 4),
    "beside tanh": lambda x: dense(1)(dense(4, "tanh")(x)) + dense(1)(dense(4, "relu")(x)),
    "leaky": lambda x: dense(1)(layers.LeakyReLU()(dense(4)(x))),
    "joined": lambda x: dense(1)(ops.concatenate([ops.sin(x), ops.relu(x)], axis=1)),
    "times a step": lambda x: total(ops.relu(x) * ops.cast(x > 0.1, x.dtype)),
    "beside its own square": lambda x: total(ops.relu(x) + ops.relu(x) ** 2),
    "mean of pieces": lambda x: total(layers.AveragePooling1D(2)(ops.relu(x)[:, :, None])[:, :, 0]),
}  # fmt: skip


def notes(function):
    x = keras.Input((2,))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        kd.Hessian(keras.Model(x, function(x)))(ops.convert_to_tensor([[0.3, 0.7]]))
    return [str(warning.message) for warning in found if "Piecewise" in str(warning.message)]


@pytest.mark.parametrize("name", RIGHT)
def test_right_second_derivatives_are_not_doubted(name):
    assert not notes(RIGHT[name])


@pytest.mark.parametrize("name", ZERO)
def test_second_derivatives_of_zero_are_told(name):
    assert len(notes(ZERO[name])) == 1


def test_the_layer_is_named():
    (note,) = notes(lambda x: dense(1)(layers.Dense(4, "relu", name="hidden")(x)))
    assert "elu' in 'hidden' (of type Dense)" in note

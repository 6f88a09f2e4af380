"""Operations that no test compares, and gradients that a model brings with it, are told of."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_derivs as kd


def around(layer):
    return keras.Sequential([keras.Input((3,)), layer, layers.Dense(1, "silu")])


def unknown():
    """No row of the table of operations goes through it."""
    return layers.Lambda(
        lambda x: tf.math.reduce_sum(tf.linalg.sqrtm(_matrix(x)), 2), name="unknown"
    )


def _matrix(x):
    return tf.linalg.diag(x * x)


@tf.custom_gradient
def doubled(x):
    return 2 * x, lambda upstream: 2 * upstream


class Cube(layers.Layer):
    def call(self, x):
        return tf.math.pow(x, 3)


@kd.taylor_rule(Cube)
def cube(layer, x):
    return x * x * x


def test_an_operation_in_no_table_is_warned_of_once():
    with pytest.warns(UserWarning, match=r"Not verified: 'MatrixSquareRoot' in 'unknown'") as told:
        layer = kd.Gradient(around(unknown()))
    assert sum("Not verified" in str(warning.message) for warning in told) == 1
    assert "Not verified: 'MatrixSquareRoot' in 'unknown' (of type Lambda)" in layer.explain()
    layer(np.ones((2, 3)))


@pytest.mark.parametrize(
    "make, culprit",
    [
        (lambda: kd.Gradient(around(layers.Lambda(doubled, name="own"))), "the gradient of 'Cus"),
        (
            lambda: kd.Hessian(around(Cube(name="own")), strategy="taylor"),
            "the Taylor rule of 'own'",
        ),
    ],
)
def test_what_the_model_brings_is_explained(make, culprit):
    assert f"Taken as it is: {culprit}" in make().explain()


@pytest.mark.parametrize(
    "function", [ops.silu, ops.softmax, lambda x: ops.sort(ops.gelu(x)), ops.log1p, ops.square]
)
def test_what_the_tests_compare_is_not(function):
    model = around(layers.Lambda(lambda x: function(x + 2)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*(Piecewise|piece)")
        for strategy in ("reverse", "taylor"):
            text = kd.Hessian(model, strategy=strategy).explain()
            assert "verif" not in text, text


def test_derivatives_inside_tell_of_theirs_alone():
    inner = kd.Gradient(around(layers.Dense(3, "tanh")))
    outer = kd.Jacobian(inner, strategy="reverse")
    outer(np.zeros((2, 3)))
    assert "verif" not in outer.explain()


def test_complex_numbers_go_by_the_tape():
    def real_of_square(x):
        z = ops.cast(x, "complex64")
        return ops.real(z * z)

    layer = kd.HessianDiagonal(around(layers.Lambda(real_of_square)), strategy="reverse")
    x = np.ones((2, 3), "float32")
    np.testing.assert_allclose(kd.HessianDiagonal(layer.model)(x), layer(x), rtol=1e-5)

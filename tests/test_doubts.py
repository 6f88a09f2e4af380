"""Operations that no test compares, and gradients that a model brings with it, are told of."""

import warnings

import keras
import numpy as np
import pytest
from framework import BACKEND, square, unverified, with_gradient
from keras import layers, ops
from truth import numpy

import keras_derivs as kd


def around(layer):
    return keras.Sequential([keras.Input((3,)), layer, layers.Dense(1, "silu")])


UNVERIFIED = {"tensorflow": "MatrixSquareRoot"}.get(BACKEND, "lgamma")
OWN = {"tensorflow": "CustomGradient", "jax": "<lambda>", "torch": "Custom"}[BACKEND]
doubled = with_gradient(lambda x: 2 * x, lambda x, g: 2 * g)


class Cube(layers.Layer):
    def call(self, x):
        return x * square(x)


@kd.taylor_rule(Cube)
def cube(layer, x):
    return x * x * x


def test_an_operation_in_no_table_is_warned_of_once():
    with pytest.warns(UserWarning, match=f"Not verified: '{UNVERIFIED}' in 'unknown'") as told:
        layer = kd.Gradient(around(layers.Lambda(unverified, output_shape=(3,), name="unknown")))
    assert sum("Not verified" in str(warning.message) for warning in told) == 1
    assert f"Not verified: '{UNVERIFIED}' in 'unknown' (of type Lambda)" in layer.explain()
    layer(np.ones((2, 3)))


@pytest.mark.parametrize(
    "make, culprit",
    [
        (
            lambda: kd.Gradient(
                around(layers.Lambda(lambda x: doubled(x), output_shape=(3,), name="own"))
            ),
            f"the gradient of '{OWN}' in 'own' (of type Lambda)",
        ),
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
    np.testing.assert_allclose(
        *map(numpy, (kd.HessianDiagonal(layer.model)(x), layer(x))), rtol=1e-5
    )

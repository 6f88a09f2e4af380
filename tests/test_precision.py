"""A model that computes in float64 from inputs in float32 says that these are rounded."""

import keras
import numpy as np
import pytest
from truth import EXACT, close

import keras_derivs as kd


def cube(dtype):
    return keras.layers.Lambda(lambda z: z**3, dtype=dtype)


@pytest.mark.parametrize("strategy", ["tape", "taylor"])
def test_a_policy_of_float64_with_inputs_in_float32(strategy, float64):
    x = keras.Input((1,), name="point")
    model = keras.Model(x, cube(None)(x))
    with pytest.warns(UserWarning, match=r"float64 from inputs of lower precision, \['point'\]"):
        kd.Laplacian(model, strategy=strategy)


@pytest.mark.parametrize("strategy", ["tape", "taylor"])
def test_a_layer_in_float64_on_inputs_in_float32(strategy):
    x = keras.Input((1,), name="point", dtype="float32")
    y = cube("float64")(x)
    for make in (
        lambda: kd.HessianDiagonal(keras.Model(x, y), strategy=strategy),
        lambda: kd.laplacian(y, x, strategy=strategy),
    ):
        with pytest.warns(UserWarning, match="of lower precision"):
            make()


def test_float64_throughout(float64):
    x = keras.Input((1,), dtype="float64")
    made = kd.Laplacian(keras.Model(x, cube(None)(x)))
    close(made(np.array([[0.1]])), [[0.6]], EXACT["float64"])
    whole = keras.Input((1,), dtype="int32")
    gathered = keras.layers.Embedding(3, 1)(whole)
    kd.Gradient(keras.Model([x, whole], cube(None)(x) + keras.ops.sum(gathered, 1)), wrt=0)

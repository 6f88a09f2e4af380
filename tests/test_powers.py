"""Powers of a base and an exponent that both vary, at a base of 0: limits from above."""

import keras
import numpy as np
import pytest
import truth

import keras_derivs as kd

INF = np.inf
TERMS = [(0,), (1,), (0, 0), (0, 1), (1, 1), (0, 0, 1), (0, 1, 1), (1, 1, 1), (0, 0, 1, 1)]
# exponent -> the limits of these derivatives of x^y, as x falls to 0
LIMITS = {
    -0.5: [-INF, -INF, INF, INF, INF, -INF, -INF, -INF, INF],
    0.0: [0, -INF, 0, INF, INF, -INF, -INF, -INF, INF],
    0.5: [INF, 0, -INF, -INF, 0, INF, INF, 0, -INF],
    1.0: [1, 0, 0, -INF, 0, INF, INF, 0, -INF],
    1.5: [0, 0, INF, 0, 0, -INF, 0, 0, INF],
    2.0: [0, 0, 2, 0, 0, -INF, 0, 0, INF],
    2.5: [0, 0, 0, 0, 0, 0, 0, 0, 0],
}


@pytest.fixture
def power(float64):
    x = keras.Input((2,), dtype="float64")
    return keras.Model(x, x[:, :1] ** x[:, 1:])


def at_zero():
    exponents = np.array(list(LIMITS))
    return np.stack([0 * exponents, exponents], axis=1), np.array(list(LIMITS.values()))


@pytest.mark.parametrize("strategy", ["reverse", "taylor"])
def test_derivatives_at_zero(strategy, power):
    x, expected = at_zero()
    found = kd.Partials(power, TERMS, strategy=strategy)(x)
    found = np.concatenate([truth.numpy(y) for y in found], axis=1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("strategy", ["reverse", "auto"])
def test_hessians_at_zero_are_symmetric(strategy, power):
    x, expected = at_zero()
    found = truth.numpy(kd.Hessian(power, strategy=strategy)(x))
    np.testing.assert_array_equal(found, expected[:, [[2, 3], [3, 4]]])


@pytest.mark.parametrize("strategy", ["reverse", "taylor"])
def test_an_exponent_of_a_negative_base_does_not_count(strategy, power):
    found = truth.numpy(kd.Hessian(power, strategy=strategy)(np.array([[-2.0, 3.0]])))
    np.testing.assert_allclose(found, [[[-12, 4], [4, 0]]], rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*returns numbers that are not finite")
def test_weights_of_powers_at_zero(float64):
    """Where the zero is a weight times a coordinate, the derivative by the weight exists."""
    x = keras.Input((1,), dtype="float64")
    scaled = keras.layers.Dense(1, use_bias=False, dtype="float64")
    y = scaled(x) ** (1.5 + 0.1 * x)
    model = keras.Model(x, kd.Partials(keras.Model(x, y), [(0,)], strategy="taylor")(x)[0])
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    scaled.set_weights([np.array([[0.5]])])
    model.fit(np.zeros((2, 1)), np.ones((2, 1)), verbose=0)
    assert np.isfinite(scaled.get_weights()[0]).all()

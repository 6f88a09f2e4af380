"""Numbers so large or small that parts of a rule are infinite: nothing spreads from there."""

import keras
import numpy as np
import pytest
import truth
from framework import BACKEND
from keras import layers, ops

import keras_derivs as kd
from keras_derivs.engine.taylor import series

TERMS = [(0,), (1,), (0, 1), (1, 1), (0, 0, 1), (0, 1, 1), (1, 1, 1)]
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*not finite", "ignore::RuntimeWarning")
# function of one entry -> numbers at which its derivatives are infinite, or not known
STEEP = {
    "exp": (ops.exp, [1e25, 800.0]),
    "expm1": (ops.expm1, [800.0]),
    "sinh": (ops.sinh, [800.0, -800.0]),
    "log": (ops.log, [0.0, 1e-200]),
    "log1p": (ops.log1p, [-1.0]),
    "sqrt": (ops.sqrt, [0.0]),
    "rsqrt": (ops.rsqrt, [0.0]),
    "cbrt": (ops.cbrt, [0.0]),
    "reciprocal": (lambda x: 1 / x, [0.0, 1e-200]),
    "cube": (lambda x: x**3, [1e160, -1e300]),
    "x**-2": (lambda x: x**-2.0, [0.0]),
    "sigmoid by hand": (lambda x: 1 / (1 + ops.exp(-x)), [-800.0]),
    "bell": (lambda x: ops.exp(-x * x), [1e200]),
}


def total(function, width):
    x = keras.Input((width,), dtype="float64")
    return keras.Model(x, ops.sum(function(x), axis=1, keepdims=True))


@pytest.mark.parametrize("name", STEEP)
def test_other_entries_keep_their_derivatives(name, float64):
    function, places = STEEP[name]
    at = np.array([[place, 1.3] for place in places])
    partials = kd.Partials(total(function, 2), TERMS, strategy="taylor")
    found = dict(zip(TERMS, map(truth.numpy, partials(at))))
    alone = kd.Partials(total(function, 1), [(0,), (0, 0), (0, 0, 0)], strategy="taylor")
    for order, expected in enumerate(map(truth.numpy, alone(np.array([[1.3]]))), start=1):
        own = found[(1,) * order]
        np.testing.assert_allclose(own, np.repeat(expected, len(at), axis=0), rtol=1e-9)
    for mixed in ((0, 1), (0, 0, 1), (0, 1, 1)):
        np.testing.assert_array_equal(found[mixed], np.zeros((len(at), 1)))


def test_a_quotient_whose_divisor_overflows(float64):
    model = total(lambda x: ops.log1p(x) / ops.exp(x), 2)
    found = truth.numpy(kd.Hessian(model)(np.array([[700.0, 1e25], [1e25, 0.5]])))
    assert not found[0, 1].any() and not found[0, :, 1].any() and not found[1, 0].any()
    decay, x = np.exp(-700.0), 700.0
    expected = (np.log1p(x) - 2 / (1 + x) - 1 / (1 + x) ** 2) * decay
    np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(found[1, 1, 1], -0.83234970886671, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e-150, 1.0, 1e150, 1e200])
def test_angles_of_small_and_large_vectors(scale, float64):
    x = keras.Input((2,), dtype="float64")
    model = keras.Model(x, ops.arctan2(x[:, :1], x[:, 1:]))
    at, square = scale * np.array([[3.0, 4.0]]), 625.0
    slope = truth.numpy(kd.Gradient(model, strategy="taylor")(at))
    np.testing.assert_allclose(slope * scale, [[0.16, -0.12]], rtol=1e-12)
    with np.errstate(over="ignore", under="ignore"):
        expected = np.array([[[-24.0, -7.0], [-7.0, 24.0]]]) / square / scale / scale
    found = truth.numpy(kd.Hessian(model, strategy="taylor")(at))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_networks_do_not_pay_for_it(monkeypatch, float64):
    """No entry stands still behind a kernel."""
    called = []
    monkeypatch.setattr(series, "guarded", lambda a, b: called.append(1) or a * b)
    x = keras.Input((2,), dtype="float64")
    h = layers.Dense(3)(x)
    h = ops.exp(-h * h) / (1 + ops.log(1 + h * h)) + ops.rsqrt(1 + h * h) + ops.softmax(h)
    model = keras.Model(x, layers.Dense(1)(h))
    kd.Partials(model, TERMS, strategy="taylor")(np.ones((1, 2)))
    assert not called
    kd.Partials(total(ops.exp, 2), TERMS, strategy="taylor")(np.ones((1, 2)))
    assert called


@pytest.mark.skipif(BACKEND != "tensorflow", reason="other tapes have no number at a pole")
@pytest.mark.parametrize("name", ["log", "reciprocal", "cube", "exp"])
def test_the_tape_keeps_entries_apart_too(name, float64):
    function, places = STEEP[name]
    at = np.array([[place, 1.3] for place in places])
    found = truth.numpy(kd.Hessian(total(function, 2), strategy="reverse")(at))
    assert not found[:, 0, 1].any() and not found[:, 1, 0].any()
    assert np.isfinite(found[:, 1, 1]).all()

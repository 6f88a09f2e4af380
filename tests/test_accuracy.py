"""Against closed forms: how exact the engines are, to the sixth order."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from models import build, points
from truth import SINGLE

import keras_derivs as kd

EXACT = {1: 1e-12, 2: 1e-12, 3: 1e-9, 4: 1e-9, 5: 1e-7, 6: 1e-7}  # float64, relative to the largest


def wave():
    """exp(-x) sin(3 y) and its derivatives."""
    x = keras.Input((2,), dtype=keras.config.floatx())
    model = keras.Model(x, ops.exp(-x[:, :1]) * ops.sin(3 * x[:, 1:]))

    def true(term, at):
        n, m = term.count(0), term.count(1)
        return (-1) ** n * 3.0**m * np.exp(-at[:, :1]) * np.sin(3 * at[:, 1:] + m * np.pi / 2)

    return model, true


def network():
    """sum_k v_k tanh(w_k . x + b_k), whose derivatives are polynomials in tanh."""
    x = keras.Input((2,), dtype=keras.config.floatx())
    dtype = keras.config.floatx()
    hidden, last = layers.Dense(20, "tanh", dtype=dtype), layers.Dense(1, dtype=dtype)
    model = keras.Model(x, last(hidden(x)))
    random = np.random.default_rng(0)
    w, b, v = (random.normal(size=s).astype("float32") for s in ((2, 20), 20, (20, 1)))
    model.set_weights([w, b, v, np.zeros(1)])

    def true(term, at):
        w_, b_, v_ = (a.astype("longdouble") for a in (w, b, v))
        polynomial = np.polynomial.Polynomial([0, 1])
        for _ in term:
            polynomial = polynomial.deriv() * np.polynomial.Polynomial([1, 0, -1])
        factor = np.prod([w_[n] for n in term], axis=0)
        return (polynomial(np.tanh(at.astype("longdouble") @ w_ + b_)) * factor) @ v_

    return model, true


def make(function, dtype):
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        return function()
    finally:
        keras.config.set_floatx(before)


def error(model, true, term, at, strategy):
    (found,) = kd.Partials(model, [term], strategy=strategy)(at)
    found = ops.convert_to_numpy(found)
    expected = true(term, at)
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


TERMS = [(0,), (1, 1), (0, 1), (0, 0, 1), (1, 1, 1, 1), (0, 0, 1, 1), (0,) * 6, (0, 1) * 3]


@pytest.mark.parametrize(
    "term, strategy", [(t, "taylor") for t in TERMS] + [(t, "reverse") for t in TERMS[:6]], ids=str
)
@pytest.mark.parametrize("function", [wave, network])
def test_double_precision(function, term, strategy):
    model, true = make(function, "float64")
    assert error(model, true, term, points((50, 2), "float64"), strategy) < EXACT[len(term)]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_graph_computes_in_the_dtype_of_its_inputs(policy):
    """Whatever policy holds when a model is made that has no layers of its own."""
    keras.config.set_dtype_policy(policy)  # until the session is cleared
    stack = lambda: (keras.Sequential([keras.Input((2,)), network()[0]]), network()[1])  # noqa: E731
    for function in (wave, stack):
        model, true = make(function, "float64")
        for strategy in ("taylor", "reverse"):
            assert error(model, true, (0, 1), points((50, 2), "float64"), strategy) < EXACT[2]


@pytest.mark.parametrize("term", TERMS[:6], ids=str)
@pytest.mark.parametrize("function", [wave, network])
def test_single_precision_is_no_worse_than_nested_tapes(function, term):
    model, true = make(function, "float32")
    at = points((500, 2), "float32")
    ours, theirs = (error(model, true, term, at, s) for s in ("taylor", "reverse"))
    assert ours < 2 * theirs + np.finfo("float32").eps
    assert ours < SINGLE[min(len(term), 3)]


def test_order_six_of_a_deep_network_in_single_precision():
    model, x = build("sequential", "float32", num_inputs=2)
    terms = [(0,) * 6, (0, 0, 0, 1, 1, 1)]
    found = kd.Partials(model, terms, strategy="taylor")(x)
    exact, _ = build("sequential", "float64", num_inputs=2)
    exact.set_weights(model.get_weights())
    expected = kd.Partials(exact, terms, strategy="taylor")(x.astype("float64"))
    for ours, true in zip(map(ops.convert_to_numpy, found), map(ops.convert_to_numpy, expected)):
        assert np.all(np.isfinite(ours))
        np.testing.assert_allclose(ours, true, atol=1e-3 * np.max(np.abs(true)))

"""The comparison of strategies: what it measures, and what it says."""

import keras
import numpy as np
import pytest
from keras import layers
from models import points

import keras_derivs as kd
from keras_derivs import backend
from keras_derivs.engine import choose
from keras_derivs.timing import compare as module


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.0)


def net(num_outputs=1, activation="tanh"):
    return keras.Sequential(
        [keras.Input((3,)), layers.Dense(8, activation), layers.Dense(num_outputs)]
    )


@pytest.mark.parametrize("training", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_strategy_has_a_time(training, quick):
    layer = kd.Laplacian(net())
    before = layer.model.get_weights()
    found = kd.compare(layer, points((16, 3)), training=training)
    strategies = choose.STRATEGIES["laplacian"]
    assert len(found.entries) == len(strategies) * max(1, len(backend.MODES))
    assert all(entry.seconds > 0 and entry.reason is None for entry in found.entries)
    assert {entry.strategy for entry in found.entries if entry.chosen} == {"taylor"}
    assert found.fastest.seconds == min(entry.seconds for entry in found.entries)
    text = str(found)
    assert all(name in text for name in (*strategies, "taylor (auto)", layer.name, "ms", "MB"))
    assert ("training step" in text) == training
    assert all(np.array_equal(*pair) for pair in zip(before, layer.model.get_weights()))


@keras.saving.register_keras_serializable(package="tests")
class OfNumpy(layers.Layer):
    """No polynomials go through it: it asks for the dtype of a tensor of the backend."""

    def call(self, x):
        if not keras.ops.is_tensor(x):
            raise TypeError("tensors alone")
        return keras.ops.tanh(x)


def test_what_is_refused_has_its_reason(quick):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), OfNumpy(), layers.Dense(1)])
    found = kd.compare(kd.Hessian(model), points((8, 3)))
    refused = [entry for entry in found.entries if entry.seconds is None]
    assert {entry.strategy for entry in refused} == {"taylor"}
    assert all("Taylor rule" in entry.reason for entry in refused)
    assert "\N{EN DASH}" in str(found) and "Taylor rule" in str(found)
    assert found.fastest.strategy == "reverse"


def test_products_and_several_inputs(quick):
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, layers.Dense(2)(layers.Concatenate()([a, b])))
    x = {"a": points((4, 2)), "b": points((4, 3))}
    found = kd.compare(kd.JVP(model, wrt="b"), [x, points((4, 3))])
    assert all(entry.seconds for entry in found.entries)


def test_inputs_are_fresh():
    x = points((6, 2))
    source = module._fresh([x, np.arange(6)])
    seen = [tuple(map(keras.ops.convert_to_numpy, next(source))) for _ in range(3)]
    assert len({floats.tobytes() for floats, _ in seen}) == 3
    for floats, whole in seen:
        np.testing.assert_allclose(floats, x[whole], rtol=2e-3)
        assert floats.dtype == x.dtype and sorted(whole) == list(range(6))


def test_memory_is_that_of_the_call():
    for _ in range(2):  # what a first call leaves allocated counts again
        measured = backend.peak_memory(lambda: keras.ops.ones((12_500_000,), "float32"))
        if measured is None:
            pytest.skip("not known on this system")
        assert 45e6 < measured < 110e6


WRONG = {
    "a model": (lambda: kd.compare(net(), points((4, 3))), TypeError, "derivative layer.*Sequential"),
    "no arrays": (lambda: kd.compare(kd.Gradient(net()), 3.0), TypeError, "arrays.*float"),
    "flag": (lambda: kd.compare(kd.Gradient(net()), points((4, 3)), "yes"), TypeError, "training=.*'yes'"),
    "no weights": (
        lambda: kd.compare(
            kd.Jacobian(keras.Sequential([keras.Input((3,)), layers.Activation("tanh")])),
            points((4, 3)), training=True,
        ),
        ValueError, "weights to train",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_it_does_not_compare(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()

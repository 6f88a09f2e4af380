"""Linear combinations of derivatives: asked for as one, found by `fuse`, carried as one."""

import keras
import numpy as np
import pytest
from framework import BACKEND
from keras import layers, ops
from models import points
from truth import EXACT, close

import keras_derivs as kd
from keras_derivs.engine.taylor.carried import carried
from keras_derivs.engine.terms import Sum

pytestmark = pytest.mark.usefixtures("float64")
X, Y = 0, 1
# Keras itself computes what is around a derivative in float32 on JAX and PyTorch.
DOUBLE = EXACT["float64" if BACKEND == "tensorflow" else "float32"]
BIHARMONIC = {(X,) * 4: 1, (X, X, Y, Y): 2, (Y,) * 4: 1}
# asked for -> how many coefficients are carried
NUMBERS = {
    "biharmonic": ([BIHARMONIC], 11),
    "biharmonic, and lower ones beside it": ([(), (X,), BIHARMONIC, {(X, X): 1, (Y, Y): 1}], 11),
    "Laplacian": ([{(n, n): 1 for n in range(5)}], 7),
    "wave": ([{(X, X): 1, (Y, Y): -4}, (X,)], 4),
    "heat, of two orders": ([{(X,): 1, (Y, Y): -0.5}], 3),
    "first order": ([{(X,): 2, (Y,): 3}], 2),
    "order 6": ([{(X,) * 6: 1, (Y,) * 6: 1}], 12),
    "one of them alone, too": ([{(X, X): 1, (Y, Y): 1}, (X, X)], 5),
    "as many sums as derivatives": ([{(X, X): 1, (Y, Y): 1}, {(X, X): 1, (Y, Y): -1}], 5),
    "multiples of one": ([{(X, X): 1, (Y, Y): 2}, {(X, X): -2, (Y, Y): -4}], 4),
}


def sums(terms):
    return [Sum(tuple(t), tuple(t.values())) if isinstance(t, dict) else t for t in terms]


def waves(z):
    """sin(2x + 3y) + x^3 y^3 exp(x - y), by operations with and without a rule of their own."""
    x, y = z[:, :1], z[:, 1:2]
    return ops.sin(2 * x + 3 * y) + (x * y) ** 3 * ops.exp(x - y) / (1 + ops.square(x))


def network():
    width = {"kernel_initializer": "glorot_normal", "bias_initializer": "uniform"}
    hidden = [layers.Dense(7, activation, **width) for activation in ("tanh", "swish", "softplus")]
    return keras.Sequential([keras.Input((5,), dtype="float64"), *hidden, layers.Dense(2, **width)])


@pytest.mark.parametrize("name", NUMBERS)
def test_one_coefficient_for_a_sum(name):
    terms, number = NUMBERS[name]
    assert len(carried(sums(terms)).space.terms) == number


@pytest.mark.parametrize("model", ["waves", "network"])
@pytest.mark.parametrize("strategy", ["taylor", "tape"])
def test_sums_of_single_derivatives(strategy, model):
    if model == "waves":
        net = keras.Sequential([keras.Input((5,), dtype="float64"), layers.Lambda(waves)])
    else:
        net = network()
    asked = list({str(term): term for terms, _ in NUMBERS.values() for term in terms}.values())
    asked = [term for term in asked if all(len(one) < 5 for one in weights(term))]
    single = list(dict.fromkeys(one for term in asked for one in weights(term)))
    at = points((4, 5), "float64", seed=3)
    values = dict(zip(single, kd.Partials(net, single, strategy="taylor")(at)))
    alone = [[term] for term in asked if strategy == "taylor" and isinstance(term, dict)]
    for terms in (asked, *alone):
        for term, found in zip(terms, kd.Partials(net, terms, strategy=strategy)(at)):
            expected = sum(w * values[one] for one, w in weights(term).items())
            close(found, expected, DOUBLE)


def weights(term):
    if isinstance(term, dict):
        return {tuple(sorted(one)): weight for one, weight in term.items()}
    return {term: 1}


def test_biharmonic_in_closed_form():
    wave = layers.Lambda(lambda z: ops.sin(2 * z[:, :1] + 3 * z[:, 1:]))
    layer = kd.Partials(keras.Sequential([keras.Input((2,), dtype="float64"), wave]), [BIHARMONIC])
    at = points((4, 2), "float64")
    close(layer(at)[0], 169 * np.sin(2 * at[:, :1] + 3 * at[:, 1:]), DOUBLE)
    assert "11 coefficients" in str(layer.explain())


@pytest.fixture
def field():
    xy = keras.Input((2,), dtype="float64")
    net = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(8, "tanh"), layers.Dense(1)])
    return xy, xy[:, 0:1], xy[:, 1:2], net(xy)


def twice_laplacian(xy, x, y, u):
    return kd.laplacian(kd.laplacian(u, xy), xy)


def added(xy, x, y, u):
    u_xxyy = kd.diff(u, x, x, y, y)
    return kd.diff(u, x, x, x, x) + 2 * u_xxyy + kd.diff(u, y, y, y, y)


def of_partials(xy, x, y, u):
    terms = {(x, x, x, x): 1, (x, x, y, y): 2, (y, y, y, y): 1}
    return kd.partials(u, terms)[0]


@pytest.mark.parametrize("graph", [twice_laplacian, added, of_partials])
def test_fuse_carries_the_biharmonic_as_one(graph, field):
    result = graph(*field)
    model = keras.Model(field[0], [field[3], result])
    fused = kd.fuse(model)
    told = [str(layer.explain()) for layer in fused.layers if hasattr(layer, "explain")]
    assert len(told) == 1 and "11 coefficients" in told[0], told
    at = points((4, 2), "float64")
    for found, expected in zip(fused(at), model(at)):
        close(found, expected, DOUBLE)


def test_by_name_saved_and_trained(field, tmp_path):
    xy, x, y, u = field
    terms = {"u": (), "wave": {(x, x): 1, (y, y): -4}, "u_x": (x,)}
    model = keras.Model(xy, kd.partials(u, terms))
    model.compile("sgd", loss="mse")
    at = points((4, 2), "float64")
    model.fit(at, {"u": at[:, :1], "wave": at[:, :1], "u_x": at[:, 1:]}, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    close(loaded(at)["wave"], model(at)["wave"], DOUBLE)
    inner = kd.Partials(network(), [{(X, X): 1, (Y, Y): -4.0}, (X,)])
    again = type(inner).from_config(inner.get_config())
    assert again.chosen_terms == inner.chosen_terms

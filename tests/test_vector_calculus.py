"""Laplacian, divergence and curl against closed forms, and against the full matrices."""

import keras
import numpy as np
import pytest
from keras import ops
from models import build, points
from truth import EXACT, close, numpy

import keras_derivs as kd

STRATEGIES = ("tape", "taylor")


@pytest.fixture
def field(float64):
    """(x y z, x^2 z, sin(y) x) of (x, y, z)."""
    r = keras.Input((3,), dtype="float64")
    x, y, z = ops.unstack(r, axis=1)
    return r, ops.stack([x * y * z, x * x * z, ops.sin(y) * x], axis=-1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_closed_forms(field, strategy):
    r, f = field
    outputs = [twin(f, r, strategy=strategy) for twin in (kd.divergence, kd.curl, kd.laplacian)]
    values = points((6, 3), "float64")
    divergence, curl, laplacian = keras.Model(r, outputs)(values)
    x, y, z = values.T
    close(divergence, (y * z)[:, None], EXACT["float64"])
    expected = [x * np.cos(y) - x * x, x * y - np.sin(y), 2 * x * z - x * z]
    close(curl, np.stack(expected, -1), EXACT["float64"])
    close(laplacian, np.stack([0 * x, 2 * z, -np.sin(y) * x], -1), EXACT["float64"])


def test_the_curl_in_two_dimensions(float64):
    r = keras.Input((2,), dtype="float64")
    f = ops.stack([r[:, 1] ** 2, r[:, 0] ** 3], axis=-1)
    values = points((5, 2), "float64")
    found = keras.Model(r, kd.curl(f, r))(values)
    close(found, 3 * values[:, :1] ** 2 - 2 * values[:, 1:], EXACT["float64"])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize(
    "name", ["sequential", "scalar", "rank_one", "image", "normalised", "scalar_input"]
)
def test_the_laplacian_is_the_trace(name, strategy, chunk_size):
    model, x = build(name, "float64")
    y = model(x)
    diagonal = np.reshape(numpy(kd.HessianDiagonal(model)(x)), (*y.shape, -1))
    layer = kd.Laplacian(model, strategy=strategy, chunk_size=chunk_size)
    close(layer(x), diagonal.sum(-1), EXACT["float64"])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_coordinates_one_by_one(field, strategy):
    r, f = field
    x, y, z = r[:, 0:1], r[:, 1:2], r[:, 2:3]
    pairs = [
        (kd.laplacian(f, [x, y, z], strategy=strategy), kd.laplacian(f, r)),
        (kd.divergence(f, [x, y, z], strategy=strategy), kd.divergence(f, r)),
        (kd.curl(f, [x, y, z], strategy=strategy), kd.curl(f, r)),
        (kd.laplacian(f, r[:, 1:], strategy=strategy), sum(kd.partials(f, (y, y), (z, z)))),
    ]
    for found, expected in keras.Model(r, pairs)(points((6, 3), "float64")):
        close(found, expected, EXACT["float64"])


def test_laplacians_nest(field):
    r, f = field
    u = f[:, 2]  # x sin y: the Laplacian is -x sin y, and that of it x sin y again
    found = keras.Model(r, kd.laplacian(kd.laplacian(u, r), r)).predict(points((4, 3)), verbose=0)
    close(found, points((4, 3))[:, 0] * np.sin(points((4, 3))[:, 1]), 1e-6)


def test_a_layer_in_a_file(field, tmp_path):
    r, f = field
    net, values = keras.Model(r, f), points((4, 3), "float64")
    layers = [kd.Divergence(net), kd.Curl(net), kd.Laplacian(net, strategy="taylor")]
    model = keras.Model(r, [layer(r) for layer in layers])
    model.save(tmp_path / "field.keras")
    for one, two in zip(model(values), keras.models.load_model(tmp_path / "field.keras")(values)):
        close(two, one, EXACT["float64"])


@pytest.mark.parametrize("layer", [kd.Divergence, kd.Curl])
@pytest.mark.parametrize("name", ["sequential", "image", "rank_one"])
def test_not_a_vector_field(layer, name):
    model, _ = build(name, "float32")
    with pytest.raises(ValueError, match="vector field.*Jacobian"):
        layer(model)

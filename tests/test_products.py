"""Products with vectors: one for each row, one for all rows, constants; and thousands of inputs."""

import tracemalloc

import keras
import numpy as np
import pytest
import truth
from keras import layers, ops
from models import build, points
from truth import EXACT, close

import keras_derivs as kd

X, V, W = points((4, 3), "float32"), points(3, "float32", 1), points(2, "float32", 2)
FORMS = {"one sample": lambda v: v, "a row": lambda v: v[None], "a list": lambda v: v.tolist()}
PRODUCTS = {
    "jvp": (kd.JVP, kd.jvp, V, {}),
    "vjp": (kd.VJP, kd.vjp, W, {}),
    "hvp": (kd.HVP, kd.hvp, V, {"component": 1}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_one_vector_for_every_row(name, form, tmp_path):
    layer, function, vector, options = PRODUCTS[name]
    net, _ = build("sequential", "float32")
    expected = layer(net, **options)([X, np.tile(vector, (4, 1))])
    v, x = FORMS[form](vector), keras.Input((3,))
    constant = layer(net, vectors=v, **options)
    model = keras.Model(x, [constant(x), function(net(x), x, v, **options)])
    model.save(tmp_path / "model.keras")
    found = [constant(X), *model(X), *keras.models.load_model(tmp_path / "model.keras")(X)]
    if form != "a list":
        found += [layer(net, **options)([X, v]), keras.Model(x, layer(net, **options)([x, v]))(X)]
    for result in found:
        close(result, expected, EXACT["float32"])


def test_a_vector_for_each_of_several_inputs():
    tx = keras.Input((2,))
    t, x = tx[:, :1], tx[:, 1:]
    y = layers.Dense(3)(layers.Dense(4, "tanh")(tx))
    turned = kd.jvp(y, [x, t], [np.array([2.0]), np.array([[3.0]])])
    twice = kd.jvp(y, ops.take(tx, [0, 0], axis=1), np.array([1.0, 2.0]))
    turned, twice, jacobian = keras.Model(tx, [turned, twice, kd.jacobian(y, tx)])(X[:, :2])
    close(turned, truth.numpy(jacobian) @ [3.0, 2.0], EXACT["float32"])
    close(twice, 3 * truth.numpy(jacobian)[..., 0], EXACT["float32"])


def wide(num_inputs):
    x = keras.Input((num_inputs,))
    return x, ops.sum(ops.sin(x) * x, axis=1, keepdims=True)


def test_memory_grows_with_the_inputs_not_with_their_square():
    """A matrix from 150,528 to as many entries would take 169 GiB."""
    size = 150_528  # an image of 224 x 224 x 3
    x, y = wide(size)
    part, v = x[:, 5 : size - 5], np.ones(size - 10)
    curved = kd.Laplacian(keras.Model(x, y), num_samples=3, strategy="tape")
    weighted = kd.Laplacian(keras.Model(x, y), num_samples=3, coefficients=np.arange(-9, size - 9))
    values = np.full((2, size), 0.5, "float32")
    tracemalloc.start()
    slope, hvp = keras.Model(x, [kd.jvp(y, part, v), kd.hvp(y, part, v)])(values)
    curvature, weighted = curved(values), weighted(values)
    assert tracemalloc.get_traced_memory()[1] < 400e6
    tracemalloc.stop()
    first, second = np.sin(0.5) + 0.5 * np.cos(0.5), 2 * np.cos(0.5) - 0.5 * np.sin(0.5)
    close(slope / first, np.full((2, 1), size - 10), 1e-4)
    close(hvp, np.full((2, size - 10), second), 1e-4)
    close(curvature / second, np.full((2, 1), size), 1e-4)  # exact: the Hessian is diagonal
    close(weighted / second, np.full((2, 1), np.arange(-9, size - 9).sum()), 1e-3)

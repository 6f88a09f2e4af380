"""Derivatives of several tensors by several: Hessians in blocks, Jacobians of all pairs."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from truth import EXACT, close

import keras_derivs as kd

RANDOM = np.random.default_rng(0)
Q, V = (RANDOM.normal(size=(5, n)).astype("float32") for n in (2, 3))


def lagrangian():
    q, v = keras.Input((2,), name="q"), keras.Input((3,), name="v")
    hidden = layers.Dense(8, "tanh")(layers.Concatenate()([q, v]))
    return q, v, layers.Dense(1)(hidden)


def dicts():
    """A model of dicts whose outputs have two and three entries."""
    q, v, _ = lagrangian()
    hidden = layers.Dense(8, "tanh")(layers.Concatenate()([q, v]))
    outputs = {"force": layers.Dense(2)(hidden), "torque": layers.Dense(3)(hidden)}
    return keras.Model({"q": q, "v": v}, outputs)


@pytest.mark.parametrize("strategy", ["reverse", "taylor"])
def test_the_blocks_of_a_lagrangian(strategy):
    q, v, y = lagrangian()
    model = keras.Model([q, v], kd.hessian(y, [q, v], strategy=strategy))
    blocks = model([Q, V])
    z = keras.Input((5,))
    whole = kd.Hessian(keras.Model(z, keras.Model([q, v], y)([z[:, :2], z[:, 2:]])))
    expected = ops.convert_to_numpy(whole(np.concatenate([Q, V], axis=1)))
    parts = slice(0, 2), slice(2, 5)
    for row, i in zip(blocks, parts):
        for block, j in zip(row, parts):
            close(block, expected[:, i, j], EXACT["float32"])
    above, below = map(ops.convert_to_numpy, (blocks[0][1], blocks[1][0]))
    np.testing.assert_array_equal(above, np.swapaxes(below, 1, 2))


def test_equations_of_motion():
    """L_vv a = L_q - L_vq v, of a mass on a spring: a = -k q / m."""
    q, v = keras.Input((1,)), keras.Input((1,))
    y = ops.sum(1.5 * v * v - 2.0 * q * q, axis=1, keepdims=True)
    _, (vq, vv) = kd.hessian(y, [q, v])
    forces = kd.gradient(y, q) - ops.einsum("bij,bj->bi", vq, v)
    model = keras.Model([q, v], ops.linalg.solve(vv, forces[..., None])[..., 0])
    close(model([Q[:, :1], V[:, :1]]), -4.0 / 3.0 * Q[:, :1], EXACT["float32"])


def test_all_pairs_of_tensors():
    model = dicts()
    q, v = model.inputs
    outputs = model.output
    pairs = kd.jacobian(list(outputs.values()), [q, v], name="pairs")
    by_name = kd.jacobian(outputs, q)
    graph = keras.Model([q, v], [*pairs, by_name])
    assert [layer.name for layer in graph.layers if "pairs" in layer.name] == ["pairs_0", "pairs_1"]
    *found, named = graph([Q, V])
    for name, row in zip(outputs, found):
        for x, block in zip("qv", row):
            expected = kd.Jacobian(model, wrt=x, output=name)({"q": Q, "v": V})
            close(block, expected, EXACT["float32"])
        close(named[name], row[0], EXACT["float32"])


class Subclassed(keras.Model):
    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.inner = model

    def call(self, inputs):
        return self.inner(inputs)


@pytest.mark.parametrize("wrap", [lambda model: model, Subclassed])
def test_all_pairs_of_a_model_of_dicts(wrap):
    model = dicts()
    layer = kd.Jacobian(wrap(model), return_value=True)
    y, found = layer({"q": Q, "v": V})
    for name, one in model({"q": Q, "v": V}).items():
        close(y[name], one, EXACT["float32"])
        for x in "qv":
            expected = kd.Jacobian(model, wrt=x, output=name)({"q": Q, "v": V})
            close(found[name][x], expected, EXACT["float32"])
    assert layer.explain().count("Jacobian of") == 2
    assert len(layer.weights) == len(model.weights)


def test_all_pairs_are_saved_and_train_after_loading(tmp_path):
    model = dicts()
    outputs = kd.Jacobian(model)(model.input)
    found = {name: sorted(row) for name, row in outputs.items()}
    assert found == {"force": ["q", "v"], "torque": ["q", "v"]}
    assert kd.Jacobian(model).compute_output_shape({"q": (None, 2), "v": (None, 3)}) == {
        "force": {"q": (None, 2, 2), "v": (None, 2, 3)},
        "torque": {"q": (None, 3, 2), "v": (None, 3, 3)},
    }
    force, torque = model.output["force"], model.output["torque"]
    graph = keras.Model(model.input, {"y": force, "z": torque, "J": outputs["force"]["q"]})
    graph.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.compile("sgd", loss=dict.fromkeys("yzJ", "mse"))
    given = {"q": Q, "v": V}
    for _ in range(2):
        step = np.array([1e-2, 0], "float32")
        after, before = (loaded({"q": Q + s * step, "v": V}) for s in (1, -1))
        slope = (ops.convert_to_numpy(after["y"]) - ops.convert_to_numpy(before["y"])) / 2e-2
        found = loaded.predict(given, verbose=0)
        assert np.allclose(found["J"][:, :, 0], slope, atol=1e-3)
        ones = {name: np.ones_like(one) for name, one in found.items()}
        loaded.fit(given, ones, verbose=0)


@pytest.mark.slow
def test_verify_looks_at_every_pair():
    report = kd.verify(kd.Jacobian(dicts()), {"q": Q, "v": V})
    assert report.ok, report
    assert {"force", "torque"} <= {
        check.name.split("'")[1].split("_")[-1] for check in report.checks
    }

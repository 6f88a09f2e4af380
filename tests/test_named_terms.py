"""Partial derivatives by name: in dicts, as outputs of a model, and names that speak."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from truth import EXACT, close

import keras_derivs as kd

RANDOM = np.random.default_rng(0)
POINTS = [RANDOM.normal(size=(6, 1)).astype("float32") for _ in range(2)]
TERMS = {"u_t": (0,), "u_xx": (1, 1), "u_value": ()}


@pytest.fixture
def field():
    """t, x and the tensor u of a network."""
    t, x = keras.Input((1,), name="t"), keras.Input((1,), name="x")
    hidden = layers.Dense(8, "tanh")(layers.Concatenate()([t, x]))
    return t, x, layers.Dense(1, name="u")(hidden)


def in_a_graph():
    net = keras.Sequential([keras.Input((2,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    tx = keras.Input((2,))
    return net, keras.Model(tx, kd.Partials(net, TERMS)(tx))


def test_a_dict_of_terms_is_the_list_by_name():
    net, model = in_a_graph()
    at = np.concatenate(POINTS, axis=1)
    expected = kd.Partials(net, list(TERMS.values()))(at)
    for found in (kd.Partials(net, TERMS)(at), model(at)):
        assert set(found) == set(TERMS)
        for name, one in zip(TERMS, expected):
            close(found[name], one, EXACT["float32"])
    y, found = kd.Partials(net, TERMS, return_value=True)(at)
    close(y, found["u_value"], EXACT["float32"])


def test_outputs_have_the_names_and_losses_go_by_them(field, tmp_path):
    t, x, u = field
    terms = kd.partials(u, {"u": (), "u_t": (t,), "u_xx": (x, x)})
    model = keras.Model([t, x], terms)
    assert model.output_names == list(terms) == ["u", "u_t", "u_xx"]
    listed = keras.Model([t, x], [terms["u_xx"], terms["u_t"]])
    assert listed.output_names == ["u_xx", "u_t"]
    model.compile("sgd", loss=dict.fromkeys(terms, "mse"))
    target = dict.fromkeys(terms, POINTS[0])
    history = model.fit(POINTS, target, verbose=0).history
    assert {"u_loss", "u_t_loss", "u_xx_loss"} <= set(history)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.output_names == model.output_names
    loaded.fit(POINTS, target, verbose=0)  # a step: value and derivative are still one network
    step = np.float32(1e-2)
    found, later = (loaded([POINTS[0] + dt, POINTS[1]]) for dt in (0, step))
    slope, mean = (later["u"] - found["u"]) / step, (found["u_t"] + later["u_t"]) / 2
    assert np.allclose(*map(ops.convert_to_numpy, (slope, mean)), atol=1e-3)
    assert kd.fuse(model).output_names == keras.models.clone_model(model).output_names


def test_a_layer_names_the_outputs_of_the_first_graph_that_it_stands_in(tmp_path):
    _, model = in_a_graph()
    assert sorted(model.output_names) == sorted(TERMS)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.output_names == model.output_names == kd.fuse(model).output_names
    assert len(loaded.operations) == len(model.operations)


def test_results_without_a_name_have_one_that_speaks(field):
    t, x, u = field
    model = keras.Model([t, x], [kd.diff(u, x, x), *kd.partials(u, (t,), (t, x, x))])
    assert model.output_names == ["u_xx", "u_t", "u_txx"]
    again = kd.diff(u, x, x)  # the same in the same graph: a model may hold both
    assert keras.Model([t, x], [*model.outputs, again]).output_names[-1] == "u_xx_1"
    long = keras.Input((1,), name="time")
    v = layers.Dense(1, name="velocity")(long)
    assert keras.Model(long, kd.diff(v, long, long)).output_names == ["velocity_time_time"]
    nameless = layers.Dense(1)(long)
    assert keras.Model(long, kd.diff(nameless, long)).output_names[0].startswith("partials")


def test_slices_are_named_by_their_entry(tmp_path):
    tx, grid = keras.Input((2,), name="tx"), keras.Input((None, 2), name="at")
    t, x = tx[:, 0:1], ops.split(tx, 2, axis=1)[1]
    out = layers.Dense(3, name="out")(layers.Dense(4, "tanh")(tx))
    v = layers.Dense(1, name="v")(grid)
    found = [
        kd.diff(out, x, x),
        *kd.partials(out[:, 1:2], (t,), (t, ops.expand_dims(tx[:, 1], 1))),
        kd.diff(v, grid[..., 1:], batch_dims=2),
    ]
    model = keras.Model([tx, grid], found)
    names = ["out_tx1_tx1", "out1_tx0", "out1_tx0_tx1", "v_at1"]
    assert model.output_names == names
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").output_names == names
    one = keras.Input((1,), name="x")
    u = layers.Dense(1, name="u")(one)
    assert keras.Model(one, kd.diff(u, one[:, :1])).output_names == ["u_x"]
    nameless = keras.Input((2,))
    w = layers.Dense(1, name="w")(nameless)
    assert keras.Model(nameless, kd.diff(w, nameless[:, :1])).output_names[0].startswith("partials")


def test_a_name_is_not_given_where_the_value_is_of_another_mode():
    """Of a network with dropout the value in training is not that of the pass of derivatives."""
    x = keras.Input((1,), name="x")
    u = layers.Dropout(0.5, name="u")(layers.Dense(4, "tanh")(x))
    terms = kd.partials(u, {"u": (), "u_x": (x,)})
    assert terms["u"] is not u
    assert keras.Model(x, terms).output_names == ["u_1", "u_x"]

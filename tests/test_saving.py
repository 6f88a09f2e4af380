"""Saved, loaded, pickled, copied and cloned: still exact, and still one network."""

import ast
import copy
import pickle

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.legacy.saving import legacy_h5_format
from models import Subclassed, build, points
from truth import EXACT, close

import keras_derivs as kd


def wrapped():
    """u and its slopes by a wrapping layer, beside each other."""
    net = keras.Sequential(
        [keras.Input((2,)), layers.Dense(8, "tanh"), layers.Dense(1)], name="net"
    )
    x = keras.Input((2,))
    return keras.Model(x, [net(x), kd.Gradient(net)(x), kd.HessianDiagonal(net)(x)])


def between():
    """u and its slopes by the symbolic functions."""
    net = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(1)], name="net")
    tx = keras.Input((2,))
    u = net(tx)
    u_x = kd.diff(u, tx[:, 1:])
    return keras.Model(
        tx, [u, u_x, kd.diff(u_x, tx[:, 1:]), *kd.gradient(u, [tx[:, :1], tx[:, 1:]])]
    )


def branches():
    """A derivative with sources that do not depend on x, of a tensor in the middle."""
    a, b = keras.Input((3,)), keras.Input((3,))
    h = layers.Dense(4, "tanh")(a)
    y = layers.Dense(1)(h * layers.Dense(4)(b) * layers.Dense(4)(b))
    merged = keras.Input((6,))
    model = keras.Model([a, b], [y, kd.gradient(y, h), kd.jacobian(y, a), kd.hvp(y, a, b)])
    return keras.Model(merged, model([merged[:, :3], merged[:, 3:]]))


MODELS = {"wrapped": wrapped, "between": between, "branches": branches}


def values(model):
    return model(points((5, model.inputs[0].shape[1])))


def train(model):
    """One step on all outputs: if the weights are one network, it moves them all at once."""
    x = points((5, model.inputs[0].shape[1]))
    model.compile(loss=["mse"] * len(model.outputs), optimizer=keras.optimizers.SGD(0.05))
    model.fit(x, [np.ones(y.shape) for y in model(x)], verbose=0)


def save_and_load(model, path):
    model.save(path / "model.keras")
    return keras.models.load_model(path / "model.keras")


COPIES = {
    "file": save_and_load,
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, path: copy.deepcopy(model),
}


FEW = [("file", "between"), ("pickle", "wrapped")]
OTHERS = [(how, name) for how in COPIES for name in MODELS if (how, name) not in FEW]


@pytest.mark.parametrize(
    "how, name", FEW + [pytest.param(*other, marks=pytest.mark.slow) for other in OTHERS]
)
def test_a_copy_is_equal_and_stays_one_network(how, name, tmp_path):
    model = MODELS[name]()
    other = COPIES[how](model, tmp_path)
    assert len(other.trainable_weights) == len(model.trainable_weights)
    for _ in range(2):
        for one, two in zip(values(model), values(other)):
            close(two, one, EXACT["float32"])
        train(model)
        train(other)
    again = COPIES[how](other, tmp_path)
    for one, two in zip(values(other), values(again)):
        close(two, one, EXACT["float32"])


@pytest.mark.parametrize("name", ["between", "branches"])
@pytest.mark.parametrize("how", ["clone", "config", "json"])
def test_symbolic_derivatives_stay_tied_in_every_copy(name, how):
    model = MODELS[name]()
    other = {
        "clone": keras.models.clone_model,
        "config": lambda m: m.__class__.from_config(m.get_config()),
        "json": lambda m: keras.models.model_from_json(m.to_json()),
    }[how](model)
    assert len(other.trainable_weights) == len(model.trainable_weights)
    other.set_weights(model.get_weights())
    for one, two in zip(values(model), values(other)):
        close(two, one, EXACT["float32"])


@pytest.mark.parametrize("how", ["clone", "json"])
def test_a_wrapped_model_is_not_untied(how):
    model = wrapped()
    with pytest.raises(ValueError, match="second network.*deepcopy"):
        keras.models.clone_model(model) if how == "clone" else keras.models.model_from_json(
            model.to_json()
        )


def test_a_derivative_alone_may_be_cloned():
    net, x = build("sequential", "float32")
    model = keras.Sequential([keras.Input((3,)), kd.Jacobian(net)])
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    close(clone(x), model(x), EXACT["float32"])


LAYERS = {
    "Gradient": lambda m: kd.Gradient(m, component=1, return_value=True, chunk_size=3),
    "Jacobian": lambda m: kd.Jacobian(m, strategy="forward", name="slopes"),
    "SubJacobian": lambda m: kd.SubJacobian(m, outputs=[1], inputs=slice(0, None, 2)),
    "SubJacobian int": lambda m: kd.SubJacobian(m, outputs=1, inputs=(range(1, 3),)),
    "Hessian": lambda m: kd.Hessian(m, component=(0,)),
    "HessianDiagonal": lambda m: kd.HessianDiagonal(m, wrt=0, output=0),
    "Partials": lambda m: kd.Partials(m, [(), (0,), (1, 1)]),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", ["sequential", "subclassed"])
def test_config_and_file_of_each_layer(name, kind, tmp_path):
    net, x = build(kind, "float32")
    net(x)
    layer = LAYERS[name](net)
    expected = keras.tree.flatten(layer(x))
    other = type(layer).from_config(layer.get_config())
    keras.tree.flatten(other(x))
    other.set_weights(layer.get_weights())
    again = (
        save_and_load(keras.Sequential([keras.Input((3,)), layer]), tmp_path)
        if len(expected) == 1
        else other
    )
    for one, two, three in zip(
        expected, keras.tree.flatten(other(x)), keras.tree.flatten(again(x))
    ):
        close(two, one, EXACT["float32"])
        close(three, one, EXACT["float32"])
    assert other.get_config()["name"] == layer.name


def test_products_in_a_file(tmp_path):
    net, values = build("sequential", "float32")
    x, v, w = keras.Input((3,)), keras.Input((3,)), keras.Input((2,))
    outputs = [kd.JVP(net)([x, v]), kd.VJP(net)([x, w]), kd.HVP(net, component=1)([x, v])]
    model = keras.Model([x, v, w], outputs)
    arguments = [values, points((4, 3), "float32", 1), points((4, 2), "float32", 2)]
    for one, two in zip(model(arguments), save_and_load(model, tmp_path)(arguments)):
        close(two, one, EXACT["float32"])


def test_weights_files(tmp_path):
    for name, make in MODELS.items():
        model, other = make(), make()
        model.save_weights(tmp_path / f"{name}.weights.h5")
        other.load_weights(tmp_path / f"{name}.weights.h5")
        for one, two in zip(values(model), values(other)):
            close(two, one, EXACT["float32"])


@pytest.mark.parametrize("ending", ["h5", "hdf5"])
@pytest.mark.parametrize("save", [keras.Model.save, keras.saving.save_model])
@pytest.mark.parametrize("name", [*MODELS, "inside"])
def test_an_h5_file_is_refused_before_it_is_touched(name, save, ending, tmp_path):
    model = keras.Sequential([Residual()]) if name == "inside" else MODELS[name]()
    good, new = tmp_path / f"good.{ending}", tmp_path / "folder" / f"new.{ending}"
    good.write_bytes(b"a good file")
    for path in (good, str(good), new):
        with pytest.raises(ValueError, match="derivatives needs a `.keras` file.*Nothing was"):
            save(model, path)
    assert good.read_bytes() == b"a good file" and not new.parent.exists()


def test_plain_models_are_saved_to_h5_as_before(tmp_path):
    """Fails when Keras saves to HDF5 elsewhere than in the function that refuses."""
    model, x = build("sequential", "float32")
    model.save(tmp_path / "plain.h5")
    close(keras.models.load_model(tmp_path / "plain.h5")(x), model(x), EXACT["float32"])
    assert legacy_h5_format.save_model_to_hdf5.of_keras.__module__ == legacy_h5_format.__name__


def test_a_subclassed_model_with_derivatives_in_call(tmp_path):
    model = Residual()
    x = points((4, 3), "float32")
    expected = model(x)
    other = save_and_load(model, tmp_path)
    close(other(x), expected, EXACT["float32"])
    assert len(other.trainable_weights) == len(model.trainable_weights) == 4


@keras.saving.register_keras_serializable(package="tests")
class Residual(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.net = Subclassed()
        self.slopes = kd.Gradient(self.net, component=0, return_value=True)

    def call(self, x):
        y, slope = self.slopes(x)
        return slope + y[:, :1]


def test_a_hostile_config_is_refused():
    layer = kd.Jacobian(build("sequential", "float32")[0])
    for change, error in [
        ({"strategy": "os.system"}, ValueError),
        ({"chunk_size": "9"}, ValueError),
        ({"model": "keras"}, (TypeError, ValueError)),
        ({"wrt": {"a": 1}}, TypeError),
    ]:
        with pytest.raises(error):
            kd.Jacobian.from_config({**layer.get_config(), **change})
    config = keras.saving.serialize_keras_object(between())
    text = str(config).replace("'derivative': 'Partials'", "'derivative': 'Lambda'")
    with pytest.raises(TypeError, match="derivative="):
        keras.saving.deserialize_keras_object(ast.literal_eval(text))

"""Configs from strangers: what asks for too much is refused at once, and takes no memory."""

import time
import tracemalloc

import keras
import numpy as np
import pytest
from keras import ops
from models import build

import keras_derivs as kd
from keras_derivs.symbolic.between import Between

# Of the processor, mostly Keras's own, which imports PyTorch anew for each number of a config.
SECONDS, MEGABYTES = 15 if keras.backend.backend() == "torch" else 5, 17


class Many(list):
    """A list of a hundred million items that takes no memory."""

    def __len__(self):
        return 100_000_000

    def __iter__(self):
        raise MemoryError("the list was read")


def net():
    return build("sequential", "float32")[0]


LAYERS = {
    "Laplacian": lambda: kd.Laplacian(net(), num_samples=2),
    "SubJacobian": lambda: kd.SubJacobian(net()),
    "Partials": lambda: kd.Partials(net(), [()]),
    "JVP": lambda: kd.JVP(net()),
    "GradientPenalty": lambda: kd.GradientPenalty(build("scalar", "float32")[0]),
}


def deep(times):
    return [deep(times - 1)] if times else 0


def nested(times):
    layer = net()
    for _ in range(times):
        layer = kd.Jacobian(layer)
    return layer


MILLION = [[0]] * 1_000_000
ROWS = {
    "samples": ("Laplacian", "num_samples", 300_000_000, "at most 1,048,576.*300000000"),
    "samples of 1e8 figures": ("Laplacian", "num_samples", 10**5000, "at most 1,048,576"),
    "chunk": ("SubJacobian", "chunk_size", 10**30, "at most 2,147,483,647"),
    "seed": ("Laplacian", "seed", 10**30, "32 bits"),
    "coefficients": ("Laplacian", "coefficients", Many(), "16,777,216 numbers.*100000000"),
    "directions": ("Laplacian", "directions", [Many()], "16,777,216 numbers"),
    "outputs": ("SubJacobian", "outputs", [Many()], "16,777,216 indices.*100000000"),
    "range": ("SubJacobian", "outputs", [{"range": [0, 10**12, 1]}], "from -2 to 1"),
    "long range": ("SubJacobian", "outputs", [{"range": [0, 10**30, 1]}], "from -2 to 1"),
    "not a range": ("SubJacobian", "outputs", [{"range": [0, 1, 0]}], "moves"),
    "axes": ("SubJacobian", "outputs", Many(), "at most 32 axes.*100000000"),
    "digits": ("SubJacobian", "outputs", [10**5000], "from -2 to 1.*Leave out"),
    "open range": ("SubJacobian", "outputs", [{"range": [None, 1, 1]}], "None"),
    "terms": ("Partials", "terms", MILLION, "at most 65,536 derivatives.*1000000"),
    "long term": ("Partials", "terms", [Many()], "at most 256.*order 100000000"),
    "high term": ("Partials", "terms", [[0] * 1_000_000], "at most 256.*order 1000000"),
    "lower terms": ("Partials", "terms", [[0, 1, 2] * 3] * 9999, "at most 65,536.*lower ones"),
    "sum": ("Partials", "terms", [{"terms": Many(), "weights": Many()}], "at most.*100000000"),
    "figures in a sum": (
        "Partials",
        "terms",
        [{"terms": [[0]], "weights": [10**5000]}],
        "finite number",
    ),
    "feature": ("Partials", "terms", [[10**5000]], "from 0 to 2"),
    "vectors": ("JVP", "vectors", Many(), "16,777,216 numbers"),
    "wrt": ("JVP", "wrt", Many(), "at most.*inputs.*100000000"),
    "long word": ("SubJacobian", "training", "x" * 10**6, "True or False, or None"),
    "long model": ("JVP", "model", "x" * 10**6, "the config of a model.*Give what"),
    "array for axes": ("JVP", "batch_dims", np.zeros(3), "needs 1, or 2"),
    "array for a flag": ("JVP", "tied", np.zeros(3), "True or False"),
    "long mode": ("SubJacobian", "training", [0] * 10**5, "True or False, or None"),
    "figures for a mode": ("SubJacobian", "training", 10**5000, "True or False, or None"),
    "figures for a word": ("SubJacobian", "strategy", 10**5000, "'auto'"),
    "figures for a number": ("Laplacian", "coefficients", [10**5000], "numbers, as a list"),
    "figures along": ("Laplacian", "directions", [[10**5000, 0, 0]], "numbers, as a list"),
    "figures in a vector": ("JVP", "vectors", [10**5000, 0, 0], "finite numbers"),
    "figures to reach": ("GradientPenalty", "target", 10**5000, "finite number"),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_asks_for_too_much_is_refused_at_once(name):
    layer, argument, value, words = ROWS[name]
    config = {**LAYERS[layer]().get_config(), argument: value}
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises((ValueError, TypeError), match=f"(?s){argument}=.*{words}") as caught:
        getattr(kd, layer).from_config(config)
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    assert seconds < SECONDS and peak < MEGABYTES * 2**20


@pytest.mark.parametrize("argument", ["outputs", "strategy", "chunk_size"])
def test_what_is_nested_without_end_is_refused(argument):
    config = {**LAYERS["SubJacobian"]().get_config(), argument: deep(400)}
    with pytest.raises(ValueError, match="SubJacobian.from_config.*at most 64 levels"):
        kd.SubJacobian.from_config(config)
    between = {"derivative": "Gradient", "options": {"component": deep(400)}, "num_wrt": 1}
    with pytest.raises(ValueError, match="from_config.*at most 64 levels"):
        Between.from_config(between)


def test_derivatives_of_derivatives_without_end_are_refused():
    with pytest.raises(ValueError, match="Jacobian.*at most 16 derivatives of derivatives"):
        nested(30)


def test_a_result_that_no_memory_holds_is_refused():
    x = keras.Input((70_000,))
    with pytest.raises(ValueError, match="'jacobian.*entries per sample.*SubJacobian"):
        kd.Jacobian(keras.Model(x, ops.sin(x)))


def fused():
    """A model with a fused layer, and a way to change the layer's config."""
    x = keras.Input((2,))
    u = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(x))
    slope = kd.gradient(u, x)
    return kd.fuse(keras.Model(x, [slope, kd.hessian(u, x), kd.gradient(slope, x, component=0)]))


def changed(model, kind, change):
    config = keras.saving.serialize_keras_object(model)
    (layer,) = [one for one in config["config"]["layers"] if one["class_name"] == kind][:1]
    change(layer["config"])
    return config


def first_sum(config):
    return config["results"][0]["sums"][0]


FUSED = {
    "shape": (lambda c: c["results"][0].update(shape=[10**9]), "results="),
    "huge shape": (lambda c: c["results"][0].update(shape=[10**30]), "results="),
    "many axes": (lambda c: c["results"][0].update(shape=[1] * 1_000_000), "results="),
    "no sums": (lambda c: c["results"][0].pop("sums"), "results="),
    "many results": (lambda c: c.update(results=Many()), "results=.*100000000"),
    "a sum of many": (lambda c: c["results"][0].update(sums=Many()), "results="),
    "weight": (lambda c: first_sum(c).append([0, 0, "1"]), "results="),
    "infinite weight": (lambda c: first_sum(c).append([0, 0, np.inf]), "results="),
    "a weight of many figures": (lambda c: first_sum(c).append([0, 0, 10**400]), "results="),
    "no such term": (lambda c: first_sum(c).append([99, 0, 1.0]), "results="),
    "no such row": (lambda c: first_sum(c).append([0, 10**9, 1.0]), "entries of y"),
    "terms": (lambda c: c.update(terms=MILLION), "terms=.*1000000"),
    "long terms": (lambda c: c["terms"].append(Many()), "terms="),
    "no such root": (lambda c: c["terms"].append([[7, 0]]), "entries of y"),
    "no such entry": (lambda c: c["terms"].append([[0, 10**9]]), "entries of y"),
    "below zero": (lambda c: c["terms"].append([[-1, 0]]), "terms="),
    "no list": (lambda c: c.update(terms="terms"), "terms="),
    "roots": (lambda c: c.update(num_wrt=10**9), "needs y, 1000000000 tensors"),
    "no roots": (lambda c: c.update(num_wrt=0), "num_wrt="),
    "strategy": (lambda c: c.update(strategy="os.system"), "strategy="),
}


@pytest.mark.parametrize("name", FUSED)
def test_a_changed_config_of_a_fused_layer_is_refused(name):
    change, words = FUSED[name]
    refuse(changed(fused(), "Fused", change), words)


BETWEEN = {
    "derivative": (lambda c: c.update(derivative="Lambda"), "derivative="),
    "no name": (lambda c: c.update(derivative=["Lambda"]), "derivative="),
    "options": (lambda c: c.update(options=[1]), "options="),
    "model": (lambda c: c["options"].update(model="x"), "options="),
    "unknown option": (lambda c: c["options"].update(exec="x"), "exec='x'"),
    "samples": (lambda c: c["options"].update(num_samples=300_000_000), "num_samples="),
    "roots": (lambda c: c.update(num_wrt=10**9), "needs y, 1000000000 tensors"),
    "vectors": (lambda c: c.update(num_vectors=10**9), "num_vectors=.*1000000000"),
    "flag": (lambda c: c.update(listed="no"), "listed="),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_a_changed_config_of_a_symbolic_derivative_is_refused(name):
    change, words = BETWEEN[name]
    x = keras.Input((2,))
    model = keras.Model(x, kd.laplacian(keras.layers.Dense(1, "tanh")(x), x))
    refuse(changed(model, "Between", change), words)


def refuse(config, words):
    start = time.process_time()
    with pytest.raises((ValueError, TypeError), match=f"(?s){words}"):
        keras.saving.deserialize_keras_object(config)
    assert time.process_time() - start < SECONDS


def test_code_in_a_wrapped_model_is_refused_like_keras_does(tmp_path):
    function = keras.layers.Lambda(lambda x: x * x)
    inner = kd.Gradient(keras.Sequential([keras.Input((1,)), function]))
    model = keras.Sequential([keras.Input((1,)), inner])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="arbitrary code|unsafe|safe_mode"):
        keras.models.load_model(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    assert loaded(np.array([[3.0]])) == 6.0

"""Files that are torn, altered or hostile: refused with words that say so, at no great cost."""

import json
import os
import resource
import subprocess
import sys
import textwrap
import time
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from models import points
from truth import numpy

import keras_derivs as kd


def net(num_outputs=1):
    return keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(num_outputs)])


def wrapped(layer, *args, num_outputs=1):
    x = keras.Input((2,))
    return keras.Model(x, layer(net(num_outputs), *args)(x))


def fused():
    x = keras.Input((2,))
    u, first = net()(x), x[:, :1]
    return kd.fuse(keras.Model(x, [kd.diff(u, first), kd.diff(u, first, first)]))


MODELS = {
    "Gradient": lambda: wrapped(kd.Gradient),
    "SubJacobian": lambda: wrapped(kd.SubJacobian, [0], num_outputs=3),
    "Partials": lambda: wrapped(kd.Partials, [(0,)]),
    "GradientPenalty": lambda: wrapped(kd.GradientPenalty),
    "JacobianPenalty": lambda: wrapped(kd.JacobianPenalty),
    "LogDeterminant": lambda: wrapped(kd.LogDeterminant, num_outputs=2),
    "Laplacian": lambda: wrapped(kd.Laplacian),
    "JVP": lambda: (lambda x: keras.Model(x, kd.JVP(net(), vectors=[1, 2])(x)))(keras.Input((2,))),
    "Fused": lambda: fused(),
    "Between": lambda: (lambda x: keras.Model(x, kd.diff(net()(x), x[:, :1])))(keras.Input((2,))),
}


def configs(config, class_name):
    """The configs of all objects of a class inside a config."""
    parts = config.values() if isinstance(config, dict) else config
    if isinstance(config, dict) and config.get("class_name") == class_name:
        yield config["config"]
    for part in parts if isinstance(config, (dict, list)) else ():
        if isinstance(part, (dict, list)):
            yield from configs(part, class_name)


def load_altered(model, class_name, changes, folder):
    """Load a model from a file in which the config of one layer was changed by hand."""
    model.save(folder / "whole.keras")
    with (
        zipfile.ZipFile(folder / "whole.keras") as whole,
        zipfile.ZipFile(folder / "altered.keras", "w") as altered,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            if name == "config.json":
                config = json.loads(content)
                next(configs(config, class_name)).update(changes)
                content = json.dumps(config)
            altered.writestr(name, content)
    return keras.models.load_model(folder / "altered.keras")


def foreign(module, name, registered=None, config=None):
    hostile = {"args": ["touch", "owned"], "command": "touch owned"}
    return {
        "model": {
            "module": module,
            "class_name": name,
            "config": hostile if config is None else config,
            "registered_name": registered,
        }
    }


def sliced(*bounds):
    return {"outputs": [{"slice": list(bounds)}]}


BIG = 10**30
HOSTILE = [
    ("Gradient", foreign("os", "system"), "os|system"),
    ("Gradient", foreign("os", "system", "system"), "os|system"),
    ("Gradient", foreign("subprocess", "Popen"), "subprocess|Popen"),
    ("Gradient", foreign("builtins", "eval"), "builtins|eval"),
    ("Gradient", foreign("builtins", "dict"), "builtins|dict"),
    ("Gradient", foreign("keras.utils", "get_file"), "get_file"),
    ("Gradient", foreign("keras.optimizers", "Adam", config={}), "needs a `keras.Model`.*Adam"),
    ("Gradient", {"model": None}, "config of a model.*Received: None.*get_config"),
    ("Gradient", {"model": ["a"]}, "config of a model.*get_config"),
    ("Gradient", {"strategy": ["reverse"]}, "strategy=.*'auto'"),
    ("Gradient", {"strategy": "os.system"}, "strategy=.*os.system"),
    ("Gradient", {"chunk_size": -1}, "chunk_size=.*positive.*-1"),
    ("Gradient", {"chunk_size": [1]}, "chunk_size=.*positive"),
    ("Gradient", {"wrt": BIG}, "wrt=.*position below 1"),
    ("Gradient", {"wrt": [[0]]}, "wrt=.*name or a position"),
    ("Gradient", {"output": {"a": 1}}, "output=.*name or a position"),
    ("Gradient", {"component": [BIG]}, "component=.*indices from"),
    ("Gradient", {"component": {"a": 1}}, "component="),
    ("Gradient", {"return_value": "no"}, "return_value=.*True or False.*'no'"),
    ("Gradient", {"training": 1}, "training=.*True or False.*1"),
    ("Gradient", {"surprise": 3}, "surprise"),
    ("SubJacobian", {"outputs": [[BIG]]}, "outputs=.*indices from -3 to 2"),
    ("SubJacobian", {"outputs": [[1.5]]}, "outputs=.*integer indices"),
    ("SubJacobian", {"outputs": [{"a": 1}]}, "outputs=.*integer indices"),
    ("SubJacobian", sliced(0, 1, 0), "outputs=.*slice that moves"),
    ("SubJacobian", sliced("a", 1, 1), "outputs=.*integer indices.*'a'"),
    ("SubJacobian", sliced(1, 2, 3, 4), "outputs=.*integer indices"),
    ("SubJacobian", {"inputs": "ab"}, "inputs=.*integer indices|inputs=.*one selection"),
    ("Partials", {"terms": [[BIG]]}, "terms=.*features from 0 to 1"),
    ("Partials", {"terms": [[0] * 5000]}, "at most 256.*order 5000"),
    ("Partials", {"terms": [list(range(40))]}, "at most 256.*order 40"),
    ("Partials", {"terms": [["a"]]}, "tuple of non-negative integers"),
    ("Partials", {"terms": {"a": 1}}, "terms=.*non-negative integers"),
    ("Partials", {"terms": {"a/b": [1]}}, "terms=.*names"),
    ("Partials", {"terms": 3}, "terms=.*list"),
    ("Between", {"derivative": ["Gradient"]}, "derivative=.*needs one of"),
    ("Between", {"derivative": None}, "derivative=.*needs one of"),
    ("Between", {"options": [1]}, "options=.*dict"),
    ("Between", {"options": {"wrt": 0}}, "options=.*other than `model` and `wrt`"),
    ("Between", {"options": {"terms": [[0]], "strategy": "exec"}}, "strategy=.*exec"),
    ("Between", {"options": {"terms": [[0] * 5000]}}, "at most 256"),
    ("Between", {"num_wrt": "a"}, "num_wrt=.*integer of at least 1.*'a'"),
    ("Between", {"num_wrt": -3}, "num_wrt=.*at least 1.*-3"),
    ("Between", {"num_wrt": 1.5}, "num_wrt=.*at least 1.*1.5"),
    (
        "Between",
        {"num_wrt": BIG},
        "graph it was made for|independent of each other|no path|graph between them",
    ),
    ("Between", {"num_vectors": -1}, "num_vectors=.*at least 0"),
    ("Between", {"listed": "x"}, "listed=.*True or False"),
    ("Between", {"options": {}}, "options=.*all that Partials needs"),
    (
        "Between",
        {"options": {"name": "x", "num_samples": BIG}},
        "options=.*all that Partials needs",
    ),
    ("GradientPenalty", {"target": float("nan")}, "target=.*nan"),
    ("GradientPenalty", {"target": [1.0]}, "target="),
    ("GradientPenalty", {"coupled": "yes"}, "coupled=.*True or False"),
    ("JacobianPenalty", {"num_samples": BIG}, "num_samples="),
    ("JacobianPenalty", {"seed": [1]}, "seed="),
    ("LogDeterminant", {"batch_dims": BIG}, "batch_dims="),
    ("Laplacian", {"sampling": "everywhere"}, "sampling=.*everywhere"),
    ("Laplacian", {"coefficients": [float("inf"), 1]}, "coefficients="),
    ("Laplacian", {"directions": [[1, 2, 3]]}, "directions"),
    ("JVP", {"vectors": [[["a"]]]}, "vectors="),
    ("Fused", {"results": None}, "results=.*dict.*None"),
    ("Fused", {"results": [{"shape": [BIG], "sums": []}]}, "results=.*dict"),
    ("Fused", {"terms": [[[0, BIG]], [[0, 0]]]}, "entries of y and of the tensors x"),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)), ids=lambda n: f"{n}-{HOSTILE[n][0]}")
def test_a_file_altered_by_hand_is_refused(number, tmp_path, monkeypatch):
    name, changes, words = HOSTILE[number]
    model = MODELS[name]()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=f"(?s){words}"):
        load_altered(model, name, changes, tmp_path)
    assert not os.path.exists(tmp_path / "owned")


def test_a_chunk_larger_than_the_batch_is_no_harm(tmp_path):
    model, x = MODELS["Gradient"](), points((3, 2), "float32")
    other = load_altered(model, "Gradient", {"chunk_size": 2**31 - 1}, tmp_path)
    np.testing.assert_array_equal(numpy(other(x)), numpy(model(x)))
    with pytest.raises(ValueError, match="chunk_size=.*at most"):
        load_altered(model, "Gradient", {"chunk_size": BIG}, tmp_path)


def test_a_file_that_asks_for_a_huge_hessian_costs_little_to_load(tmp_path):
    x = keras.Input((20_000,))
    sums = keras.Sequential([keras.Input((20_000,)), layers.Dense(1, "tanh", use_bias=False)])
    keras.Model(x, kd.Jacobian(sums)(x)).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        config = next(configs(json.loads(file.read("config.json")), "Jacobian"))
    before, start = peak(), time.perf_counter()
    layer = kd.Hessian.from_config(config)
    assert layer(keras.Input((20_000,))).shape == (None, 20_000, 20_000)
    assert peak() - before < 200 and time.perf_counter() - start < 20  # 1.6 GB for one sample


def peak():
    """The most memory that was resident so far, in megabytes (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_lambda_inside_the_wrapped_model_is_refused(tmp_path):
    inner = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda x: x * x), layers.Dense(1)])
    x = keras.Input((2,))
    keras.Model(x, kd.Gradient(inner)(x)).save(tmp_path / "model.keras")
    with pytest.raises((TypeError, ValueError), match="(?s)lambda.*safe_mode=False"):
        keras.models.load_model(tmp_path / "model.keras")


def test_a_truncated_file_is_refused(tmp_path):
    MODELS["Between"]().save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    for part in (0, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "torn.keras").write_bytes(content[: int(part * len(content))])
        with pytest.raises(ValueError, match="accessible `.keras` zip file"):
            keras.models.load_model(tmp_path / "torn.keras")


def test_a_flipped_bit_is_found_or_harmless(tmp_path):
    model, x = MODELS["Between"](), points((3, 2), "float32")
    model.save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    random, refused = np.random.default_rng(0), 0
    for place in random.integers(0, len(content), 40):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(random.integers(8))
        (tmp_path / "flipped.keras").write_bytes(bytes(flipped))
        try:
            found = keras.models.load_model(tmp_path / "flipped.keras")(x)
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:  # of h5py, too
            assert str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(numpy(found), numpy(model(x)))
    assert refused > 30  # the checksums of the archive cover all but some of its headers


SAVING = """
    import os, sys, keras, keras_derivs as kd
    folder, in_place = sys.argv[1], sys.argv[2] == "in place"
    wide = [keras.Input((2,)), keras.layers.Dense(1000, "tanh"), keras.layers.Dense(1000)]
    net, x = keras.Sequential([*wide, keras.layers.Dense(1)]), keras.Input((2,))
    y = net(x)
    model = keras.Model(x, [y, kd.diff(y, x[:, :1])])
    version = 0
    while True:
        version += 1
        model.set_weights([weight * 0 + version for weight in model.get_weights()])
        model.save(f"{folder}/{'model' if in_place else 'new'}.keras")
        if not in_place:
            os.replace(f"{folder}/new.keras", f"{folder}/model.keras")
        print("saved", flush=True)
"""


def save_until_killed(folder, how, seconds):
    command = [sys.executable, "-c", textwrap.dedent(SAVING), str(folder), how]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"saved\n"
        time.sleep(seconds)
        process.kill()


def is_whole(path):
    """Whether the file loads, all its weights of one version."""
    versions = {
        float(value) for w in keras.models.load_model(path).get_weights() for value in w.flat
    }
    return len(versions) == 1


MOMENTS = [0.0, *(pytest.param(0.013 * n, marks=pytest.mark.slow) for n in range(1, 5))]


@pytest.mark.parametrize("seconds", MOMENTS)
def test_a_file_that_is_replaced_at_once_survives_a_kill(seconds, tmp_path):
    save_until_killed(tmp_path, "beside", seconds)
    assert is_whole(tmp_path / "model.keras")
    assert {file.name for file in tmp_path.iterdir()} <= {"model.keras", "new.keras"}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.01 * n for n in range(6)])
def test_a_file_that_is_overwritten_is_whole_or_refused(seconds, tmp_path):
    """Keras writes in place: a kill may cost the file, but it never loads as another model."""
    save_until_killed(tmp_path, "in place", seconds)
    try:
        assert is_whole(tmp_path / "model.keras")
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:  # of h5py, too
        assert str(error)
    assert {file.name for file in tmp_path.iterdir()} == {"model.keras"}

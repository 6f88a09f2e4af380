"""`model.export` of models with derivatives, on every backend: no file that was found wrong."""

import keras
import numpy as np
import pytest
from export_cells import FORMATS, need
from keras import layers
from run_artifacts import LOADERS

import keras_derivs as kd
from keras_derivs.export.compare import comparing
from keras_derivs.export.formats import FORMATS as FORMATS_OF_EXPORT

# not from this package: converters use what their dependencies deprecate
pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The file of .* was found right:UserWarning"),
]
FIRST = next(iter(FORMATS))
X = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")


class Other(layers.Layer):
    """Is another function in a file, as converters may have it."""

    def call(self, x):
        return x * (1.5 if comparing.on else 1.0)


def slope_model(*more, layer=kd.Gradient, **options):
    net = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    x = keras.Input((2,), name="x")
    y = layer(net, **options)(x)
    for part in more:
        y = part(y)
    return keras.Model(x, {"slope": y})


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_computes_something_else_is_not_left(format, tmp_path):
    need(format)
    path = tmp_path / LOADERS[format][1]
    with pytest.raises(ValueError, match="no file is left: .*differs from the model by 5.0e-01"):
        slope_model(Other()).export(path, format=format, verbose=False)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_right_is_written_beside_what_is_there(tmp_path, capsys):
    model, path = slope_model(), tmp_path / LOADERS[FIRST][1]
    if not path.suffix:
        path.mkdir()
        (path / "notes.txt").write_text("kept")
    for _ in range(2):
        model.export(path, format=FIRST)
        assert f"Saved artifact at '{path}'" in capsys.readouterr().out
    found = LOADERS[FIRST][0](path)(X)["slope"]
    expected = model.predict(X, verbose=0)["slope"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert path.suffix or (path / "notes.txt").read_text() == "kept"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("how", ["keras", "package"])
def test_what_draws_random_numbers_is_refused(how, tmp_path):
    model, path = slope_model(layer=kd.Laplacian, num_samples=2), tmp_path / LOADERS[FIRST][1]
    with pytest.raises(ValueError, match="needs a model that computes the same each time"):
        if how == "keras":
            model.export(path, format=FIRST, verbose=False)
        else:
            kd.export(model, path, FIRST)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_compared_is_told(tmp_path, monkeypatch):
    def missing(self):
        raise ImportError("The runtime is not installed.")

    monkeypatch.setattr(type(FORMATS_OF_EXPORT[0]), "check_packages", missing)
    path = tmp_path / LOADERS[FIRST][1]
    with pytest.warns(UserWarning, match="not compared with the model: The runtime is not"):
        slope_model().export(path, format=FIRST, verbose=False)
    assert path.exists()


def test_a_model_without_derivatives_is_not_compared(tmp_path):
    x = keras.Input((2,))
    path = tmp_path / LOADERS[FIRST][1]
    keras.Model(x, layers.Dense(1)(x)).export(path, format=FIRST, verbose=False)
    assert path.exists()


@pytest.mark.parametrize("how", ["keras", "package"])
def test_a_path_that_cannot_be_written_to(how, tmp_path):
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / LOADERS[FIRST][1]
    with pytest.raises(OSError, match="needs a folder that can be written to. Received: .*file"):
        if how == "keras":
            slope_model().export(path, format=FIRST, verbose=False)
        else:
            kd.export(slope_model(), path, FIRST)

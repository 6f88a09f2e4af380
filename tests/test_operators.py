"""Second-order operators and random estimates of them, against the full Hessian."""

import zipfile

import keras
import numpy as np
import pytest
import truth
from models import build, points
from truth import EXACT, close

import keras_derivs as kd

random = np.random.default_rng(3)
MATRIX = random.normal(size=(3, 3))  # not symmetric, indefinite
DIRECTIONS = random.normal(size=(5, 3))
OPERATORS = {
    "vector": ({"coefficients": [2.0, 0.0, -0.5]}, np.diag([2.0, 0.0, -0.5])),
    "matrix": ({"coefficients": MATRIX}, MATRIX),
    "one entry": (
        {"coefficients": np.eye(3)[[1, 0, 2]] * [1, 1, 0]},
        np.eye(3)[[1, 0, 2]] * [1, 1, 0],
    ),
    "directions": ({"directions": DIRECTIONS}, DIRECTIONS.T @ DIRECTIONS),
    "both": (
        {"coefficients": [1, -2, 0, 3, 1], "directions": DIRECTIONS},
        DIRECTIONS.T @ np.diag([1, -2, 0, 3, 1]) @ DIRECTIONS,
    ),
}


def full(model, x, matrix):
    hessian = truth.numpy(kd.Hessian(model, strategy="tape")(x))
    return np.einsum("jk,b...jk->b...", matrix, hessian).reshape(model(x).shape)


@pytest.mark.parametrize(
    "strategy, chunk_size", [("auto", None), ("taylor", 2), ("tape", None), ("tape", 2)]
)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("kind", ["sequential", "scalar", "rank_one"])
def test_operators_match_the_hessian(kind, name, strategy, chunk_size):
    model, x = build(kind, "float64")
    options, matrix = OPERATORS[name]
    layer = kd.Laplacian(model, strategy=strategy, chunk_size=chunk_size, **options)
    close(layer(x), full(model, x, matrix), EXACT["float64"])


@pytest.mark.parametrize("strategy", ["tape", "taylor"])
def test_operators_across_several_inputs(strategy, float64):
    t, x = keras.Input((1,), dtype="float64"), keras.Input((2,), dtype="float64")
    u = keras.layers.Dense(1)(keras.layers.Dense(5, "tanh")(keras.ops.concatenate([t, x], 1)))
    model = keras.Model([t, x], u)
    wave = kd.Laplacian(model, coefficients=[1, -4, -4], strategy=strategy)
    mixed = kd.Laplacian(model, coefficients=MATRIX, strategy=strategy)
    at = [points((4, 1), "float64"), points((4, 2), "float64", seed=1)]
    x0, x1 = x[:, :1], x[:, 1:]
    terms = [(t, t), (t, x0), (t, x1), (x0, x0), (x0, x1), (x1, x1)]
    tt, t0, t1, oo, o1, ii = map(truth.numpy, keras.Model([t, x], kd.partials(u, *terms))(at))
    close(wave(at), tt - 4 * oo - 4 * ii, EXACT["float64"])
    a = MATRIX + MATRIX.T
    expected = (a[0, 0] * tt + a[1, 1] * oo + a[2, 2] * ii) / 2 + a[0, 1] * t0 + a[0, 2] * t1
    close(mixed(at), expected + a[1, 2] * o1, EXACT["float64"])


def test_an_operator_between_symbolic_tensors_is_saved(tmp_path, float64):
    tx = keras.Input((3,), dtype="float64")
    u = keras.layers.Dense(1)(keras.layers.Dense(5, "tanh")(tx))
    model = keras.Model(
        tx, [kd.laplacian(u, tx, coefficients=MATRIX), kd.laplacian(u, [tx[:, 2:]], [7])]
    )
    values = points((4, 3), "float64")
    close(model(values)[0], full(keras.Model(tx, u), values, MATRIX), EXACT["float64"])
    close(model(values)[1], full(keras.Model(tx, u), values, np.diag([0, 0, 7])), EXACT["float64"])
    model.save(tmp_path / "operator.keras")
    loaded = keras.models.load_model(tmp_path / "operator.keras")
    for one, other in zip(model(values), loaded(values)):
        np.testing.assert_array_equal(truth.numpy(one), truth.numpy(other))


WRONG = {
    "too few": ({"coefficients": [1, 2]}, ValueError, "as many entries.*Received: 2"),
    "not square": ({"coefficients": np.ones((3, 2))}, ValueError, "square.*\\(3, 2\\)"),
    "zeros": ({"coefficients": [0, 0, 0]}, ValueError, "not all zero"),
    "not finite": ({"coefficients": [1, np.nan, 0]}, ValueError, "finite"),
    "text": ({"coefficients": "heat"}, TypeError, "numbers.*heat"),
    "no matrix": ({"directions": [1, 0, 0]}, ValueError, "directions.*2 axes"),
    "unequal": (
        {"coefficients": [1], "directions": DIRECTIONS},
        ValueError,
        "1 coefficients for 5",
    ),
    "too short": ({"directions": np.ones((2, 2))}, ValueError, "as many entries.*Received: 2"),
    "no samples": ({"num_samples": 0}, ValueError, "num_samples=.*positive.*0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_operators(name):
    model, _ = build("scalar", "float32")
    options, error, message = WRONG[name]
    with pytest.raises(error, match=f"(?s){message}"):
        kd.Laplacian(model, **options)


@pytest.mark.parametrize("strategy", ["tape", "taylor"])
@pytest.mark.parametrize("name", [None, "vector", "matrix", "both"])
def test_the_estimate_is_unbiased(name, strategy):
    model, x = build("sequential", "float64")
    options, matrix = OPERATORS[name] if name else ({}, np.eye(3))
    layer = kd.Laplacian(model, num_samples=2000, seed=1000, strategy=strategy, **options)
    estimates = np.stack([truth.numpy(layer(x)) for _ in range(20)])
    exact = full(model, x, matrix)
    error_of_mean = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    assert np.all(np.abs(estimates.mean(axis=0) - exact) < 4.5 * error_of_mean + 1e-12)
    assert np.all(error_of_mean < 0.02 * np.max(np.abs(exact)))


def test_the_spread_of_the_estimate_is_the_documented_one():
    model, x = build("scalar", "float64")
    layer = kd.Laplacian(model, num_samples=10, seed=1)
    estimates = np.stack([truth.numpy(layer(x)) for _ in range(400)])[..., 0]
    hessian = truth.numpy(kd.Hessian(model)(x))
    off = hessian - np.einsum("bjj->bj", hessian)[:, :, None] * np.eye(3)
    documented = np.sqrt(2 / 10) * np.sqrt(np.sum(off**2, axis=(1, 2)))
    np.testing.assert_allclose(estimates.std(axis=0), documented, rtol=0.2)


def test_seeds_repeat_the_estimate():
    model, x = build("scalar", "float32")
    one, two, other = (kd.Laplacian(model, num_samples=4, seed=seed) for seed in (5, 5, 6))
    first, same, another, next = (truth.numpy(layer(x)) for layer in (one, two, other, one))
    assert np.array_equal(first, same) and not np.array_equal(first, another)
    assert not np.array_equal(first, next)  # new directions at every call
    assert "estimate from 4 random" in one.explain()
    again = kd.Laplacian.from_config(one.get_config())
    assert again.num_samples == 4 and again.seed == 5


def test_the_estimate_trains_and_predicts_in_thousands_of_dimensions():
    inputs = keras.Input((2000,))
    u = keras.layers.Dense(1, use_bias=False)(keras.layers.Dense(16, "tanh")(inputs))
    model = keras.Model(inputs, kd.laplacian(u, inputs, num_samples=8, seed=0))
    model.compile(loss="mse", optimizer="sgd")
    x = points((64, 2000), "float32")
    model.fit(x, np.zeros((64, 1)), verbose=0)
    one, two = model.predict(x, verbose=0), model.predict(x, verbose=0)
    assert np.all(np.isfinite(one)) and not np.array_equal(one, two)


@pytest.mark.parametrize("symbolic", [False, True])
def test_files_with_the_earlier_name_of_the_coefficients(symbolic, tmp_path):
    model, x = build("scalar", "float32")
    tx = keras.Input((3,))
    wave = kd.laplacian(model(tx), tx, coefficients=[1, -4, 0])
    wave = wave if symbolic else kd.Laplacian(model, coefficients=[1, -4, 0])(tx)
    keras.Model(tx, wave).save(tmp_path / "model.keras")
    new = zipfile.ZipFile(tmp_path / "model.keras")
    assert b'"coefficients": [' in new.read("config.json")
    with zipfile.ZipFile(tmp_path / "earlier.keras", "w") as earlier:
        for name in new.namelist():
            earlier.writestr(name, new.read(name).replace(b'"coefficients": [', b'"weights": ['))
    loaded = keras.models.load_model(tmp_path / "earlier.keras")
    close(loaded(x), full(model, x, np.diag([1, -4, 0])), EXACT["float32"])

"""Full-batch training by Gauss-Newton steps, against closed forms, differences and L-BFGS."""

import keras
import numpy as np
import pytest
from keras import layers
from models import points
from test_lbfgs import (
    X,
    Y,
    as_numpy,
    burgers,
    burgers_data,
    linear,
    logarithm,
    ridge,
    weights_of,
)

import keras_derivs as kd
from keras_derivs.training.curvature import Curvature
from keras_derivs.training.objective import Objective


def matrix_of(model, x, y, sample_weight=None):
    model(x)
    objective = Objective(model, x, y, sample_weight)
    return Curvature(objective)(objective.weights), objective


def differences(objective, h=1e-5):
    """The Hessian of the loss by the weights, by central differences of its gradient."""
    weights = objective.weights
    moves = h * np.eye(len(weights))
    return np.array(
        [(objective(weights + d)[1] - objective(weights - d)[1]) / (2 * h) for d in moves]
    )


def test_it_is_the_hessian_of_a_quadratic_loss(float64):
    model, x, y, _ = ridge()
    matrix, objective = matrix_of(model, x, y)
    assert np.max(np.abs(matrix - differences(objective))) < 1e-8


LOSSES = {
    "mean squares": ("mse", lambda z, y: z**0),
    "poisson": ("poisson", lambda z, y: y / z**2),
    "log-cosh": ("log_cosh", lambda z, y: 1 / np.cosh(z - y) ** 2),
    "absolute": ("mae", lambda z, y: 0 * z),
}


@pytest.mark.parametrize("name", LOSSES)
def test_any_loss_bends_by_its_own_second_derivative(name, float64):
    loss, second = LOSSES[name]
    model = linear(use_bias=False, kernel_initializer="ones")
    model.compile(loss=loss)
    x, sample_weight = np.abs(points((30, 3), "float64")) + 0.1, np.linspace(0, 2, 30)
    y = np.abs(points((30, 1), "float64", seed=1))
    z = x.sum(axis=1, keepdims=True)
    factor = 2 if name == "mean squares" else 1
    bends = factor * second(z, y) * sample_weight[:, None] / 30
    if name == "poisson":
        bends = bends * (z / (z + keras.config.epsilon())) ** 2
    matrix, _ = matrix_of(model, x, y, sample_weight)
    assert np.allclose(matrix, x.T @ (bends * x), rtol=1e-6, atol=1e-12)


def test_outputs_rows_and_blocks_count_alike(float64, monkeypatch):
    """At a loss of zero, the Gauss-Newton matrix of mean squares is the Hessian."""
    keras.utils.set_random_seed(0)
    x = keras.Input((2,), dtype="float64", name="x")
    h = layers.Dense(4, "tanh")(x)
    u = layers.Dense(2)(h)
    slope = kd.jacobian(u, x)
    model = keras.Model({"x": x}, {"slope": slope, "u": u})
    model.compile(loss={"u": "mse", "slope": "mse"}, loss_weights={"u": 2.0, "slope": 0.3})
    data = {"x": points((11, 2), "float64")}
    targets = {key: as_numpy(z) for key, z in model(data).items()}
    weights = {"u": np.linspace(0, 1, 11), "slope": np.linspace(1, 2, 11)[:, None]}
    matrix, objective = matrix_of(model, data, targets, weights)
    assert np.max(np.abs(matrix - differences(objective))) < 1e-7
    monkeypatch.setattr("keras_derivs.training.curvature.BYTES", 8 * 6 * len(matrix) * 4)
    by_blocks, _ = matrix_of(model, data, targets, weights)
    assert np.max(np.abs(matrix - by_blocks)) < 1e-12


def test_a_quadratic_loss_takes_few_steps(float64):
    model, x, y, expected = ridge()
    history = kd.gauss_newton(model, x, y, verbose=0)
    assert np.max(np.abs(weights_of(model) - expected)) < 1e-7
    assert set(history.history) == {"loss", "mae"} and len(history.epoch) < 10
    assert np.all(np.diff(history.history["loss"]) <= 0)


def test_it_comes_further_than_lbfgs_on_a_loss_of_physics(float64):
    """A step takes the time of some ten of L-BFGS."""
    ends = []
    for train, steps in ((kd.lbfgs, 200), (kd.gauss_newton, 20)):
        keras.utils.set_random_seed(0)
        model, (x, y, weights) = burgers(), burgers_data()
        history = train(model, x, y, weights, max_steps=steps, verbose=0)
        ends.append(history.history["loss"][-1])
    assert ends[1] < 0.5 * ends[0], ends


def recurrent():
    x = keras.Input((4, 2), dtype="float64")
    return keras.Model(x, layers.Dense(1)(layers.LSTM(3)(x))), points((9, 4, 2), "float64")


def second_derivatives():
    """The last bias has no part in them."""
    x = keras.Input((2,), dtype="float64")
    u = layers.Dense(1)(layers.Dense(4, "tanh")(x))
    return keras.Model(x, kd.hessian(u, x)), points((9, 2), "float64")


def convolution():
    x = keras.Input((5, 5, 1), dtype="float64")
    h = layers.MaxPooling2D()(layers.Conv2D(2, 2, activation="tanh")(x))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(h))), points((9, 5, 5, 1), "float64")


@pytest.mark.parametrize("make", [recurrent, second_derivatives, convolution])
def test_networks_of_all_kinds(make, float64):
    """At a loss of zero, the Gauss-Newton matrix of mean squares is the Hessian."""
    keras.utils.set_random_seed(0)
    model, x = make()
    model.compile(loss="mse")
    matrix, objective = matrix_of(model, x, as_numpy(model(x)))
    assert np.max(np.abs(matrix - differences(objective))) < 1e-6


def test_a_loss_that_is_not_finite_is_not_taken():
    model, x, y = logarithm(), np.ones((4, 1)), np.full((4, 1), -50.0)
    kd.gauss_newton(model, x, y, verbose=0)
    assert np.isfinite(model.evaluate(x, y, verbose=0)) and as_numpy(model.weights[0]) <= 1


def wide():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(9000), layers.Dense(1)], name="wide")
    model.compile(loss="mse")
    return model


WRONG = {
    "too many weights": (lambda: kd.gauss_newton(wide(), X, Y), ValueError, "at most 8192 .*'wide'"),
    "not compiled": (
        lambda: kd.gauss_newton(keras.Sequential([layers.Dense(1)]), X, Y),
        ValueError, "`gauss_newton` needs a compiled model",
    ),
    "no arrays": (
        lambda: kd.gauss_newton(linear(), iter([X]), Y), TypeError, "`gauss_newton`.*arrays.*`x=`"),
    "not finite": (
        lambda: kd.gauss_newton(linear(), X * np.nan, Y), ValueError, "gauss_newton.*finite loss"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_it_refuses(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=f"(?s){message}"):
        call()

"""Burgers' equation as in Raissi, Perdikaris and Karniadakis (2019), by L-BFGS in float64."""

import keras
import numpy as np
from common import SEED, by_lbfgs, network, relative_error
from keras import ops

import keras_derivs as kd
from keras_derivs.demo.burgers import VISCOSITY, exact


def points(count):
    """Half of them everywhere, half around the front at x = 0."""
    random = np.random.default_rng(SEED)
    everywhere = random.uniform([0, -1], [1, 1], (count // 2, 2))
    front = np.stack([random.uniform(0.2, 1, count // 2), random.normal(0, 0.05, count // 2)], 1)
    return np.concatenate([everywhere, np.clip(front, -1, 1)])


def build(width, depth):
    """u holds the initial and boundary values for any weights; the loss is the residual."""
    tx = keras.Input((2,), dtype="float64", name="tx")
    t, x = tx[:, :1], tx[:, 1:]
    u = -ops.sin(np.pi * x) + t * (1 - ops.square(x)) * network(1, width, depth)(tx)
    u_t, u_x, u_xx = kd.partials(u, (t,), (x,), (x, x))
    # In the front |u_x| reaches 150, and so do the terms that should cancel: count them less.
    residual = (u_t + u * u_x - VISCOSITY * u_xx) / (1 + 0.1 * ops.abs(u_x))
    return keras.Model(tx, {"u": u, "residual": residual})


def run(width=20, depth=4, steps=3000, count=4000):
    keras.utils.set_random_seed(SEED)
    model, x = build(width, depth), points(count)
    model.compile(loss={"residual": "mse"}, jit_compile=True)
    figures = by_lbfgs("Burgers", model, x, {"residual": np.zeros((len(x), 1))}, steps)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 100), np.linspace(-1, 1, 256)), -1).reshape(-1, 2)
    found = model.predict(grid, batch_size=len(grid), verbose=0)["u"]
    return figures | {"error": relative_error(found[:, 0], exact(*grid.T)["u"])}

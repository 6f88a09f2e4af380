"""Burgers' equation as in Raissi, Perdikaris and Karniadakis (2019).

By Gauss-Newton steps in float64.
"""

import keras
import numpy as np
from common import SEED, network, on_all_data, relative_error
from keras import ops

import keras_derivs as kd
from keras_derivs.demo.burgers import VISCOSITY, exact


def points(random, count):
    """Half of them everywhere at x > 0, half at the front near x = 0."""
    everywhere = random.uniform([0, 0], [1, 1], (count // 2, 2))
    front = np.stack([random.uniform(0.2, 1, count // 2), random.normal(0, 0.05, count // 2)], 1)
    return np.concatenate([everywhere, np.minimum(np.abs(front), 1)])


def build(width, depth):
    """Models of u and of its residual.

    For any weights, u holds initial and boundary values and is odd in x.
    """
    tx = keras.Input((2,), dtype="float64", name="tx")
    t, x = tx[:, :1], tx[:, 1:]
    net = network(width, depth)
    odd = net(tx) - net(ops.concatenate([t, -x], axis=1))
    u = -ops.sin(np.pi * x) + t * (1 - ops.square(x)) * odd
    u_t, u_x, u_xx = kd.partials(u, (t,), (x,), (x, x))
    # In the front |u_x| reaches 150, and so do the terms that should cancel: count them less.
    residual = (u_t + u * u_x - VISCOSITY * u_xx) / (1 + 0.1 * ops.abs(u_x))
    return keras.Model(tx, u), keras.Model(tx, residual)


def run(width=20, depth=4, steps=300, count=2000):
    keras.utils.set_random_seed(SEED)
    random, (u, residual) = np.random.default_rng(SEED), build(width, depth)
    figures = on_all_data("Burgers", kd.gauss_newton, residual, points(random, count), steps)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 100), np.linspace(-1, 1, 256)), -1).reshape(-1, 2)
    found = u.predict(grid, batch_size=len(grid), verbose=0)[:, 0]
    return figures | {"error": relative_error(found, exact(*grid.T)["u"])}

"""Convection and reaction, on which physics-informed networks are known to fail.

By Gauss-Newton steps in float64, with the slopes of the residual in the loss, too.
"""

import keras
import numpy as np
from common import SEED, network, on_all_data, relative_error
from keras import ops

import keras_derivs as kd

SPEED, RATE = 50.0, 5.0


def convection(u, t, x):
    """u_t + 50 u_x = 0, divided by 50."""
    u_t, u_x = kd.partials(u, (t,), (x,))
    return u_t / SPEED + u_x


def reaction(u, t, x):
    """u_t = 5 u (1 - u), divided by 5."""
    return kd.diff(u, t) / RATE - u * (1 - u)


def sine(x, xp=np):
    return xp.sin(x)


def bell(x, xp=np):
    return xp.exp(-((x - np.pi) ** 2) / (2 * (np.pi / 4) ** 2))


def grown(t, x):
    return 1 / (1 + (1 / bell(x) - 1) * np.exp(-RATE * t))


def waves(t, x):
    """x on a circle, and sines and cosines of t."""
    k = np.pi * np.arange(1, 21)[None]
    parts = [t, ops.sin(t * k), ops.cos(t * k), ops.sin(x), ops.cos(x)]
    return ops.concatenate(parts, axis=1)


def plain(t, x):
    """Both from -1 to 1. The solution, of an equation at each x, has a kink from 2π to 0."""
    return ops.concatenate([2 * t - 1, x / np.pi - 1], axis=1)


CASES = {  # the residual, what it was divided by, initial values, solution, inputs of the network
    "convection": (convection, SPEED, sine, lambda t, x: np.sin(x - SPEED * t), waves),
    "reaction": (reaction, RATE, bell, grown, plain),
}


def build(name, width, depth):
    """Models of u, which holds the initial values for any weights, and of what is to be zero."""
    residual_of, rate, start, _, inputs = CASES[name]
    tx = keras.Input((2,), dtype="float64", name="tx")
    t, x = tx[:, :1], tx[:, 1:]
    net = network(width, depth)(inputs(t, x))
    u = start(x, ops) + (1 - ops.exp(-rate * t)) * net
    residual = residual_of(u, t, x)
    r_t, r_x = kd.partials(residual, (t,), (x,))
    missing = ops.concatenate([residual, 0.3 * r_t / rate, 0.3 * r_x], axis=1)
    return keras.Model(tx, u), keras.Model(tx, missing)


def run(name, width=20, depth=3, steps=300, count=3000):
    keras.utils.set_random_seed(SEED)
    u, missing = build(name, width, depth)
    tx = np.random.default_rng(SEED).uniform([0, 0], [1, 2 * np.pi], (count, 2))
    figures = on_all_data(name, kd.gauss_newton, missing, tx, steps)
    grid = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 2 * np.pi, 101))
    grid = np.stack(grid, -1).reshape(-1, 2)
    found = u.predict(grid, batch_size=len(grid), verbose=0)[:, 0]
    return figures | {"error": relative_error(found, CASES[name][3](*grid.T))}

"""Convection and reaction, on which physics-informed networks are known to fail.

By L-BFGS in float64, with the slopes of the residual in the loss, too.
"""

import keras
import numpy as np
from common import SEED, by_lbfgs, network, relative_error
from keras import ops

import keras_derivs as kd

BETA, RHO = 50.0, 5.0


def convection(u, t, x):
    """u_t + β u_x = 0."""
    u_t, u_x = kd.partials(u, (t,), (x,))
    return u_t / BETA + u_x


def reaction(u, t, x):
    """u_t = ρ u (1 - u)."""
    return kd.diff(u, t) / RHO - u * (1 - u)


def bell(x, xp=np):
    return xp.exp(-((x - np.pi) ** 2) / (2 * (np.pi / 4) ** 2))


def sine(x, xp=np):
    return xp.sin(x)


def grown(t, x):
    start = bell(x)
    return start * np.exp(RHO * t) / (start * np.exp(RHO * t) + 1 - start)


CASES = {  # residual, initial values, solution
    "convection": (convection, sine, lambda t, x: np.sin(x - BETA * t)),
    "reaction": (reaction, bell, grown),
}


def build(name, width, depth, slope_weight=0.1, soft=True, scale=1):
    residual_of, start, _ = CASES[name]
    tx = keras.Input((2,), dtype="float64", name="tx")
    t, x = tx[:, :1], tx[:, 1:]
    net = network(1, width, depth)(
        ops.concatenate([scale * (2 * t - 1), ops.sin(x), ops.cos(x)], axis=1)
    )
    u = net if soft else start(x, ops) + t * net
    residual = residual_of(u, t, x)
    outputs = [residual]
    if slope_weight:
        outputs += [slope_weight * s for s in kd.partials(residual, (t,), (x,))]
    at_start = ops.cast(ops.equal(t, 0), "float64")
    if soft:
        outputs = [(1 - at_start) * y for y in outputs] + [3 * at_start * (u - start(x, ops))]
    return keras.Model(tx, {"u": u, "missing": ops.concatenate(outputs, axis=1)})


def points(count, at_start=200):
    random = np.random.default_rng(SEED)
    inside = random.uniform([0, 0], [1, 2 * np.pi], (count, 2))
    line = np.linspace(0, 2 * np.pi, at_start, endpoint=False)
    return np.concatenate([inside, np.stack([0 * line, line], axis=1)])


def run(name, width=50, depth=4, steps=3000, count=2000, **options):
    keras.utils.set_random_seed(SEED)
    model, tx = build(name, width, depth, **options), points(count)
    model.compile(loss={"missing": "mse"}, jit_compile=True)
    columns = model.output["missing"].shape[1]
    figures = by_lbfgs(name, model, tx, {"missing": np.zeros((len(tx), columns))}, steps)
    grid = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 2 * np.pi, 101))
    grid = np.stack(grid, -1).reshape(-1, 2)
    found = model.predict(grid, batch_size=len(grid), verbose=0)["u"]
    return figures | {"error": relative_error(found[:, 0], CASES[name][2](*grid.T))}

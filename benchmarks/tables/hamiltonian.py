"""Hamiltonian networks (Greydanus, Dzamba and Yosinski, 2019): how well energy is kept.

Data, networks, training and test are those of the authors' repository: states of sampled motions
and their rates are learned by a network of the rates (the baseline) and by one of the energy; then
15 other motions are followed, and the error of their energy is squared and averaged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import keras
import numpy as np
from common import SEED, by_adam
from keras import layers, ops

import keras_derivs as kd

MOTIONS, STEP = 15, 0.05  # of the test


def square(state):
    """q² + p²: the energy of the spring; the authors measure the pendulum by it, too."""
    return np.sum(state**2, axis=-1)


def spring(state):
    """The rates for H = q² + p²."""
    q, p = state[..., :1], state[..., 1:]
    return np.concatenate([2 * p, -2 * q], axis=-1)


def pendulum(state):
    """The rates for H = 3 (1 - cos q) + p²."""
    q, p = state[..., :1], state[..., 1:]
    return np.concatenate([2 * p, -3 * np.sin(q)], axis=-1)


def two_bodies(state):
    """The rates for two unit masses, x of both, y of both, then the momenta in this order."""
    between = state[..., [1, 3]] - state[..., [0, 2]]
    force = between / np.linalg.norm(between, axis=-1, keepdims=True) ** 3
    pull = np.stack([force[..., 0], -force[..., 0], force[..., 1], -force[..., 1]], axis=-1)
    return np.concatenate([state[..., 4:], pull], axis=-1)


def energy_of_two_bodies(state):
    distance = np.linalg.norm(state[..., [1, 3]] - state[..., [0, 2]], axis=-1)
    return 0.5 * np.sum(state[..., 4:] ** 2, axis=-1) - 1 / distance


def on_circles(low, high):
    """States in a random direction, at a random radius."""

    def start(random, count):
        direction = random.uniform(-1, 1, (count, 2))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return direction * random.uniform(low, high, (count, 1))

    return start


def in_squares(random, count):
    """Both entries between 0.2 and 1, of either sign."""
    return random.uniform(0.2, 1, (count, 2)) * random.choice([-1, 1], (count, 2))


def orbits(random, count):
    """Nearly circular orbits around the common centre."""
    x, y = random.uniform(0.5, 1.5, (2, count))
    speed = (1 + 0.05 * random.normal(size=count)) / (2 * (x**2 + y**2) ** 0.75)
    return np.stack([x, -x, y, -y, -y * speed, y * speed, x * speed, -x * speed], axis=1)


@dataclass
class System:
    """How to learn a system, and how to test what was learned."""

    rates: Callable
    measure: Callable
    train_on: Callable  # the starts of the motions
    test_on: Callable
    motions: int
    seconds: float  # of a motion
    states: int  # on it
    noise: float
    steps: int
    batch_size: int
    horizons: np.ndarray  # how long each of the test motions is followed


# The authors' notebook lengthens its array of times in place: by 9 % from motion to motion.
SYSTEMS = {
    "mass-spring": System(spring, square, on_circles(0.1, 1), in_squares, 25, 3, 30, 0.1,
                          2000, 750, 20 * 1.09 ** np.arange(1, MOTIONS + 1)),
    "pendulum": System(pendulum, square, on_circles(1.3, 2.3), in_squares, 25, 3, 45, 0.1,
                       2000, 1125, np.full(MOTIONS, 20)),
    "two bodies": System(two_bodies, energy_of_two_bodies, orbits, orbits, 800, 20, 50, 0.0,
                         10_000, 200, np.full(MOTIONS, 25)),
}  # fmt: skip


def follow(rates, state, times, step=STEP):
    """The states at all times, by the fourth-order Runge-Kutta method."""
    path = [state]
    for start, end in pairwise(times):
        count = int(np.ceil((end - start) / step - 1e-9))
        h = (end - start) / count
        for _ in range(count):
            k1 = rates(state)
            k2 = rates(state + h / 2 * k1)
            k3 = rates(state + h / 2 * k2)
            k4 = rates(state + h * k3)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(state)
    return np.stack(path)


def data(system, random):
    """States with noise, and their rates without."""
    times = np.linspace(0, system.seconds, system.states)
    states = follow(system.rates, system.train_on(random, system.motions), times, 0.02)
    states = states.reshape(-1, states.shape[-1])
    noise = system.noise * random.normal(size=states.shape)
    return (states + noise).astype("float32"), system.rates(states).astype("float32")


def dense(outputs, decay, **options):
    penalty = keras.regularizers.L2(decay / 2) if decay else None
    return layers.Dense(outputs, kernel_initializer="orthogonal", kernel_regularizer=penalty,
                        bias_regularizer=penalty if options.get("use_bias", True) else None,
                        **options)  # fmt: skip


def build(kind, inputs, decay):
    """The rates of a state: by a network, or by the gradient of one."""
    state = keras.Input((inputs,), name="state")
    hidden = dense(200, decay, activation="tanh")(dense(200, decay, activation="tanh")(state))
    if kind == "baseline":
        return keras.Model(state, dense(inputs, decay, use_bias=False)(hidden))
    slope = kd.gradient(dense(1, decay, use_bias=False)(hidden), state)
    half = inputs // 2
    return keras.Model(state, ops.concatenate([slope[:, half:], -slope[:, :half]], axis=1))


def run(name, kind, steps=None, seed=SEED):
    system, random = SYSTEMS[name], np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    x, y = data(system, random)
    model = build(kind, x.shape[1], 1e-4 if system.noise else 0)

    def batch():
        if system.batch_size >= len(x):
            return x, y
        rows = random.integers(len(x), size=system.batch_size)
        return x[rows], y[rows]

    figures = by_adam(f"{name}, {kind}", model, batch, steps or system.steps)
    return figures | {"error": energy_error(system, model, random)}


def energy_error(system, model, random):
    """Of the learned against the true motions, squared, averaged over times and motions."""
    begin = system.test_on(random, MOTIONS)
    times = np.arange(0, np.max(system.horizons) + STEP, STEP)
    learned = follow(model.predict_on_batch, begin.astype("float32"), times)
    true = follow(system.rates, begin, times)
    errors = (system.measure(learned) - system.measure(true)) ** 2
    seen = times[:, None] <= system.horizons
    return float(np.mean(np.sum(errors * seen, axis=0) / np.sum(seen, axis=0)))

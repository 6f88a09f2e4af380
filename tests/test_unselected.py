"""No NaN from entries that do not reach the output, whatever leaves them out.

The slopes of the functions are infinite at 0, and the selections leave the entries at 0 out. Of all
of them the entries at `REACHED` are left, so that derivatives are those of numbers.
"""

import functools

import keras
import numpy as np
import pytest
from framework import BACKEND, COMPILERS, compiled, gradients
from keras import layers, ops
from truth import DIFFERENCES, along, close, numpy

import keras_derivs as kd
from keras_derivs.backend.wide import wide

POINT, REACHED, WEIGHT = np.array([0, 0.25, 1.44, 0, 0.81, 0]), [1, 2, 4], 1.3
MASK = np.isin(np.arange(6), REACHED)[None]


def pair(z):
    return ops.stack([z, 2 * z], axis=-1)


FUNCTIONS = {
    "sqrt": ops.sqrt,
    "x**0.5": lambda z: z**0.5,
    "log": ops.log,
    "-1 / x": lambda z: -1 / z,
    "rsqrt": lambda z: -ops.rsqrt(z),
    "arccos": lambda z: ops.arccos(1 - z / 2),
    "norm": lambda z: ops.norm(pair(z), axis=-1),
    "hypot": lambda z: ops.hypot(z, 2 * z),
    "logsumexp of logarithms": lambda z: ops.logsumexp(ops.log(pair(z)), axis=-1),
    "cosine of a root": lambda z: -ops.cos(ops.sqrt(z) / 2),
}


def pairs(h):
    return ops.reshape(h, (-1, 3, 2))


def sums(h):
    return ops.sum(pairs(h), axis=2)


def beside(h):
    """What follows when the first reached entry is there already."""
    return ops.concatenate([h[:, 2:3], h[:, 4:5]], axis=1)


SELECTIONS = {
    "slices": lambda h: ops.concatenate([h[:, :4][:, 1:3], h[:, 4:5]], axis=1),
    "split": lambda h: ops.concatenate([ops.split(h, 6, axis=1)[n] for n in REACHED], axis=1),
    "split at": lambda h: ops.concatenate(ops.split(h, [1, 3, 4, 5], axis=1)[1::2], axis=1),
    "unstack": lambda h: ops.stack([ops.unstack(h, axis=1)[n] for n in REACHED], axis=1),
    "take": lambda h: ops.take(h, REACHED, axis=1),
    "take of rows": lambda h: ops.transpose(ops.take(ops.transpose(h), REACHED, axis=0)),
    "take one by one": lambda h: ops.stack([ops.take(h, n, axis=1) for n in REACHED], axis=1),
    "take by the largest": lambda h: ops.take_along_axis(
        pairs(h), ops.expand_dims(ops.argmax(pairs(h), axis=2), 2), axis=2
    ),
    "max": lambda h: ops.max(pairs(h), axis=2),
    "min": lambda h: -ops.min(-pairs(h), axis=2),
    "maximum": lambda h: ops.maximum(h[:, ::2], h[:, 1::2]),
    "sort": lambda h: ops.sort(h, axis=1)[:, 3:],
    "top_k": lambda h: ops.top_k(h, 3)[0],
    "max pooling": lambda h: ops.max_pool(ops.expand_dims(h, 2), 2, 2),
    "where": lambda h: sums(ops.where(MASK, h, ops.zeros_like(h))),
    "roll": lambda h: ops.concatenate([ops.roll(h, 1, axis=1)[:, 2:3], beside(h)], axis=1),
    "flip": lambda h: ops.concatenate([ops.flip(h, axis=1)[:, 4:5], beside(h)], axis=1),
    "transpose": lambda h: ops.concatenate(
        [ops.transpose(pairs(h), (0, 2, 1))[:, 1, :1], beside(h)], axis=1
    ),
    "pad": lambda h: ops.concatenate([ops.pad(h, [[0, 0], [2, 3]])[:, 3:4], beside(h)], axis=1),
    "tile": lambda h: ops.concatenate([ops.tile(h, [1, 2])[:, 7:8], beside(h)], axis=1),
    "cumsum": lambda h: ops.concatenate([ops.cumsum(h[:, 1:], axis=1)[:, :1], beside(h)], axis=1),
}


class Selecting(layers.Layer):
    """The sum of sin(selected entries of f(w x)) of each selection, with weights of its own."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = self.add_weight(shape=(len(SELECTIONS), 6))
        self.weight.assign(np.full(self.weight.shape, WEIGHT))

    def call(self, x):
        z = self.weight * x
        parts = [
            ops.reshape(ops.sin(selection(self.function(z[:, n]))), (-1, 3))
            for n, selection in enumerate(SELECTIONS.values())
        ]
        return ops.sum(ops.concatenate(parts, axis=1), axis=1, keepdims=True)


def model_of(function):
    x = keras.Input((len(SELECTIONS), 6), dtype="float64")
    selecting = Selecting(FUNCTIONS[function])
    return keras.Model(x, selecting(x)), selecting.weight


@functools.cache
def slopes(function):
    """The derivatives of sin(f(z)) at what is reached, by interpolation."""
    z = np.array([[WEIGHT * POINT[n]] for n in REACHED])
    compute = lambda z: numpy(ops.sin(FUNCTIONS[function](ops.convert_to_tensor(z))))  # noqa: E731
    return [found[:, 0] for found in along(compute, z, np.ones_like(z), 3, radius=0.05)]


def check(found, expected, order):
    """All selections agree with the numbers at what is reached, and with 0 elsewhere."""
    truth = np.zeros(6)
    truth[REACHED] = expected
    for name, row in zip(SELECTIONS, np.reshape(numpy(found), (-1, 6))):
        assert np.isfinite(row).all(), (name, row)
        close(row, truth, DIFFERENCES[order])


def point():
    return np.tile(POINT, (1, len(SELECTIONS), 1))


@pytest.fixture(autouse=True)
def in_double_precision(all_float64):
    """Keras narrows float64 on JAX and PyTorch."""
    with wide():
        yield


def every_function(everyday):
    return pytest.mark.parametrize(
        "function",
        [pytest.param(f, marks=[] if f in everyday else pytest.mark.slow) for f in FUNCTIONS],
    )


@every_function(["sqrt"])
def test_first_derivatives(function):
    model, weight = model_of(function)
    made, (_, first, second, _) = kd.Gradient(model, audit=False), slopes(function)
    check(made(point()), WEIGHT * first, 1)
    (found,) = gradients(lambda: ops.sum(made(point())), [weight])
    check(found, first + WEIGHT * POINT[REACHED] * second, 2)


def along_ones(model):
    made = kd.HVP(model, audit=False)
    return lambda x: made([x, np.ones_like(x)])


@every_function(["sqrt"])
def test_second_derivatives(function):
    model, weight = model_of(function)
    made, (_, _, second, third) = along_ones(model), slopes(function)
    check(made(point()), WEIGHT**2 * second, 2)
    (found,) = gradients(lambda: ops.sum(made(point())), [weight])
    check(found, 2 * WEIGHT * second + WEIGHT**2 * POINT[REACHED] * third, 3)


@pytest.mark.parametrize("mode", COMPILERS[BACKEND])
def test_compiled(mode):
    model, _ = model_of("sqrt")
    made = kd.Gradient(model, audit=False)
    check(compiled(made)[mode](ops.convert_to_tensor(point())), WEIGHT * slopes("sqrt")[1], 1)


@pytest.mark.parametrize("columns", [slice(0, 1), slice(1, 3)])
def test_a_matrix_of_numbers_of_both_signs(columns):
    """Which entries a product takes part in does not depend on the signs of a constant."""
    matrix = np.random.default_rng(0).normal(size=(4, 4))
    x = keras.Input((4,))
    h = layers.Lambda(lambda x: ops.matmul(ops.sqrt(x), matrix)[:, columns], output_shape=(1,))(x)
    model = keras.Model(x, ops.sum(ops.tanh(h), axis=1, keepdims=True))
    at = np.random.default_rng(1).uniform(0.5, 2, (3, 4))
    value, found = kd.Gradient(model, return_value=True, strategy="reverse")(at)
    h = np.tanh(np.sqrt(at) @ matrix[:, columns])
    close(value, h.sum(axis=1, keepdims=True), DIFFERENCES[1])
    close(found, (1 - h**2) @ matrix[:, columns].T / (2 * np.sqrt(at)), DIFFERENCES[1])

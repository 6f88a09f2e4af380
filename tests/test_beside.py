"""Derivatives beside one that is infinite: zeros and numbers, as where there is none."""

import keras
import numpy as np
import pytest
from framework import BACKEND, COMPILERS, compiled, gradients
from keras import ops
from truth import EXACT, numpy

import keras_derivs as kd

POINT = np.array([[0.0, 1.0, 4.0], [2.0, 0.0, 3.0]])
# f(x_n) for every n -> f and its first and its second derivative
EACH = {
    "sqrt": (ops.sqrt, lambda x: 0.5 * x**-0.5, lambda x: -0.25 * x**-1.5),
    "x**0.5": (lambda x: x**0.5, lambda x: 0.5 * x**-0.5, lambda x: -0.25 * x**-1.5),
    "x**1.5": (lambda x: x**1.5, lambda x: 1.5 * x**0.5, lambda x: 0.75 * x**-0.5),
    "1 / x": (lambda x: 1 / x, lambda x: -(x**-2), lambda x: 2 * x**-3),
    "log": (ops.log, lambda x: 1 / x, lambda x: -(x**-2)),
    "exp": (
        lambda x: ops.exp(900 * (1 - x)),
        lambda x: -900 * np.exp(900 * (1 - x)),
        lambda x: 810000 * np.exp(900 * (1 - x)),
    ),
}
# what stands behind such a function, and keeps its entries apart
BEHIND = {
    "axes": lambda h: ops.reshape(ops.transpose(ops.stack([h, 2 * h], 1), (0, 2, 1))[..., 0], (-1, 3)),
    "parts": lambda h: ops.concatenate(ops.split(h, 3, axis=1), axis=1),
    "slices": lambda h: ops.concatenate([h[:, :1], h[:, 1:]], axis=1),
    "entries": lambda h: ops.flip(ops.take(h, [2, 1, 0], axis=1), axis=1),
    "where": lambda h: ops.where(np.array([[True, False, True]]), h, h + 1),
    "maximum": lambda h: ops.maximum(h, h - 1),
    "sums": lambda h: ops.sum(ops.expand_dims(h, 2) * np.eye(3)[None, :1], axis=2) / np.ones(3),
    "pad": lambda h: ops.pad(h, [[0, 0], [1, 0]])[:, 1:],
}  # fmt: skip


def model_of(function):
    x = keras.Input((3,), dtype="float64")
    return keras.Model(x, function(x))


def diagonal(name, order, ndim):
    """The derivatives of every output by every input: zeros but on the diagonal."""
    with np.errstate(all="ignore"):
        found = EACH[name][order](POINT)
    true = np.zeros((2, *[3] * ndim))
    for n in range(3):
        true[(slice(None), *[n] * ndim)] = found[:, n]
    return true


def check(found, true):
    np.testing.assert_allclose(numpy(found), true, rtol=EXACT["float64"], atol=EXACT["float64"])


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("strategy", ["reverse", "forward"])
@pytest.mark.parametrize("name", EACH)
def test_jacobians(name, strategy, chunk_size, float64):
    made = kd.Jacobian(model_of(EACH[name][0]), strategy=strategy, chunk_size=chunk_size)
    check(made(POINT), diagonal(name, 1, 2))


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("name", EACH)
def test_hessians(name, chunk_size, float64):
    model = model_of(EACH[name][0])
    made = kd.Hessian(model, strategy="reverse", chunk_size=chunk_size)
    check(made(POINT), diagonal(name, 2, 3))
    model = model_of(lambda x: ops.sum(EACH[name][0](x), axis=1, keepdims=True))
    made = kd.Hessian(model, strategy="reverse", chunk_size=chunk_size)
    check(made(POINT), diagonal(name, 2, 2))


@pytest.mark.parametrize("name", BEHIND)
def test_behind(name, float64):
    made = kd.Jacobian(model_of(lambda x: BEHIND[name](ops.sqrt(x))), strategy="reverse")
    check(made(POINT), diagonal("sqrt", 1, 2))


@pytest.mark.parametrize("mode", COMPILERS[BACKEND])
def test_compiled(mode, float64):
    made = kd.Jacobian(model_of(ops.sqrt), strategy="reverse")
    check(compiled(made)[mode](ops.convert_to_tensor(POINT)), diagonal("sqrt", 1, 2))


def test_a_root_that_is_squared_is_none(float64):
    """No zero stands for what is no number: 0 times an infinite slope, of one entry."""
    found = numpy(kd.Jacobian(model_of(lambda x: ops.sqrt(x) * ops.exp(ops.sqrt(x))))(POINT))
    beside = ~np.eye(3, dtype=bool)
    assert (found[:, beside] == 0).all() and not (found[:, ~beside][POINT == 0] == 0).any()


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_weights(start, float64):
    """The slopes by a weight, which may be zero, of the entries that are numbers."""
    x, dense = keras.Input((3,), dtype="float64"), keras.layers.Dense(3, use_bias=False)
    model = keras.Model(x, ops.sqrt(x) + ops.square(dense(x)))
    dense.set_weights([np.full((3, 3), start)])
    made = kd.Jacobian(model, strategy="reverse")
    seen = np.isfinite(diagonal("sqrt", 1, 2))
    loss = lambda: ops.sum(ops.where(seen, made(POINT), 0.0) ** 2)  # noqa: E731
    (found,) = gradients(loss, [dense.kernel])

    def plain(w):
        h = POINT @ w
        jacobian = 2 * h[:, :, None] * w.T[None]
        with np.errstate(all="ignore"):
            jacobian = jacobian + diagonal("sqrt", 1, 2)
        return np.sum(np.where(seen, jacobian, 0) ** 2)

    step, units = 1e-4, np.eye(9).reshape(9, 3, 3)
    w = np.full((3, 3), start)
    true = [(plain(w + step * u) - plain(w - step * u)) / (2 * step) for u in units]
    np.testing.assert_allclose(numpy(found), np.reshape(true, (3, 3)), rtol=1e-6, atol=1e-6)

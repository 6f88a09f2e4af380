"""The operators of polynomials, which users' rules are written with, with others of any width."""

import math
import operator

import keras
import numpy as np
import pytest
import truth
from keras import layers, ops

import keras_derivs as kd
from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.engine.taylor.shapes import spread
from keras_derivs.engine.taylor.space import Space
from keras_derivs.engine.terms import Sum

X = np.random.default_rng(0).uniform(0.5, 1.5, (3, 1))
V = np.random.default_rng(1).uniform(0.5, 1.5, (3, 1))
OTHERS = {
    "number": 2.5,
    "integer": 3,
    "scalar": np.array(1.5),
    "wider": np.array([1.5, 2.5, 0.5]),
    "a row for each sample": np.array([[1.5], [2.5], [0.5]]),
    "wider, for each sample": np.random.default_rng(2).uniform(0.5, 1.5, (3, 4)),
    "of more axes": np.random.default_rng(2).uniform(0.5, 1.5, (2, 3, 4)),
    "tensor": ops.convert_to_tensor(np.array([1.5, 2.5]), "float64"),
}
OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "**": operator.pow,
}  # fmt: skip
COLLAPSED = Sum(((0, 0),), ((1.0, -2.0),))
SPACES = {
    "order 3": (Space([(0, 0, 0)]), 1),
    "two directions": (Space([(0, 0)], directions=2), 2),
    "collapsed": (Space(sums=[COLLAPSED], directions=2), 2),
}


def numeric(f, space, directions):
    """The coefficients along each direction."""
    found = []
    for n in range(directions):
        slopes = truth.along(f, X, (n + 1) * V, orders=3)
        found.append([slope / math.factorial(k) for k, slope in enumerate(slopes)])
    if COLLAPSED in space.terms:
        second = found[0][2] - 2 * found[1][2]
        return {(): found[0][0], (0,): np.stack([c[1] for c in found]), COLLAPSED: second}
    if space.directions is None:
        return {(0,) * k: found[0][k] for k in range(4)}
    both = {(0,) * k: np.stack([c[k] for c in found]) for k in (1, 2)}
    return {(): found[0][0], **both}


@pytest.mark.parametrize("swapped", [False, True], ids=["x, c", "c, x"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name, other, space, swapped):
    space, directions = SPACES[space]
    apply, c = OPERATORS[name], OTHERS[other]
    move = V if space.directions is None else np.stack([V, 2 * V])
    x = Polynomial(space, {(): ops.convert_to_tensor(X), (0,): ops.convert_to_tensor(move)})
    y = x * x
    if swapped and ops.is_tensor(c):
        return  # a tensor of TensorFlow does not ask `other`
    found = spread(apply(c, y) if swapped else apply(y, c)).table
    plain = np.asarray(c)
    expected = numeric(
        lambda x: apply(plain, x * x) if swapped else apply(x * x, plain), space, directions
    )
    for term, value in expected.items():
        got = np.asarray(found[term]) if term in found else np.zeros_like(value)
        assert got.shape == value.shape
        np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-7)  # of the fit


@pytest.mark.parametrize("name", OPERATORS)
def test_two_polynomials_of_two_widths(name, float64):
    x = keras.Input((2,), dtype="float64")

    class Mine(layers.Layer):
        def call(self, x):
            return OPERATORS[name](x * x, x[:, :1] + ops.ones(3, x.dtype))

    model = keras.Model(x, Mine(dtype="float64")(x[:, :1]))
    kd.taylor_rule(Mine)(lambda layer, x: OPERATORS[name](x * x, x + np.ones(3)))
    at = np.random.default_rng(0).uniform(0.5, 1.5, (3, 2))
    found = kd.HessianDiagonal(model, strategy="taylor")(at)
    expected = kd.HessianDiagonal(model, strategy="tape")(at)
    np.testing.assert_allclose(truth.numpy(found), truth.numpy(expected), rtol=1e-9)

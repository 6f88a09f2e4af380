"""One convention at kinks and singular points, for both engines: see `rules_piecewise`."""

import math

import keras
import numpy as np
import pytest
import truth
from framework import BACKEND
from keras import layers, ops
from truth import EXACT, close

import keras_derivs as kd

INF = float("inf")
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*(No second derivative|single points)")


def pair(x):
    """Two entries that meet at 0 and at 1."""
    return ops.concatenate([x, x * x], axis=1)


def twice(x):
    """A vector that is zero at 0."""
    return ops.concatenate([3 * x, 4 * x], axis=1)


def along(function, build=pair, **options):
    return lambda x: function(build(x), axis=1, **options)[:, None]


# name -> (function, [(point, first, second derivative), ...])
KINKS = {
    "absolute": (ops.absolute, [(0, 0, 0)]),
    "sign": (lambda x: ops.sign(x) + x, [(0, 1, 0)]),
    "relu": (ops.relu, [(0, 0, 0)]),
    "relu6": (ops.relu6, [(0, 0, 0), (6, 0, 0)]),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.25), [(0, 0.25, 0)]),
    "ReLU": (lambda x: layers.ReLU(1.5, 0.1, 0.3)(x), [(0.3, 0.1, 0), (1.5, 0, 0)]),
    "PReLU": (lambda x: layers.PReLU("ones")(x), [(0, 0, 0)]),
    "elu": (lambda x: ops.elu(x, 2.0), [(0, 2, 2)]),
    "celu": (lambda x: ops.celu(x, 2.0), [(0, 1, 0.5)]),
    "selu": (ops.selu, [(0, 1.7580993408473766, 1.7580993408473766)]),
    "softsign": (ops.softsign, [(0, 1, 0)]),
    "clip": (lambda x: ops.clip(x, -1.0, 2.0), [(-1, 1, 0), (2, 1, 0)]),
    "hard_tanh": (ops.hard_tanh, [(-1, 1, 0), (1, 1, 0)]),
    "hard_sigmoid": (ops.hard_sigmoid, [(-3, 0, 0), (3, 0, 0)]),
    "hard_silu": (ops.hard_silu, [(-3, 0, 0), (3, 1, 0)]),
    "hard_shrink": (ops.hard_shrink, [(-0.5, 0, 0), (0.5, 0, 0)]),
    "soft_shrink": (ops.soft_shrink, [(-0.5, 0, 0), (0.5, 0, 0)]),
    "sparse_plus": (ops.sparse_plus, [(-1, 0, 0), (1, 1, 0)]),
    "sparse_sigmoid": (ops.sparse_sigmoid, [(-1, 0, 0), (1, 0, 0)]),
    "threshold": (lambda x: ops.threshold(x, 0.5, 0.1), [(0.5, 0, 0)]),
    "maximum": (lambda x: ops.maximum(x, x * x), [(0, 0.5, 1), (1, 1.5, 1)]),
    "minimum": (lambda x: ops.minimum(x, x * x), [(0, 0.5, 1), (1, 1.5, 1)]),
    "fmax": (lambda x: ops.fmax(x, 3.0), [(3, 0.5, 0)]),
    "fmin": (lambda x: ops.fmin(3.0, x), [(3, 0.5, 0)]),
    "max": (along(ops.max), [(0, 0.5, 1), (1, 1.5, 1)]),
    "min": (along(ops.min), [(0, 0.5, 1), (1, 1.5, 1)]),
    "ptp": (along(ops.ptp), [(0, 0, 0)]),
    "max pooling": (
        lambda x: ops.max_pool(pair(x)[:, :, None], 2)[:, 0],
        [(0, 1, 0), (1, 1, 0)],
    ),
    "sort": (lambda x: ops.sort(pair(x), axis=1)[:, :1], [(1, 1, 0)]),
    "median": (along(ops.median, lambda x: ops.concatenate([x, x * x, x**3], 1)), [(1, 2, 2)]),
    "norm": (along(ops.norm, twice), [(0, 0, 0), (2, 5, 0)]),
    "norm of order 1": (along(ops.norm, twice, ord=1), [(0, 0, 0)]),
    "std": (along(ops.std, twice), [(0, 0, 0), (2, 0.5, 0)]),
    "hypot": (lambda x: ops.hypot(3 * x, 4 * x), [(0, 0, 0), (2, 5, 0)]),
    "normalize": (
        lambda x: ops.normalize(ops.concatenate([x, x * x], axis=1), axis=1)[:, :1],
        [(0, 1e7, 0)],
    ),
    "logaddexp": (lambda x: ops.logaddexp(x, 2 * x), [(0, 1.5, 0.25)]),
    "logaddexp2": (lambda x: ops.logaddexp2(x, 2 * x), [(0, 1.5, 0.25 * math.log(2))]),
    "where, by its own value": (
        lambda x: ops.where(1 / x > 3, 3 * ops.ones_like(x), 1 / x),
        [(0.1, 0, 0), (0.5, -4, 16)],
    ),
    "clip of a pole": (lambda x: ops.clip(1 / x, -3.0, 3.0), [(0.5, -4, 16), *([] if BACKEND == "torch" else [(0, 0, 0)])]),
    "x**1.5": (lambda x: x**1.5, [(0, 0, INF)]),
    "x**2.5": (lambda x: x**2.5, [(0, 0, 0)]),
    "x**-2": (lambda x: x**-2, [(-0.5, 16, 96)]),
    "sqrt": (ops.sqrt, [(0, INF, -INF)]),
    "cbrt": (ops.cbrt, [(0, INF, -INF), (-1, 1 / 3, 2 / 9)]),
    "power of an array": (
        lambda x: ops.sum(x ** np.arange(4.0), axis=1, keepdims=True),
        [(0, 1, 2), (-1, 2, -4)],
    ),
    "power of a constant": (lambda x: ops.power(0.0, x), [(2, 0, 0)]),
    "power of both": (lambda x: ops.power(x, x + 2), [(0, 0, 2), (1, 3, 8)]),
    "unselected logarithm": (
        lambda x: ops.where(x > 0, x * ops.log(x), 2 * x),
        [(0, 2, 0), (1, 1, 1)],
    ),
    "unselected exponential": (
        lambda x: ops.where(x > 20, x, ops.log(1 + ops.exp(x))),
        [(0, 0.5, 0.25), (1000, 1, 0)],
    ),
    "unselected quotient": (
        lambda x: ops.where(ops.equal(x, 0), 1 + x, ops.sin(x) / x),
        [(0, 1, 0)],
    ),
    "select": (
        lambda x: ops.select([x < 0, x < 1], [ops.log(x), x * x], ops.sqrt(x - 1)),
        [(0.5, 1, 2), (2, 0.5, -0.25)],
    ),
}  # fmt: skip


# Roots of sums of squares: on JAX and PyTorch their second derivative at 0 is no number.
ROOTS = {"norm", "std", "hypot"}


def skip_what_keras_has_not(model, x):
    """Keras 3.15 has no norm along an axis on JAX, and no pooling with strides left out."""
    try:
        model(x)
    except (TypeError, ValueError):
        if BACKEND == "tensorflow":
            raise
        pytest.skip("Keras itself does not compute it on this backend")


@pytest.mark.filterwarnings("ignore:.*(Piecewise|Constant|piece).*")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("strategy", ["taylor", "tape"])
@pytest.mark.parametrize("name", KINKS)
def test_convention(name, strategy, float64):
    function, rows = KINKS[name]
    x = keras.Input((1,), dtype="float64")
    model = keras.Model(x, function(x))
    at, *expected = np.array(rows, "float64").T
    skip_what_keras_has_not(model, at[:, None])
    found = kd.Partials(model, [(0,), (0, 0)], strategy=strategy)(at[:, None])
    if BACKEND != "tensorflow" and strategy == "tape" and name in ROOTS:
        expected[1] = np.where(at == 0, np.nan, expected[1])
    for one, other in zip(found, expected):
        np.testing.assert_allclose(np.ravel(truth.numpy(one)), other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["x**1.5", "sqrt", "x**2.5"])
def test_what_does_not_move_is_finite(name, float64):
    """A direction along the second entry, where the first is at the singular point."""
    x = keras.Input((2,), dtype="float64")
    model = keras.Model(x, ops.sum(KINKS[name][0](x), axis=1, keepdims=True))
    at = np.array([[0.0, 4.0]])
    first, second = kd.Partials(model, [(1,), (1, 1)], strategy="taylor")(at)
    first, second = truth.numpy(first), truth.numpy(second)
    assert np.isfinite(first) and np.isfinite(second) and first != 0
    diagonal = truth.numpy(kd.HessianDiagonal(model, strategy="taylor")(at)).ravel()
    np.testing.assert_allclose(diagonal[1], np.ravel(second))


FAR = {
    "tanh": (ops.tanh, [-1e3, 1e3]),
    "sigmoid": (ops.sigmoid, [-1e3, 1e3]),
    "softplus": (ops.softplus, [-1e3, 1e3]),
    "log_sigmoid": (ops.log_sigmoid, [-1e3, 1e3]),
    "gelu": (lambda x: ops.gelu(x, approximate=False), [-1e3, 1e3]),
    "gelu, approximate": (ops.gelu, [-1e3, 1e3]),
    "silu": (ops.silu, [-1e3, 1e3]),
    "mish": (layers.Activation("mish"), [-1e3, 1e3]),
    "erf": (ops.erf, [-1e3, 1e3]),
    "elu": (ops.elu, [-1e3, 1e3]),
    "selu": (ops.selu, [-1e3, 1e3]),
    "celu": (ops.celu, [-1e3, 1e3]),
    "softsign": (ops.softsign, [-1e25, 1e25]),
    "arctan": (ops.arctan, [-1e25, 1e25]),
    "arcsinh": (ops.arcsinh, [-1e25, 1e25]),
    "hypot": (lambda x: ops.hypot(x, 2 * x), [-1e25, 1e25]),
    "logaddexp": (lambda x: ops.logaddexp(x, -x), [-1e3, 1e3]),
    "logsumexp": (along(ops.logsumexp, twice), [-1e3, 1e3]),
    "softmax": (lambda x: ops.softmax(twice(x))[:, :1], [-1e3, 1e3]),
    "log_softmax": (lambda x: ops.log_softmax(twice(x))[:, :1], [-1e3, 1e3]),
}


@pytest.mark.parametrize("strategy", ["taylor", "tape"])
@pytest.mark.parametrize("name", FAR)
def test_far_out(name, strategy):
    function, points = FAR[name]
    x = keras.Input((1,))
    model = keras.Model(x, function(x))
    terms = [(0,) * n for n in range(1, 5)]
    at = np.array(points, "float32")[:, None]
    for found in kd.Partials(model, terms, strategy=strategy)(at):
        assert np.all(np.isfinite(truth.numpy(found))), (name, found)


LEFT_OUT = {
    "slice": lambda z: z[:, 1:],
    "largest": lambda z: ops.max(z, axis=1, keepdims=True),
    "largest of several": lambda z: ops.top_k(z, 1)[0],
    "sorted": lambda z: ops.sort(z, axis=1)[:, 1:],
    "pooled": lambda z: ops.squeeze(ops.max_pool(z[:, :, None], 2, 1), 1),
}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of the tape: on TensorFlow alone so far")
@pytest.mark.parametrize("name", LEFT_OUT)
def test_an_entry_that_is_left_out_may_have_an_infinite_slope(name):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, LEFT_OUT[name](ops.sqrt(inputs)))
    x = np.array([[0.0, 4.0]], "float32")
    close(kd.Gradient(model)(x), [[0, 0.25]], EXACT["float32"])
    close(kd.HessianDiagonal(model)(x), [[0, -1 / 32]], EXACT["float32"])


@pytest.mark.parametrize("strategy", ["taylor", "reverse"][: 1 + (BACKEND == "tensorflow")])
def test_an_angle_has_no_derivative_at_the_origin(strategy):
    x = keras.Input((2,))
    model = keras.Model(x, ops.arctan2(x[:, :1], x[:, 1:]))
    layer = kd.Partials(model, [(0,), (1,)], strategy=strategy)
    at = np.array([[0.0, 0.0], [0.0, 1.0]], "float32")
    found = np.concatenate([ops.convert_to_numpy(part) for part in layer(at)], axis=1)
    assert not np.any(np.isfinite(found[0]))
    np.testing.assert_allclose(found[1], [1, 0])


def test_the_magnitude_of_a_complex_number_has_curvature(float64):
    """It is no piecewise linear function, of which there would be a warning."""
    x = keras.Input((2,), dtype="float64")
    magnitude = layers.Lambda(lambda x: ops.abs(ops.view_as_complex(x))[:, None])
    found = kd.Hessian(keras.Model(x, magnitude(x)), strategy="reverse")(np.array([[3.0, 4.0]]))
    close(found, [[[16 / 125, -12 / 125], [-12 / 125, 9 / 125]]], EXACT["float32"])

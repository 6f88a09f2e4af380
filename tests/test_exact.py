"""Gradients are exact at zeros, ties and large numbers, where a framework's own may not be."""

import keras
import mpmath
import numpy as np
import pytest
from framework import BACKEND
from keras import layers, ops
from truth import DIFFERENCES, EXACT, SINGLE, close, hessian, jacobian, numpy, predict

import keras_derivs as kd

ORDER = 4


def layer(function, shape, dtype="float64"):
    x = keras.Input(shape, dtype=dtype)
    return keras.Model(x, layers.Flatten()(layers.Lambda(function)(x)))


def same(number):
    return lambda x: number * ops.ones_like(x)


# function of one number -> (where, function in high precision or {order: derivative, else 0})
SMOOTH = {
    "logaddexp at a tie": (
        lambda x: ops.logaddexp(x, same(0)(x)), 0, lambda x: mpmath.log(mpmath.exp(x) + 1)
    ),
    "logaddexp2 at a tie": (
        lambda x: ops.logaddexp2(same(1)(x), x), 1, lambda x: mpmath.log(2**x + 2, 2)
    ),
    "logsumexp at a tie": (
        lambda x: ops.logsumexp(ops.concatenate([x, 0 * x], 1), axis=1, keepdims=True), 0,
        lambda x: mpmath.log(mpmath.exp(x) + 1),
    ),
    "hypot at a tie": (lambda x: ops.hypot(x, same(1)(x)), 1, lambda x: mpmath.hypot(x, 1)),
    "hypot of large numbers": (
        lambda x: 1e-200 * ops.hypot(1e200 * x, same(1e200)(x)), 1, lambda x: mpmath.hypot(x, 1)
    ),
    "i0 at 0": (ops.i0, 0, lambda x: mpmath.besseli(0, x)),
    "softplus of a large number": (ops.softplus, 1e3, {0: 1e3, 1: 1}),
    "softplus of a small number": (ops.softplus, -1e3, {}),
    "tanh of a large number": (ops.tanh, 1e3, {0: 1}),
    "several powers at 0": (
        lambda x: ops.sum(ops.power(x, np.arange(5.0)), 1, keepdims=True), 0,
        {n: np.prod(np.arange(1.0, n + 1)) for n in range(5)},
    ),
    "ldexp at 0": (lambda x: ops.ldexp(x, np.array([3], "int32")), 0, {1: 8}),
    "sinc at 0": (ops.sinc, 0, {0: 1, 2: -(np.pi**2) / 3, 4: np.pi**4 / 5}),
    "logarithm of a complex number": (
        lambda x: ops.real(ops.log(ops.cast(x, "complex128") * (1 + 2j))), 0.3,
        lambda x: mpmath.log(5) / 2 + mpmath.log(x),
    ),
    "cumprod at 0": (
        lambda x: ops.cumprod(ops.concatenate([x, x, x + 3], 1), 1)[:, 2:], 0, {2: 6, 3: 6}
    ),
    "prod at 0": (
        lambda x: ops.prod(ops.concatenate([x, x, x + 3], 1), 1, keepdims=True), 0, {2: 6, 3: 6}
    ),
    "norm of order 3, squared": (
        lambda x: ops.norm(x * ops.convert_to_tensor([[1.0, 2.0]], x.dtype), ord=3, axis=1, keepdims=True) ** 2, 0.7,
        lambda x: mpmath.cbrt(9) ** 2 * x * x,
    ),
    "clip at a number": (lambda x: ops.clip(x, -1.0, 0.1), 0.1, {0: 0.1, 1: 1}),
    "normalize at 0": (lambda x: ops.normalize(x, epsilon=0.01), 0, {1: 100}),
    "x log x": (lambda x: ops.where(x > 0, x * ops.log(x), x), 0, {1: 1}),
    "log(1 + exp x)": (
        lambda x: ops.where(x < 30, ops.log(1 + ops.exp(x)), x), 1e3, {0: 1e3, 1: 1}
    ),
    "log of a root": (
        lambda x: ops.where(x > 0, ops.sqrt(x) * ops.log(ops.sqrt(x)), x * x), 0, {2: 2}
    ),
    "exp(1 / x)": (lambda x: ops.where(x < 1, x * x, ops.exp(1 / x)), 0, {2: 2}),
    "maximum of a root": (lambda x: ops.maximum(ops.sqrt(x) - 1, x * x - 0.5), 0, {0: -0.5, 2: 2}),
}  # fmt: skip
KINKS = {
    "elu": (ops.elu, 0, dict.fromkeys(range(1, 5), 1)),
    "elu, alpha": (lambda x: ops.elu(x, 2.0), 0, dict.fromkeys(range(1, 5), 2)),
    "celu": (ops.celu, 0, dict.fromkeys(range(1, 5), 1)),
    "selu": (ops.selu, 0, dict.fromkeys(range(1, 5), 1.7580993408473766)),
    "minimum": (lambda x: ops.minimum(x, 3 * x), 0, {1: 2}),
}
ROWS = {**SMOOTH, **KINKS}


def expected(truth, x):
    if isinstance(truth, dict):
        return [truth.get(order, 0.0) for order in range(ORDER + 1)]
    with mpmath.workdps(60):
        return [float(mpmath.diff(truth, x, order)) for order in range(ORDER + 1)]


@pytest.mark.filterwarnings("ignore:(?s).*(Piecewise linear|No second derivative)")
@pytest.mark.parametrize("name", ROWS)
def test_one_number(name, all_float64):
    check_number(*ROWS[name])


def check_number(function, x, truth):
    terms = [(0,) * order for order in range(ORDER + 1)]
    made = kd.Partials(layer(function, (1,)), terms, strategy="reverse")
    close(
        np.ravel([numpy(d) for d in made(np.full((1, 1), x, "float64"))]),
        expected(truth, x),
        EXACT["float64"],
    )


def with_labels(function):
    return lambda x: function(x, x * x)[:, None]


# function of several numbers -> where
SEVERAL = {
    "cumprod": (lambda x: ops.cumprod(x, 1), [0, 2, 0, 3]),
    "prod": (lambda x: ops.prod(ops.reshape(x, (-1, 2, 3)), (1, 2), True), [0, 2, 0, 3, 5, 1]),
    "logarithm of a slice": (lambda x: ops.log(x)[:, 1:], [0, 3, 2]),
    "x^y": (lambda x: x ** (x + 1), [1, 2, 0.5]),
    "cross-entropy of logits": (
        with_labels(lambda a, b: ops.categorical_crossentropy(b, a, from_logits=True)), [0.1, 0.5, 0.2]
    ),
    "cross-entropy": (with_labels(ops.categorical_crossentropy), [0.6, 0.5, 0.4]),
    "binary cross-entropy of logits": (
        lambda x: ops.binary_crossentropy(x * x, x, from_logits=True), [0, 0.5, 0.2]
    ),
}  # fmt: skip


ORDERS = {
    "sort": lambda x: ops.sort(x, 1),
    "median": lambda x: ops.median(x[:, 10:], 1, keepdims=True),
    "quantile": lambda x: ops.quantile(x, 0.625, 1, keepdims=True),
    "nanquantile": lambda x: ops.nanquantile(x, 0.625, 1, keepdims=True),
    "logarithm": lambda x: ops.quantile(ops.log(x - 1), 0.625, 1, keepdims=True),
}


@pytest.mark.parametrize("name", ORDERS)
def test_of_equal_entries_the_first_is_taken(name, all_float64):
    if BACKEND == "tensorflow" and name == "nanquantile":
        pytest.skip("Keras has none in graphs of TensorFlow")
    x = np.where(np.arange(65) < 64, 2.0, 3.0)[None]
    x[:, :10] = np.arange(10) / 16 + 0.25 if name != "logarithm" else 1.0
    found = numpy(kd.Jacobian(layer(ORDERS[name], (65,)))(x))[0]
    expected = np.eye(65) if name == "sort" else np.eye(65)[[37 if name == "median" else 40]]
    close(found, expected, EXACT["float64"])


@pytest.mark.parametrize("name", SEVERAL)
def test_several_numbers(name, all_float64):
    check_numbers(*SEVERAL[name])


def check_numbers(function, x):
    model, x = layer(function, (len(x),)), np.array([x], "float64")
    for made, differences, order in ((kd.Jacobian, jacobian, 1), (kd.Hessian, hessian, 2)):
        found = numpy(made(model, strategy="reverse")(x))
        close(found, differences(predict(model), x).reshape(found.shape), DIFFERENCES[order])


def test_the_laplacian_of_a_cross_entropy(float64):
    """A trap: the labels depend on x, too."""
    function = lambda x: ops.categorical_crossentropy(ops.softmax(x), x, from_logits=True)[:, None]  # noqa: E731
    model, x = layer(function, (3,)), np.array([[0.1, 0.5, 0.2]])
    true = np.trace(hessian(predict(model), x).reshape(3, 3))
    close(kd.Laplacian(model, strategy="reverse")(x), [[true]], DIFFERENCES[2])


@pytest.mark.parametrize("masked", [(), (2,), (0, 2)])
def test_rows_in_which_attention_is_masked_everywhere(masked, all_float64):
    """There the values are averaged, whatever the queries and keys are."""
    mask = np.tril(np.ones((3, 3), bool))
    mask[list(masked)] = False

    def function(x):
        query = ops.reshape(x, (-1, 3, 1, 2))
        y = ops.dot_product_attention(query, ops.sin(query), query * query, mask=mask[None, None])
        return ops.reshape(y, (-1, 6))

    def plain(x):
        query = np.reshape(x, (-1, 3, 2))
        scores = query @ np.swapaxes(np.sin(query), 1, 2) / np.sqrt(2)
        weights = np.where(mask, np.exp(scores), np.where(mask.any(1, keepdims=True), 0.0, 1.0))
        weights = weights / weights.sum(axis=2, keepdims=True)
        return (weights @ (query * query)).reshape(-1, 6)

    x = np.array([[0.3, -0.7, 1.1, 0.4, -0.2, 0.9]])
    found = kd.Jacobian(layer(function, (6,)), strategy="reverse")(x)
    close(found, jacobian(plain, x), SINGLE[1])  # JAX has weights of attention in float32


def planted(function, width=3):
    x = keras.Input((width,), dtype="float64")
    return keras.Model(x, layers.Lambda(function, name="planted")(x))


def test_what_selects_is_no_step(float64):
    kd.Jacobian(planted(lambda x: ops.where(x > 0.5, x, x * x) + x * ops.cast(x > 0.2, x.dtype)))


def test_a_remainder_is_no_step(float64):
    """`fmod` is made of signs, of which no warning is due."""
    model = layer(lambda x: ops.fmod(7.5 * x, 2.0) + ops.fmod(x + 9, 1.0 + x), (1,))
    close(kd.Gradient(model)(np.array([[1.0], [-1.2]]))[0], [7.5 + 1 - 5], EXACT["float64"])

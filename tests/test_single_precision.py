"""float32: no worse than twice the best of nested passes and of jax's `jet`, orders 1 to 5."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from truth import numpy

import keras_derivs as kd
from keras_derivs.engine.taylor import propagate
from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.engine.taylor.space import Space

mpmath = pytest.importorskip("mpmath")
mp = mpmath.mp
ORDERS, EPSILON = 5, float(np.finfo("float32").eps)
FLOOR = 64 * EPSILON  # what orders up to 5 gather by rounding alone
SMALLEST, LARGEST = 1e-37, 3e38  # of float32, without those of lower precision
ALL = [-1e6, -200.0, -50.0, -12.0, -5.0, -2.3, -1.0, -0.3, -1e-3, -1e-8]
ALL = [*ALL, 1e-8, 1e-3, 0.1, 0.7, 1.3, 3.1, 7.0, 20.0, 90.0, 1e4, 1e6]
SOME = [-20.0, -7.0, -3.3, -1.2, -0.4, -0.05, -1e-3, -1e-6, 1e-6, 1e-3, 0.05, 0.4, 1.2, 3.3, 7.0]
POSITIVE = [1e-12, 1e-8, 1e-3, 0.1, 0.5, 0.99, 1.0, 1.01, 1.7, 4.0, 33.0, 1e3, 1e6, 1e12]
UNIT = [-0.9999, -0.99, -0.7, -0.2, -1e-3, -1e-7, 1e-7, 1e-3, 0.3, 0.6, 0.95, 0.999]
ABOVE = [1.0001, 1.01, 1.2, 2.0, 5.0, 40.0, 1e4, 1e8]


def single(number):
    return mpmath.mpf(float(np.float32(number)))


def logistic(x):
    return 1 / (1 + mp.exp(-x))


def log1pexp(x):
    return mp.log1p(mp.exp(x))


def gelu_tanh(x):
    inner = mp.sqrt(2 / mp.pi) * (x + single(0.044715) * x**3)
    return x * (1 + mp.tanh(inner)) / 2


def side(below, above):
    return lambda x: below(x) if x < 0 else above(x)


def same(x):
    return +x


# name -> (of keras, of mpmath, points)
FUNCTIONS = {
    "exp": (ops.exp, mp.exp, SOME),
    "exp2": (ops.exp2, lambda x: mp.mpf(2) ** x, SOME),
    "expm1": (ops.expm1, mp.expm1, SOME),
    "log": (ops.log, mp.log, POSITIVE),
    "log1p": (ops.log1p, mp.log1p, POSITIVE),
    "log2": (ops.log2, lambda x: mp.log(x) / mp.log(2), POSITIVE),
    "log10": (ops.log10, mp.log10, POSITIVE),
    "sqrt": (ops.sqrt, mp.sqrt, POSITIVE),
    "rsqrt": (ops.rsqrt, lambda x: 1 / mp.sqrt(x), POSITIVE),
    "cbrt": (ops.cbrt, mp.cbrt, POSITIVE),
    "square": (ops.square, lambda x: x**2, ALL),
    "reciprocal": (ops.reciprocal, lambda x: 1 / x, ALL),
    "x**3": (lambda x: x**3, lambda x: x**3, ALL),
    "x**7": (lambda x: x**7, lambda x: x**7, SOME),
    "x**-1": (lambda x: x**-1, lambda x: x**-1, ALL),
    "x**-3": (lambda x: x**-3, lambda x: x**-3, ALL),
    "x**0.3": (lambda x: x**0.3, lambda x: x ** mp.mpf(0.3), POSITIVE),
    "x**1.5": (lambda x: x**1.5, lambda x: x ** mp.mpf(1.5), POSITIVE),
    "x**-2.5": (lambda x: x**-2.5, lambda x: x ** mp.mpf(-2.5), POSITIVE),
    "2**x": (lambda x: ops.power(2.0, x), lambda x: mp.mpf(2) ** x, SOME),
    "x**x": (lambda x: ops.power(x, x), lambda x: x**x, [1e-6, 0.01, 0.4, 1.0, 2.2, 7.0]),
    "sin": (ops.sin, mp.sin, SOME),
    "cos": (ops.cos, mp.cos, SOME),
    "tan": (ops.tan, mp.tan, SOME),
    "sinh": (ops.sinh, mp.sinh, SOME),
    "cosh": (ops.cosh, mp.cosh, SOME),
    "tanh": (ops.tanh, mp.tanh, SOME),
    "arcsin": (ops.arcsin, mp.asin, UNIT),
    "arccos": (ops.arccos, mp.acos, UNIT),
    "arctan": (ops.arctan, mp.atan, ALL),
    "arcsinh": (ops.arcsinh, mp.asinh, ALL),
    "arccosh": (ops.arccosh, mp.acosh, ABOVE),
    "arctanh": (ops.arctanh, mp.atanh, UNIT),
    "erf": (ops.erf, mp.erf, SOME),
    "erfc": (ops.erfc, mp.erfc, SOME),
    "sigmoid": (ops.sigmoid, logistic, ALL),
    "log_sigmoid": (ops.log_sigmoid, lambda x: -log1pexp(-x), ALL),
    "softplus": (ops.softplus, log1pexp, ALL),
    "silu": (ops.silu, lambda x: x * logistic(x), ALL),
    "mish": (keras.layers.Activation("mish"), lambda x: x * mp.tanh(log1pexp(x)), SOME),
    "tanh_shrink": (ops.tanh_shrink, lambda x: x - mp.tanh(x), SOME),
    "softsign": (
        ops.softsign, side(lambda x: x / (1 - x), lambda x: x / (1 + x)), ALL,
    ),
    "squareplus": (ops.squareplus, lambda x: (x + mp.sqrt(x * x + 4)) / 2, ALL),
    "gelu": (
        lambda x: ops.gelu(x, approximate=False),
        lambda x: x * mp.erfc(-x * single(math.sqrt(0.5))) / 2, SOME,
    ),
    "gelu, tanh": (lambda x: ops.gelu(x, approximate=True), gelu_tanh, SOME),
    "elu": (ops.elu, side(mp.expm1, same), SOME),
    "celu": (lambda x: ops.celu(x, 1.0), side(mp.expm1, same), SOME),
    "selu": (
        ops.selu,
        side(
            lambda x: mp.mpf("1.6732632423543772848") * mp.mpf("1.0507009873554804934") * mp.expm1(x),
            lambda x: mp.mpf("1.0507009873554804934") * x,
        ), SOME,
    ),
    "logaddexp": (
        lambda x: ops.logaddexp(x, 0.5 * x), lambda x: x + log1pexp(-x / 2), SOME,
    ),
    "hypot": (lambda x: ops.hypot(x, 1.0), lambda x: mp.sqrt(x * x + 1), ALL),
    "arctan2": (lambda x: ops.arctan2(x, 2.0), lambda x: mp.atan(x / 2), ALL),
    "divide": (lambda x: x / (x + 1.5), lambda x: x / (x + mp.mpf(1.5)), POSITIVE),
    "sin(x) / x": (lambda x: ops.sin(x) / x, lambda x: mp.sin(x) / x, [0.5, 1.3, 4.0, 9.0]),
}  # fmt: skip


def true(name):
    """(orders, points), by mpmath with 60 digits, at the points in single precision."""
    _, function, points = FUNCTIONS[name]
    rows = []
    with mpmath.workdps(60):
        for x in np.array(points, "float32"):
            c = mpmath.taylor(function, mp.mpf(float(x)), ORDERS)
            rows.append([float(c[n] * math.factorial(n)) for n in range(ORDERS + 1)])
    return np.array(rows).T


def by_taylor(name):
    function, _, points = FUNCTIONS[name]
    x = ops.convert_to_tensor(np.array(points, "float32")[:, None])
    space = Space([(0,) * ORDERS])
    y = propagate.call(function, Polynomial(space, {(): x, (0,): ops.ones((1, 1))}))
    found = [y.table.get((0,) * n, ops.zeros((1, 1))) for n in range(ORDERS + 1)]
    found = [np.broadcast_to(numpy(c), x.shape)[:, 0].astype("float64") for c in found]
    return np.array([c * math.factorial(n) for n, c in enumerate(found)])


def by_passes(name):
    function, _, points = FUNCTIONS[name]
    x = keras.Input((1,))
    terms = [(0,) * n for n in range(ORDERS + 1)]
    y = keras.layers.Lambda(function, output_shape=(1,))(x)
    layer = kd.Partials(keras.Model(x, y), terms, strategy="reverse")
    found = layer(np.array(points, "float32")[:, None])
    return np.array([numpy(c)[:, 0].astype("float64") for c in found])


def errors(found, expected):
    """Relative errors, infinite for NaN, 0 where float32 has no such number."""
    representable = (np.abs(expected) < LARGEST) & (np.abs(expected) > SMALLEST)
    with np.errstate(all="ignore"):
        error = np.abs(found - expected) / np.abs(expected)
    return np.where(representable, np.where(np.isfinite(error), error, np.inf), 0.0)


def by_jet(name):
    """Of jax, for functions that it has under the same name and can expand; else `None`."""
    jax = pytest.importorskip("jax")
    jet = pytest.importorskip("jax.experimental.jet").jet
    function = next((f for f in [getattr(m, name, None) for m in (jax.numpy, jax.nn)] if f), None)
    function = FUNCTIONS[name][0] if function is None and name.startswith("x**") else function
    x = jax.numpy.array(FUNCTIONS[name][2], "float32")
    moves = [x * 0 + 1, *[x * 0] * (ORDERS - 1)]
    try:
        y, derivatives = jet(function, (x,), (moves,))
    except Exception:  # such as a primitive without a rule
        return None
    return np.array([y, *derivatives]).astype("float64")


def worse(name, others):
    """The derivatives by Taylor that are not as good as twice the best of the others."""
    expected = true(name)
    ours = errors(by_taylor(name), expected)
    best = np.minimum.reduce([errors(found, expected) for found in others])
    limit = np.maximum(2 * best, FLOOR)
    points = np.array(FUNCTIONS[name][2])
    return [
        f"order {n} at {points[k]}: {ours[n, k]:.1e} against {best[n, k]:.1e}"
        for n, k in zip(*np.nonzero(ours > limit))
        if n > 0
    ]


CANCEL = {"divide", "sin(x) / x", "mish"}  # up to eight times the best at a few points


def named(names):
    mark = pytest.mark.xfail(strict=False, reason="rounding of a difference")
    return [pytest.param(name, marks=mark if name in CANCEL else ()) for name in names]


@pytest.mark.parametrize("name", named(list(FUNCTIONS)[::5]))
def test_no_worse_than_passes(name):
    assert not worse(name, [by_passes(name)])


@pytest.mark.slow
@pytest.mark.parametrize("name", named(FUNCTIONS))
def test_no_worse_than_the_best(name):
    found = by_jet(name)
    assert not worse(name, [by_passes(name), *([] if found is None else [found])])

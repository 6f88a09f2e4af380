"""Rows of functions of one number, and of formulas of it."""

import math

import keras
import numpy as np
from keras import activations, ops
from mpmath import mp
from operation_row import Case, Row, complex_of, each, elementwise, pairs_of, points

INF = mp.inf
SINGLE = {  # kernels of TensorFlow have them in single precision
    number: float(np.float32(number)) if keras.backend.backend() == "tensorflow" else number
    for number in (0.044715, 0.2, math.sqrt(0.5))
}
SELU = 1.6732632423543772, 1.0507009873554805


def relu(x):
    return x if x > 0 else x * 0


def softplus(x):
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def clipped(low, high):
    return lambda x: low + 0 * x if x < low else high + 0 * x if x > high else x


def hard_sigmoid(x):
    return clipped(0, 1)(x / 6 + mp.mpf("0.5"))


def sinc(x):
    return mp.sin(mp.pi * x) / (mp.pi * x)


def elu(alpha=1, scale=1):
    return lambda x: scale * (x if x > 0 else alpha * mp.expm1(x))


def i0(x):
    return mp.besseli(0, x)


def gelu(x):
    return x * mp.erfc(-x * SINGLE[math.sqrt(0.5)]) / 2


def gelu_tanh(x):
    return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + SINGLE[0.044715] * x**3)))


def shrink(x, soft):
    return 0 * x if abs(x) <= 0.5 else x - mp.sign(x) / 2 if soft else x


def sparse_plus(x):
    return 0 * x if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4


def power(exponent):
    def reference(x):
        return x ** mp.mpf(exponent)

    return reference


def falling(exponent):
    """The derivatives of x^exponent at 0."""
    jet, factor = [], 1
    for n in range(5):
        left = exponent - n
        jet.append(factor if left == 0 else 0 if left > 0 or factor == 0 else None)
        factor *= left
    return tuple(jet)


def flat(function, reference):
    """x times what has no derivative."""
    return elementwise(
        lambda x: x * ops.cast(function(x), x.dtype), lambda x: x * reference(x),
        generic=[-2.6, -1.7, -0.8, 0.2, 0.7, 1.1, 2.4], wide=False, zero={0.0: (0, reference(0.0))},
        whole={x: (x * reference(x), reference(x)) for x in (-2.0, -1.0, 1.0, 3.0)},
    )  # fmt: skip


POSITIVE, UNIT = (0, INF), (-1, 1)
half = mp.mpf("0.5")
PI2 = math.pi**2
ROWS = {
    "abs": elementwise(ops.abs, abs, zero={0.0: (0, 0)}),
    "absolute": elementwise(ops.absolute, abs, zero={0.0: (0, 0)}),
    "fabs": elementwise(ops.fabs, abs, zero={0.0: (0, 0)}),
    "arccos": elementwise(ops.arccos, mp.acos, UNIT, zero={}, edges={1.0: (0, None, None, None, None)}),
    "arccosh": elementwise(ops.arccosh, mp.acosh, (1, INF), [1.1, 1.5, 2.4, 6.0]),
    "arcsin": elementwise(ops.arcsin, mp.asin, UNIT),
    "arcsinh": elementwise(ops.arcsinh, mp.asinh),
    "arctan": elementwise(ops.arctan, mp.atan),
    "arctanh": elementwise(ops.arctanh, mp.atanh, UNIT),
    "cbrt": elementwise(ops.cbrt, lambda x: mp.sign(x) * mp.cbrt(abs(x)), zero={0.0: (0, None, None, None, None)}),
    "celu": elementwise(ops.celu, elu(), zero={0.0: (0, 1, 1, 1, 1)}),
    "celu, alpha": elementwise(lambda x: ops.celu(x, 2.0), lambda x: x if x > 0 else 2 * mp.expm1(x / 2),
                               zero={0.0: (0, 1, 1 / 2, 1 / 4, 1 / 8)}),
    "cos": elementwise(ops.cos, mp.cos),
    "cosh": elementwise(ops.cosh, mp.cosh),
    "deg2rad": elementwise(ops.deg2rad, lambda x: x * mp.pi / 180),
    "elu": elementwise(ops.elu, elu(), zero={0.0: (0, 1, 1, 1, 1)}),
    "elu, alpha": elementwise(lambda x: ops.elu(x, 0.5), elu(half), zero={0.0: (0, 1 / 2, 1 / 2, 1 / 2, 1 / 2)}),
    "erf": elementwise(ops.erf, mp.erf),
    "erfc": elementwise(ops.erfc, mp.erfc),
    "erfinv": elementwise(ops.erfinv, mp.erfinv, UNIT),
    "exp": elementwise(ops.exp, mp.exp),
    "exponential": elementwise(activations.exponential, mp.exp),
    "exp2": elementwise(ops.exp2, lambda x: mp.mpf(2) ** x),
    "expm1": elementwise(ops.expm1, mp.expm1),
    "gelu": elementwise(ops.gelu, gelu_tanh),
    "gelu, exact": elementwise(lambda x: ops.gelu(x, approximate=False), gelu),
    "hard_shrink": elementwise(ops.hard_shrink, lambda x: shrink(x, False), kinks={0.5: (0, 0), -0.5: (0, 0)}),
    "hard_sigmoid": elementwise(ops.hard_sigmoid, hard_sigmoid, kinks={-3.0: (0, 0), 3.0: (1, 0)}),
    "hard_silu": elementwise(ops.hard_silu, lambda x: x * hard_sigmoid(x), kinks={-3.0: (0, 0), 3.0: (3, 1)}),
    "hard_tanh": elementwise(ops.hard_tanh, clipped(-1, 1), kinks={-1.0: (-1, 1), 1.0: (1, 1)}),
    "i0": elementwise(ops.i0, i0),
    "leaky_relu": elementwise(ops.leaky_relu, lambda x: x if x > 0 else SINGLE[0.2] * x, zero={0.0: (0, SINGLE[0.2])}),
    "linear": elementwise(activations.linear, lambda x: x),
    "log": elementwise(ops.log, mp.log, POSITIVE, zero={0.0: (None,) * 5}),
    "log10": elementwise(ops.log10, mp.log10, POSITIVE),
    "log1p": elementwise(ops.log1p, mp.log1p, (-1, INF)),
    "log2": elementwise(ops.log2, lambda x: mp.log(x) / mp.log(2), POSITIVE),
    "log_sigmoid": elementwise(ops.log_sigmoid, lambda x: -softplus(-x)),
    "mish": elementwise(activations.mish, lambda x: x * mp.tanh(softplus(x))),
    "negative": elementwise(ops.negative, lambda x: -x),
    "nan_to_num": elementwise(ops.nan_to_num, lambda x: x),
    "rad2deg": elementwise(ops.rad2deg, lambda x: x * 180 / mp.pi),
    "reciprocal": elementwise(ops.reciprocal, lambda x: 1 / x, zero={0.0: (None,) * 5}),
    "relu": elementwise(ops.relu, relu, zero={0.0: (0, 0)}),
    "relu6": elementwise(ops.relu6, clipped(0, 6), zero={0.0: (0, 0)}, kinks={6.0: (6, 0)}),
    "relu layer": elementwise(lambda x: keras.layers.ReLU(1.5, 0.125, 0.25)(x),
                              lambda x: 1.5 + 0 * x if x > 1.5 else x if x > 0.25 else 0.125 * (x - 0.25),
                              kinks={0.25: (0, 0.125), 1.5: (1.5, 0)}),
    "rsqrt": elementwise(ops.rsqrt, lambda x: 1 / mp.sqrt(x), POSITIVE, zero={0.0: (None,) * 5}),
    "selu": elementwise(ops.selu, elu(*SELU), zero={0.0: (0, *4 * (SELU[0] * SELU[1],))}),
    "sigmoid": elementwise(ops.sigmoid, sigmoid),
    "silu": elementwise(ops.silu, lambda x: x * sigmoid(x)),
    "sin": elementwise(ops.sin, mp.sin),
    "sinc": elementwise(ops.sinc, sinc, zero={0.0: (1, 0, -PI2 / 3, 0, PI2**2 / 5)}),
    "sinh": elementwise(ops.sinh, mp.sinh),
    "soft_shrink": elementwise(ops.soft_shrink, lambda x: shrink(x, True), kinks={0.5: (0, 0), -0.5: (0, 0)}),
    "softplus": elementwise(ops.softplus, softplus),
    "softsign": elementwise(ops.softsign, lambda x: x / (1 + abs(x)), zero={0.0: (0, 1, 0, 0, 0)}),
    "sparse_plus": elementwise(ops.sparse_plus, sparse_plus, kinks={-1.0: (0, 0), 1.0: (1, 1)}, whole={}),
    "sparse_sigmoid": elementwise(ops.sparse_sigmoid, lambda x: clipped(0, 1)((x + 1) / 2),
                                  kinks={-1.0: (0, 0), 1.0: (1, 0)}),
    "sqrt": elementwise(ops.sqrt, mp.sqrt, POSITIVE, zero={0.0: (0, None, None, None, None)}),
    "square": elementwise(ops.square, lambda x: x * x),
    "squareplus": elementwise(ops.squareplus, lambda x: (x + mp.sqrt(x * x + 4)) / 2),
    "tan": elementwise(ops.tan, mp.tan),
    "tanh": elementwise(ops.tanh, mp.tanh),
    "tanh_shrink": elementwise(ops.tanh_shrink, lambda x: x - mp.tanh(x)),
    "threshold": elementwise(lambda x: ops.threshold(x, 0.5, 0.25), lambda x: x if x > 0.5 else 0.25 + 0 * x,
                             kinks={0.5: (0.25, 0)}),
    "clip": elementwise(lambda x: ops.clip(x, -1.0, 0.5), clipped(-1, half), kinks={-1.0: (-1, 1), 0.5: (0.5, 1)}),
    **{name: elementwise(getattr(ops, name), lambda x: x) for name in ("copy", "conj", "conjugate", "real")},
    # flat ones, times x
    **{
        name: flat(getattr(ops, name), f)
        for name, f in {
            "ceil": mp.ceil, "floor": mp.floor, "round": mp.nint, "trunc": lambda x: mp.sign(x) * mp.floor(abs(x)),
            "sign": mp.sign, "signbit": lambda x: int(x < 0), "isfinite": lambda x: 1, "isinf": lambda x: 0,
            "isnan": lambda x: 0, "isposinf": lambda x: 0, "isneginf": lambda x: 0, "isreal": lambda x: 1,
            "ones_like": lambda x: 1, "zeros_like": lambda x: 0, "imag": lambda x: 0,
        }.items()     },
    # powers
    **{
        f"power {exponent}": elementwise(lambda x, e=exponent: x**e, power(exponent), (-INF, INF) if whole else POSITIVE,
                                         generic=None if whole else [0.2, 0.7, 1.5, 2.4],
                                         zero={0.0: falling(exponent)})
        for exponent, whole in [(0, 1), (1, 1), (2, 1), (2.0, 1), (3, 1), (5, 1), (-1, 1), (-2.0, 1), (-3, 1),
                                (0.5, 0), (1.5, 0), (2.5, 0), (-0.5, 0), (7.3, 0), (1e-3, 0)]
    },
    "power of 2": elementwise(lambda x: ops.power(2.0, x), lambda x: mp.mpf(2) ** x),
    "power of 0": elementwise(lambda x: ops.power(0.0, x), lambda x: 0 * x, POSITIVE),
    "power of x by x": elementwise(lambda x: ops.power(x, x), lambda x: x**x, POSITIVE, wide=False),
    # unselected branches
    "where, x log x": elementwise(lambda x: ops.where(x > 0, x * ops.log(x), 0.0), lambda x: x * mp.log(x) if x > 0 else 0 * x,
                                  zero={0.0: (0, 0, 0, 0, 0)}, wide=False),
    "where, log(1 + exp x)": elementwise(lambda x: ops.where(x > 20, x, ops.log(1 + ops.exp(x))),
                                         lambda x: softplus(x) if x <= 20 else x, wide=False),
    "where, sin(x)/x": elementwise(lambda x: ops.where(x == 0, 1.0, ops.sin(x) / x),
                                   lambda x: mp.sin(x) / x, zero={0.0: (1, 0, 0, 0, 0)}, wide=False),
    "where, sqrt": elementwise(lambda x: ops.where(x > 0, ops.sqrt(x), x), lambda x: mp.sqrt(x) if x > 0 else x,
                               zero={0.0: (0, 1, 0, 0, 0)}, wide=False),
    "x abs(x)": elementwise(lambda x: x * ops.abs(x), lambda x: x * abs(x), zero={0.0: (0, 0, 0, 0, 0)}),
}  # fmt: skip

Z = [(1.5, 2.0), (-0.75, 0.5), (0.25, -1.25)]
AT = {"generic": Z, "real": [(1.5, 0.0), (0.75, 0.0)], "negative real": [(-1.5, 0.0)],
      "small": [(1e-30, 2e-30)], "zero": [(0.0, 0.0)]}  # fmt: skip


def complex_row(function, reference, kinds=("generic", "real"), back=True, **jets):
    """A row of a function of one complex number, given as a pair."""

    def of_pairs(x):
        kind = "complex64" if x.dtype == "float32" else "complex128"
        y = function(ops.cast(x[..., 0], kind) + ops.cast(x[..., 1], kind) * 1j)
        return ops.view_as_real(y) if back else y

    def exact(x):
        y = each(reference)(complex_of(x))
        return pairs_of(y) if back else y

    cases = {kind: points([np.array(p) for p in AT[kind]]) for kind in kinds}
    for kind, cs in jets.items():
        cases[kind] = [Case((np.asarray(p),), truth) for p, truth in cs]
    return Row(of_pairs, exact, cases)


def zero_of_pairs(x):
    return 0 * x[..., 0]


COMPLEX = {
    "exp, complex": complex_row(ops.exp, mp.exp, ("generic", "real", "negative real", "zero")),
    "log, complex": complex_row(ops.log, mp.log),
    "sqrt, complex": complex_row(ops.sqrt, mp.sqrt),
    "sin, complex": complex_row(ops.sin, mp.sin, ("generic", "real", "zero")),
    "cos, complex": complex_row(ops.cos, mp.cos, ("generic", "real", "zero")),
    "tanh, complex": complex_row(ops.tanh, mp.tanh, ("generic", "real", "zero")),
    "square, complex": complex_row(ops.square, lambda z: z * z, ("generic", "real", "zero", "small")),
    "power, complex 2": complex_row(lambda z: z**2, lambda z: z**2, ("generic", "real", "negative real", "zero")),
    "power, complex 3": complex_row(lambda z: z**3, lambda z: z**3, ("generic", "real", "negative real", "zero")),
    "power, complex 1.5": complex_row(lambda z: z**1.5, lambda z: z ** mp.mpf(1.5)),
    "power, complex -1": complex_row(lambda z: z**-1, lambda z: 1 / z),
    "multiply, complex": complex_row(lambda z: z * ops.conj(z) * z, lambda z: z * mp.conj(z) * z, ("generic", "real", "zero")),
    "divide, complex": complex_row(lambda z: z / (1 + z * z), lambda z: z / (1 + z * z), ("generic", "real", "zero")),
    "reciprocal, complex": complex_row(ops.reciprocal, lambda z: 1 / z),
    "abs, complex": complex_row(ops.abs, abs, ("generic", "real", "negative real", "small"), back=False,
                               zero=[((0.0, 0.0), zero_of_pairs)]),
    "angle, complex": complex_row(ops.angle, mp.arg, ("generic", "real"), back=False),
    "real, complex": complex_row(ops.real, mp.re, ("generic", "zero"), back=False),
    "imag, complex": complex_row(ops.imag, mp.im, ("generic", "zero"), back=False),
    "conj, complex": complex_row(ops.conj, mp.conj, ("generic", "zero")),
    "polar": Row(lambda r, t: ops.view_as_real(ops.polar(r, t)), lambda r, t: pairs_of(np.frompyfunc(lambda a, b: a * mp.expj(b), 2, 1)(r, t)),
                 {"generic": [Case((np.asarray(1.5), np.asarray(0.75)))], "zero": [Case((np.asarray(0.0), np.asarray(0.5)))]}),
}  # fmt: skip
ROWS |= COMPLEX

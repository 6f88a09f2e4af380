"""Rules of smooth functions of one argument, and of powers."""

import math
import numbers

from keras import ops

from keras_derivs import backend
from keras_derivs.engine.taylor import powers, series
from keras_derivs.engine.taylor.polynomial import square
from keras_derivs.engine.taylor.powers import cbrt, power, rsqrt, slope_of_root, sqrt
from keras_derivs.engine.taylor.rules import taylor_rule, values
from keras_derivs.engine.taylor.rules_bilinear import align
from keras_derivs.engine.taylor.series import (
    erf,
    exp,
    integrate,
    log,
    reciprocal,
    riccati,
    sigmoid,
    sine_and_cosine,
    softplus,
    steep_product,
    tanh,
)
from keras_derivs.engine.taylor.shapes import fit, is_plain
from keras_derivs.graph.private import activations, nn
from keras_derivs.graph.private import math as kmath
from keras_derivs.graph.private import numpy as knp

LOG2, LOG10 = math.log(2), math.log(10)
ROOT_OF_HALF = backend.constant(math.sqrt(0.5))


def smooth(*classes, steep=False):
    """Register a function of a polynomial and of the operation; `steep`: see `series.compose`."""

    def register(function):
        @taylor_rule(*classes)
        def rule(operation, x):
            return series.compose(lambda z: function(z, operation), x, steep)

        return function

    return register


FUNCTIONS = {
    knp.Exp: exp,
    knp.Exp2: lambda z: exp(z * LOG2),
    knp.Expm1: lambda z: integrate(z, ops.expm1(z.value), exp(z)),
    knp.Sin: lambda z: sine_and_cosine(z, ops.sin(z.value), ops.cos(z.value), -1)[0],
    knp.Cos: lambda z: sine_and_cosine(z, ops.sin(z.value), ops.cos(z.value), -1)[1],
    knp.Tan: lambda z: riccati(z, ops.tan(z.value), 1, 0, 1),
    knp.Sinh: lambda z: sine_and_cosine(z, ops.sinh(z.value), ops.cosh(z.value), 1)[0],
    knp.Cosh: lambda z: sine_and_cosine(z, ops.sinh(z.value), ops.cosh(z.value), 1)[1],
    knp.Tanh: tanh,
    knp.Arcsin: lambda z: integrate(z, ops.arcsin(z.value), rsqrt(_one_minus_square(z))),
    knp.Arccos: lambda z: integrate(z, ops.arccos(z.value), -rsqrt(_one_minus_square(z))),
    knp.Arctan: lambda z: integrate(z, ops.arctan(z.value), reciprocal(square(z) + 1)),
    knp.Arcsinh: lambda z: integrate(z, ops.arcsinh(z.value), _rsqrt_of_square(z)),
    knp.Arccosh: lambda z: integrate(z, ops.arccosh(z.value), rsqrt(z - 1) * rsqrt(z + 1)),
    knp.Arctanh: lambda z: integrate(z, ops.arctanh(z.value), reciprocal(_one_minus_square(z))),
    kmath.Rsqrt: rsqrt,
    kmath.Erf: erf,
    kmath.Erfc: lambda z: -erf(z).with_value(-ops.erfc(z.value)),
    nn.Sigmoid: sigmoid,
    nn.LogSigmoid: lambda z: integrate(z, ops.log_sigmoid(z.value), sigmoid(-z)),
    nn.Softplus: softplus,
    nn.Silu: lambda z: z * sigmoid(z),
    nn.TanhShrink: lambda z: integrate(z, ops.tanh_shrink(z.value), square(tanh(z))),
    activations.Mish: lambda z: z * tanh(softplus(z)),
}
# composed, they would divide by the square of a number that may be large or small
RELATIVE = {
    knp.Log: log,
    knp.Log1p: lambda z: integrate(z, ops.log1p(z.value), reciprocal(z + 1), steep_product(z)),
    knp.Log2: lambda z: log(z) * (1 / LOG2),
    knp.Log10: lambda z: log(z) * (1 / LOG10),
    knp.Reciprocal: reciprocal,
}


STEEP = {knp.Arctanh, knp.Cosh, knp.Exp, knp.Exp2, knp.Expm1, knp.Sinh}  # they may be infinite


for _cls, _function in RELATIVE.items():
    taylor_rule(_cls)(lambda operation, x, function=_function: function(x))
for _cls, _function in FUNCTIONS.items():
    smooth(_cls, steep=_cls in STEEP)(lambda z, operation, function=_function: function(z))
taylor_rule(knp.Sqrt)(lambda operation, x: sqrt(x))
taylor_rule(knp.Cbrt)(lambda operation, x: cbrt(x))


def _one_minus_square(z):
    return (1 - square(z)).with_value((1 - z.value) * (1 + z.value))


def _rsqrt_of_square(z):
    """1 / sqrt(z^2 + 1), computed in units of |z| where that is large."""
    unit = ops.maximum(ops.abs(z.value), 1.0)
    return rsqrt(square(z * (1 / unit)) + 1 / unit / unit) * (1 / unit)


@smooth(nn.Softsign)
def softsign(z, operation):
    """z / (1 + |z|), of the slope 1 / (1 + |z|)^2, where |z| has the slope sign(z)."""
    return integrate(z, ops.softsign(z.value), square(reciprocal(z * ops.sign(z.value) + 1)))


@smooth(nn.Squareplus)
def squareplus(z, operation):
    """(z + r) / 2 with r = sqrt(z^2 + b); far below zero, z + r is b / (r - z)."""
    slope = slope_of_root(z, operation.b)
    root = ops.sqrt(ops.square(z.value) + operation.b)
    below = operation.b / (root + ops.abs(z.value)) / root
    half = ops.where(z.value < 0, below, 1 + slope.value) * 0.5
    return integrate(z, operation.call(z.value), (slope * 0.5).with_value(half))


@smooth(nn.Gelu)
def gelu(z, operation):
    """z times 1 + tanh, which is twice a sigmoid, or 1 + erf, the erfc of the other sign."""
    value = operation.call(z.value)
    if operation.approximate:
        near = ops.cast(ops.abs(z.value) < 64, z.dtype)  # beyond, a cube may be infinite
        x = z.each(lambda c: c * near).with_value(ops.clip(z.value, -64, 64))
        inner = x + square(x) * x * backend.constant(0.044715)
        return (z * sigmoid(inner * math.sqrt(8 / math.pi))).with_value(value)
    x = z * ROOT_OF_HALF
    return (z * erf(x).with_value(ops.erfc(-x.value)) * 0.5).with_value(value)


@taylor_rule(knp.Power)
def power_rule(operation, base, exponent):
    """An integer power is a product: it has all derivatives at 0 too."""
    if is_plain(exponent) and _is_number(exponent):
        exponent = float(exponent)
        if exponent == int(exponent) and exponent >= 0:
            return whole_power(base, int(exponent))
        if exponent == 0.5:
            return sqrt(base)
        result = power(base, exponent, ops.power(base.value, exponent))
        order = round(1 / exponent) if 0 < exponent < 1 else 0
        return powers.of_order(result, order, base) if order * exponent == 1 else result
    base, exponent = align(base, exponent)
    like = exponent if is_plain(base) else base
    base, exponent = (
        ops.convert_to_tensor(x, like.dtype) if is_plain(x) else x for x in (base, exponent)
    )
    value = _value(*values([base, exponent]))
    if is_plain(exponent):
        return fit(power(fit(base, value).with_value(base.value), exponent, value), value)
    return fit(powers.general_power(base, exponent), value)


def _value(base, exponent):
    """With a derivative by the base where it is 0 and the exponent, too."""
    return ops.power(powers.safe_base(base, exponent), exponent)


@taylor_rule(knp.Square)
def square_rule(operation, x):
    return whole_power(x, 2)


def whole_power(x, exponent):
    if x.whole is not None and exponent >= x.whole[0]:
        return powers.power_of_root(x, exponent)
    if x.squared is not None:
        return powers.integer_power(x, exponent)
    return series.compose(lambda z: powers.integer_power(z, exponent), x, steep=exponent > 2)


def _is_number(x):
    return isinstance(x, numbers.Real) or (hasattr(x, "item") and getattr(x, "shape", None) == ())

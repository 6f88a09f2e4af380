"""Functions of Keras on JAX and PyTorch by formulas that are exact at every order.

They take the place of the originals while a derivative is computed. The originals have kinks
where the function has none, higher derivatives that are missing, or another convention at kinks
than Taylor polynomials, see `engine/taylor/rules_piecewise.py`.
"""

import math

import keras
from keras import ops

from keras_derivs.backend.override import plain, switched
from keras_derivs.graph.private import activations, of_backend

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def install(**others):
    """Let Keras call the formulas while a derivative is computed; `others` of one framework."""
    for name, function in others.items():
        owner = of_backend.numpy
        setattr(owner, name, switched(getattr(owner, name), function))
    for module, functions in TABLE.items():
        for function in functions:
            name = function.__name__.removeprefix("_")
            setattr(module, name, switched(getattr(module, name), function))
    relu = activations.ReLU
    relu.static_call = staticmethod(switched(relu.static_call, _relu))


def _promoted(*arguments):
    """The arguments as tensors of the float dtype that Keras computes in."""
    dtypes = [getattr(x, "dtype", type(x)) for x in arguments]
    dtype = keras.backend.result_type(*dtypes, float)
    return [ops.cast(ops.convert_to_tensor(x), dtype) for x in arguments]


def _smooth(x1, x2, rate):
    """The smaller number enters by a softplus of the difference, on either side of a tie."""
    both = ops.logical_and(ops.equal(x1, x2), ops.isinf(x1))
    d = ops.where(both, ops.zeros_like(x1), x1 - x2) * rate
    near = ops.where(d > 0, -d, d)
    return ops.where(d > 0, x1, x2) + ops.log1p(ops.exp(near)) / rate


def _logaddexp(x1, x2):
    return _smooth(*_promoted(x1, x2), 1.0)


def _logaddexp2(x1, x2):
    return _smooth(*_promoted(x1, x2), math.log(2))


def _power(x1, x2):
    """A number has the dtype of the tensor beside it; Keras on PyTorch rounds it to float32."""
    like = next((x.dtype for x in (x1, x2) if hasattr(x, "dtype")), None)
    if isinstance(x1, float) or isinstance(x2, float):
        x1, x2 = (
            ops.convert_to_tensor(x, like)
            if isinstance(x, float) and like is not None and keras.backend.is_float_dtype(like)
            else x
            for x in (x1, x2)
        )
    return plain(of_backend.numpy.power)(x1, x2)


def root(x, exponent=0.5):
    """A power below 1 whose first derivative at 0 is taken for 0, as that of a norm is.

    A higher one is no number there, so that none is wrong of a function of it: x^1.5 has both.
    """
    zero, ones = ops.equal(x, 0), ops.ones_like(x)
    found = _power(ops.where(zero, ones, x), exponent)
    return ops.where(zero, _power(ops.where(zero, x, ones), 1.5), found)


def cbrt(x):
    (x,) = _promoted(x)
    return ops.where(x < 0, -_power(-x, 1 / 3), _power(x, 1 / 3))


def _i0(x):
    """By its power series near 0, where the original has a kink or lacks higher derivatives."""
    (x,) = _promoted(x)
    near = ops.abs(x) < 2
    quarter = ops.square(ops.where(near, x, ops.zeros_like(x))) / 4
    series = ops.ones_like(x)
    for k in range(14, 0, -1):
        series = 1 + series * quarter / k**2
    return ops.where(near, series, plain(of_backend.numpy.i0)(ops.where(near, 3.0, x)))


def _hypot(x1, x2):
    x1, x2 = _promoted(x1, x2)
    largest = ops.stop_gradient(plain(ops.maximum)(ops.abs(x1), ops.abs(x2)))
    usable = ops.logical_and(largest > 0, ops.isfinite(largest))
    scale = ops.where(usable, largest, ops.ones_like(largest))
    return scale * root(ops.square(x1 / scale) + ops.square(x2 / scale))


def _clip(x, x_min, x_max):
    """The inside at the bounds."""
    x = ops.convert_to_tensor(x)
    if not keras.backend.is_float_dtype(x.dtype):
        return plain(of_backend.numpy.clip)(x, x_min, x_max)
    low, high = (ops.cast(bound, x.dtype) for bound in (x_min, x_max))
    x = ops.where(x > high, high, x)
    return ops.where(x < low, low, x)


def _hard_tanh(x):
    return _clip(x, -1.0, 1.0)


def _sparse_sigmoid(x):
    x = ops.convert_to_tensor(x)
    inside = ops.where(x >= 1, ops.ones_like(x), 0.5 * (x + 1))
    return ops.where(x <= -1, ops.zeros_like(x), inside)


def _relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    """The lower side at the threshold, and none of the slope at the maximum."""
    x = ops.convert_to_tensor(x)
    above = x
    if max_value is not None:
        above = ops.where(x < max_value, x, ops.cast(max_value, x.dtype))
    return ops.where(x > threshold, above, negative_slope * (x - threshold))


def _hard_sigmoid(x):
    """The outside at the bounds."""
    x = ops.convert_to_tensor(x)
    inside = ops.where(x >= 3, ops.ones_like(x), x / 6 + 0.5)
    return ops.where(x <= -3, ops.zeros_like(x), inside)


def _leaky_relu(x, negative_slope=0.2):
    x = ops.convert_to_tensor(x)
    return ops.where(x > 0, x, negative_slope * x)


def _exponential_below_zero(x, scale, rate):
    x = ops.convert_to_tensor(x)
    below = x <= 0
    return ops.where(below, scale * ops.expm1(ops.where(below, x, ops.zeros_like(x)) * rate), x)


def elu(x, alpha=1.0):
    return _exponential_below_zero(x, alpha, 1.0)


def celu(x, alpha=1.0):
    return _exponential_below_zero(x, alpha, 1 / alpha)


def _selu(x):
    return SELU_SCALE * _exponential_below_zero(x, SELU_ALPHA, 1.0)


def _softsign(x):
    """The absolute value is that of a constant at 0."""
    x = ops.convert_to_tensor(x)
    return x / (1 + x * ops.sign(x))


def _fmax(x1, x2):
    return _extreme(x1, x2, ops.maximum)


def _fmin(x1, x2):
    return _extreme(x1, x2, ops.minimum)


def _extreme(x1, x2, function):
    """The mean of both derivatives at a tie; what is no number is passed over."""
    x1, x2 = ops.convert_to_tensor(x1), ops.convert_to_tensor(x2)
    first, second = ops.where(ops.isnan(x1), x2, x1), ops.where(ops.isnan(x2), x1, x2)
    return function(first, second)


def _std(x, axis=None, keepdims=False):
    return root(ops.var(_promoted(x)[0], axis, keepdims))


def _norm(x, ord=None, axis=None, keepdims=False):
    if "complex" in str(ops.convert_to_tensor(x).dtype):
        return plain(of_backend.linalg.norm)(x, ord, axis, keepdims)
    (x,) = _promoted(x)
    axes = tuple(range(len(x.shape)) if axis is None else keras.tree.flatten(axis))
    vector = len(axes) == 1
    if ord in (None, "fro") or (vector and ord == 2):
        return root(ops.sum(x * x, axes, keepdims))
    if not vector or isinstance(ord, str) or not 0 < ord < math.inf:
        axis = axes[0] if vector else axes
        return plain(of_backend.linalg.norm)(x, ord, axis, keepdims)
    total = ops.sum(_power(ops.abs(x), ord), axes, keepdims)
    return total if ord == 1 else root(total, 1 / ord)


def _reshape(x, newshape):
    """A length that a trace does not know is left to the others."""
    if isinstance(newshape, (list, tuple)):
        newshape = [-1 if length is None else length for length in newshape]
    return plain(of_backend.numpy.reshape)(x, newshape)


def _cdist(x, y):
    plain(of_backend.math.cdist)(x, y)  # raises where the shapes do not fit
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    return root(ops.sum(ops.square(ops.expand_dims(x, -2) - ops.expand_dims(y, -3)), axis=-1))


TABLE = {
    of_backend.numpy: (
        cbrt, _clip, _fmax, _fmin, _hypot, _i0, _logaddexp, _logaddexp2, _power, _reshape,
        _std,
    ),
    of_backend.nn: (
        celu, elu, _hard_sigmoid, _hard_tanh, _leaky_relu, _selu, _softsign, _sparse_sigmoid,
    ),
    of_backend.linalg: (_norm,),
    of_backend.math: (_cdist,),
}  # fmt: skip

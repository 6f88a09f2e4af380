"""Rules of operations that are linear in their first argument: each coefficient alone."""

import math

import keras
from keras import layers, ops

from keras_derivs.engine.taylor.polynomial import Polynomial, handed_on, root_of
from keras_derivs.engine.taylor.rules import require_plain, taylor_rule, unsupported
from keras_derivs.engine.taylor.shapes import map_linear
from keras_derivs.graph.private import core, image, nn
from keras_derivs.graph.private import math as kmath
from keras_derivs.graph.private import numpy as knp

# entries of one tensor, copied or moved
COPIES = {
    knp.BroadcastTo, knp.Copy, knp.ExpandDims, knp.Flip, knp.GetItem, knp.Moveaxis, knp.Ravel,
    knp.Repeat, knp.Reshape, knp.Roll, core.Slice, knp.Squeeze, knp.Swapaxes, knp.Take,
    knp.TakeAlongAxis, knp.Tile, knp.Transpose, layers.Flatten, layers.Permute, layers.RepeatVector,
    layers.Reshape,
}  # fmt: skip


def linear(classes, keeps_batch):
    """Register operations that are linear in their first argument, a tensor or a list of those.

    `keeps_batch(operation, x, *arguments)` tells whether every entry of axis 0 is treated alike.
    """

    def rule(operation, x, *args, **kwargs):
        require_plain(operation, args, kwargs)
        result = apply_linear(operation, x, args, kwargs, keeps_batch(operation, x, *args))
        if type(operation) in COPIES and isinstance(result, Polynomial):
            return handed_on(result, lambda squared: rule(operation, squared, *args, **kwargs), x)
        return result

    taylor_rule(*classes)(rule)


def apply_linear(operation, x, args=(), kwargs=None, keeps_batch=True):
    structure = []

    def function(parts):
        packed = keras.tree.pack_sequence_as(x, parts)
        result = operation.call(packed, *args, **(kwargs or {}))
        structure.append(result)
        return keras.tree.flatten(result)

    results = map_linear(function, keras.tree.flatten(x), keeps_batch)
    return keras.tree.pack_sequence_as(structure[0], results)


def always(operation, x, *args):
    return True


def never(operation, x, *args):
    return False


def spares_batch(*names, added=0):
    """Whether the axes that an operation names leave out axis 0; `None` names them all."""

    def keeps_batch(operation, x, *args):
        ndim = keras.tree.flatten(x)[0].ndim + added
        axes = keras.tree.flatten([getattr(operation, name) for name in names])
        return all(axis is not None and axis % ndim != 0 for axis in axes)

    return keeps_batch


def _transposes_samples(operation, x):
    return operation.axes is not None and operation.axes[0] == 0


def _reshapes_samples(operation, x):
    rest, sample = tuple(operation.newshape)[1:], tuple(x.shape)[1:]
    known = all(isinstance(n, int) and n >= 0 for n in (*rest, *sample))
    free = operation.newshape[0] in (-1, None)
    return known and free and math.prod(rest) == math.prod(sample)


def _indexes_samples(operation, x, key):
    """Whether a key starts with a whole axis, or with an ellipsis that stands for axis 0 too."""
    if not isinstance(key, (tuple, list)) or not key:
        return False
    if key[0] is Ellipsis:
        return len([k for k in key[1:] if k is not None]) < x.ndim
    return isinstance(key[0], slice) and key[0] == slice(None)


def _leaves_first_alone(name, neutral):
    def keeps_batch(operation, x, *args):
        entries = getattr(operation, name)
        entries = tuple(entries) if isinstance(entries, (tuple, list)) else (entries,)
        return len(entries) == x.ndim and entries[0] == neutral

    return keeps_batch


def _leaves_axes(last):
    """Whether there are more axes than the last ones, which a transform takes."""
    return lambda operation, x: keras.tree.flatten(x)[0].ndim > last


linear([knp.Transpose], _transposes_samples)
linear([knp.Reshape], _reshapes_samples)
linear([knp.GetItem], _indexes_samples)
linear(
    [knp.Concatenate, knp.Split, core.Unstack, knp.Repeat, knp.Roll, knp.Flip], spares_batch("axis")
)
linear([knp.Cumsum, knp.Sum, knp.Mean, knp.Take, knp.Diff, knp.Squeeze], spares_batch("axis"))
linear([knp.Trapezoid], spares_batch("axis"))
linear([knp.Stack, knp.ExpandDims], spares_batch("axis", added=1))
linear([knp.Swapaxes, knp.Trace, knp.Diagonal], spares_batch("axis1", "axis2"))
linear([knp.Moveaxis], spares_batch("source", "destination"))
linear([knp.Tile], _leaves_first_alone("repeats", 1))
linear([knp.Tril, knp.Triu], lambda operation, x: x.ndim > 2)
linear([knp.BroadcastTo, knp.Ravel, knp.TakeAlongAxis, core.Slice], never)
linear([knp.Copy, knp.Real, knp.Conjugate], always)
linear([knp.Deg2rad, knp.Rad2deg, knp.Fliplr], always)
linear([nn.Conv, nn.DepthwiseConv, nn.SeparableConv], always)
linear([nn.AveragePool, nn.AdaptiveAveragePool, nn.DepthToSpace, nn.SpaceToDepth], always)
linear([nn.Unfold, image.ExtractPatches], lambda operation, x: x.ndim == 4)
linear([kmath.FFT, kmath.RFFT, kmath.IRFFT, kmath.STFT, kmath.ISTFT], _leaves_axes(1))
linear([kmath.FFT2, kmath.IFFT2], _leaves_axes(2))
linear([layers.CenterCrop], lambda layer, x, *arguments: x.ndim == 4)
linear([layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector], always)
linear([layers.Cropping1D, layers.Cropping2D, layers.Cropping3D], always)
linear([layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D], always)
linear([layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D], always)


@taylor_rule(
    layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
    layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout, layers.Identity,
    layers.ActivityRegularization,
)  # fmt: skip
def identity(layer, x, **kwargs):
    return x


@taylor_rule(knp.Negative)
def negative(operation, x):
    return -x if x.squared is None else root_of(-x, x.squared)


@taylor_rule(layers.Rescaling)
def rescaling(layer, x):
    scale = ops.cast(layer.scale, x.dtype)
    return x.each(lambda c: c * scale).with_value(layer.call(x.value))


@taylor_rule(layers.Normalization)
def normalization(layer, x):
    width = ops.maximum(
        ops.sqrt(ops.convert_to_tensor(layer.variance, x.dtype)), keras.backend.epsilon()
    )
    scale = width if layer.invert else 1 / width
    return x.each(lambda c: c * scale).with_value(layer.call(x.value))


@taylor_rule(knp.Pad)
def pad(operation, x, constant_values=None):
    require_plain(operation, constant_values)
    widths = operation.pad_width
    keeps_batch = len(widths) == x.ndim and tuple(widths[0]) == (0, 0)
    padded = apply_linear(operation, x, keeps_batch=keeps_batch)
    if constant_values is None:
        return padded
    return padded.with_value(operation.call(x.value, constant_values=constant_values))


@taylor_rule(image.Resize, layers.Resizing)
def resize(operation, x, **kwargs):
    """Linear, but for the constant that pads the image to its new aspect ratio."""
    resized = apply_linear(operation, x, kwargs=kwargs, keeps_batch=x.ndim == 4)
    if not operation.pad_to_aspect_ratio:
        return resized
    border = operation.call(ops.zeros_like(x.value), **kwargs)
    return resized.each(lambda c: c - border).with_value(resized.value)


@taylor_rule(nn.ConvTranspose)
def conv_transpose(operation, x, kernel):
    """By name: Keras's own operation swaps two arguments and the class swaps them elsewhere."""
    require_plain(operation, kernel)
    names = ("strides", "padding", "output_padding", "data_format", "dilation_rate")
    options = {name: getattr(operation, name) for name in names}
    run = lambda parts: [ops.conv_transpose(parts[0], kernel, **options)]  # noqa: E731
    return map_linear(run, [x], keeps_batch=True)[0]


@taylor_rule(core.Cast, core.SaturateCast)
def cast(operation, x):
    if "complex" in str(operation.dtype):
        raise unsupported(operation, "makes complex numbers")
    if not keras.backend.is_float_dtype(operation.dtype):
        return operation.call(x.value)
    return x.each(operation.call)


@taylor_rule(core.ConvertToTensor)
def convert_to_tensor(operation, x):
    return cast(operation, x) if operation.dtype else x


@taylor_rule(nn.BatchNorm)
def batch_norm(operation, x, mean, variance, offset=None, scale=None):
    """Affine in x where mean and variance are given."""
    require_plain(operation, mean, variance, offset, scale)
    factor = ops.rsqrt(ops.convert_to_tensor(variance, x.dtype) + operation.epsilon)
    factor = factor if scale is None else factor * ops.convert_to_tensor(scale, x.dtype)
    shape = [1] * x.ndim
    shape[operation.axis] = -1
    factor = ops.reshape(factor, shape)
    value = operation.call(x.value, mean, variance, offset=offset, scale=scale)
    return x.each(lambda c: c * factor).with_value(value)


@taylor_rule(
    core.StopGradient, knp.Sign, knp.Floor, knp.Ceil, knp.Round, knp.Trunc, knp.Equal, knp.NotEqual,
    knp.Greater, knp.GreaterEqual, knp.Less, knp.LessEqual, knp.Argmax, knp.Argmin, knp.Argsort,
    knp.OnesLike, knp.ZerosLike, knp.Isfinite, knp.Isnan, knp.Isinf, knp.Signbit,
    knp.Digitize,
)  # fmt: skip
def piecewise_constant(operation, *args):
    """The value alone: every derivative is zero."""
    return operation.call(*[x.value if isinstance(x, Polynomial) else x for x in args])

"""Gradients of pooling and depthwise convolution, made of slices and margins."""

import itertools

import numpy as np
import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import by_formula, is_needed, portable
from keras_derivs.backend.tensorflow.portable_slices import placed


@portable("Conv2D")
def _convolution(op, gradient, plain):
    """By x without the shape of the kernel, which is counted in an operation of its own."""
    x, kernel = op.inputs
    options = _options(op)
    by_x = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=kernel, out_backprop=gradient, **options
    )
    by_kernel = plain(gradient)[1] if is_needed(op, 1) else None
    return tf.ensure_shape(by_x, x.shape), by_kernel


@portable("Conv2DBackpropInput")
def _transposed_convolution(op, gradient, plain):
    _, kernel, _ = op.inputs
    by_kernel = plain(gradient)[1] if is_needed(op, 1) else None
    return None, by_kernel, tf.raw_ops.Conv2D(input=gradient, filter=kernel, **_options(op))


def _options(op):
    names = ("strides", "padding", "explicit_paddings", "dilations", "data_format")
    found = {name: op.get_attr(name) for name in names}
    return {n: x.decode() if isinstance(x, bytes) else x for n, x in found.items()}


@portable("MaxPool", "MaxPool3D")
def _max_pool(op, gradient, plain):
    return _pool(op, gradient, plain, _largest)


@portable("AvgPool", "AvgPool3D")
def _average_pool(op, gradient, plain):
    return _pool(op, gradient, plain, _average)


def _pool(op, gradient, plain, reduce):
    """The gradient of what reduces the entries of each window, as slices of x."""
    sizes = op.inputs[0].shape[1:]
    if None in sizes or op.get_attr("data_format") in (b"NCHW", b"NCDHW", "NCHW", "NCDHW"):
        return plain(gradient)
    return by_formula(lambda op, x: reduce(x, _windows(op, x)))(op, gradient, None)


def _windows(op, x):
    """For each place in a window, its entry and whether that is one of x, for all windows."""
    margins, steps = _margins(op, x), op.get_attr("strides")
    sizes = [n + sum(m) for n, m in zip(x.shape[1:], margins[1:])]
    counts = [(n - k) // s + 1 for n, k, s in zip(sizes, op.get_attr("ksize")[1:], steps[1:])]
    padded = any(map(sum, margins))
    inside = tf.pad(tf.ones(x.shape[1:], "bool"), margins[1:]) if padded else None
    x = tf.pad(x, margins) if padded else x
    for start in itertools.product(*(range(k) for k in op.get_attr("ksize")[1:])):
        cut = tuple(slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(start, counts, steps[1:]))
        yield x[(slice(None), *cut)], None if inside is None else inside[cut]


def _margins(op, x):
    """TensorFlow's margins: what is missing, the larger half behind."""
    margins = [(0, 0)]
    for n, k, s in zip(x.shape[1:], op.get_attr("ksize")[1:], op.get_attr("strides")[1:]):
        missing = max((-(-n // s) - 1) * s + k - n, 0)
        missing = missing if op.get_attr("padding") in (b"SAME", "SAME") else 0
        margins.append((missing // 2, missing - missing // 2))
    return margins


def _largest(x, windows):
    """The first of the largest entries."""
    found = None
    for entry, inside in windows:
        if inside is not None:
            entry = tf.where(inside, entry, tf.constant(x.dtype.min, x.dtype))
        found = entry if found is None else tf.where(entry > found, entry, found)
    return found


def _average(x, windows):
    total, count = 0.0, 0.0
    for entry, inside in windows:
        total += entry
        count += 1.0 if inside is None else tf.cast(inside, x.dtype)
    return total / count


@portable("DepthwiseConv2dNative")
def _depthwise(op, gradient, plain):
    """By x: the gradient, spread by the strides, and convolved with the turned kernel."""
    x, kernel = op.inputs
    if None in (*x.shape[1:], *kernel.shape) or op.get_attr("data_format") not in (b"NHWC", "NHWC"):
        return plain(gradient)
    by_kernel = plain(gradient)[1] if is_needed(op, 1) else None
    return _transposed_depthwise(op, gradient, x.shape, kernel), by_kernel


def _transposed_depthwise(op, gradient, shape, kernel):
    """A sum over the places of the kernel, each of which moves the gradient to its entries of x."""
    rows, columns, channels, times = kernel.shape
    (_, *steps, _), (_, *gaps, _) = op.get_attr("strides"), op.get_attr("dilations")
    widths = [(k - 1) * d + 1 for k, d in zip((rows, columns), gaps)]
    counts = gradient.shape[1:3]
    lead = [
        max((n - 1) * s + w - size, 0) // 2 if op.get_attr("padding") in (b"SAME", "SAME") else 0
        for n, s, w, size in zip(counts, steps, widths, shape[1:3])
    ]
    gradient = tf.reshape(gradient, [-1, *counts, channels, times])
    total = 0.0
    for place in itertools.product(range(rows), range(columns)):
        part = tf.reduce_sum(gradient * kernel[place], axis=-1)
        for axis, k in enumerate(place):
            first = k * gaps[axis] - lead[axis]
            part = _moved(part, axis + 1, first, steps[axis], shape[axis + 1])
        total += part
    return total


def _moved(x, axis, first, step, size):
    """Entry n at first + n step among as many as `size`; what lies outside is left out."""
    places = np.arange(x.shape[axis]) * step + first
    inside = np.flatnonzero((places >= 0) & (places < size))
    if not inside.size:
        return tf.zeros_like(tf.repeat(tf.gather(x, [0], axis=axis), size, axis))
    cut = slice(int(inside[0]), int(inside[-1]) + 1)
    return placed(x[(slice(None),) * axis + (cut,)], axis, places[cut], size)

"""Gradients of resampling, pooling and slices of images."""

import itertools

import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import gradient_of, linear
from keras_derivs.backend.tensorflow.modes import compiling


@gradient_of("LRN")
def _lrn(op, gradient, plain):
    """y = x s^-beta with s = bias + alpha * (sum of squares of the neighbouring channels)."""
    (x,) = op.inputs
    bias, alpha, beta = (op.get_attr(name) for name in ("bias", "alpha", "beta"))
    channels, radius = tf.shape(x)[-1], op.get_attr("depth_radius")
    distance = tf.range(channels)[:, None] - tf.range(channels)
    window = tf.cast(tf.abs(distance) <= radius, x.dtype)
    s = bias + alpha * tf.tensordot(tf.square(x), window, 1)
    inner = tf.tensordot(gradient * x * s ** (-beta - 1), window, 1)
    return gradient * s**-beta - 2 * alpha * beta * x * inner


@gradient_of("ResizeBilinear")
def _resize_bilinear(op, gradient, plain):
    return _resize(op, gradient, tf.raw_ops.ResizeBilinear)


@gradient_of("ResizeBicubic")
def _resize_bicubic(op, gradient, plain):
    return _resize(op, gradient, tf.raw_ops.ResizeBicubic)


@gradient_of("ResizeNearestNeighbor")
def _resize_nearest(op, gradient, plain):
    return _resize(op, gradient, tf.raw_ops.ResizeNearestNeighbor)


def _resize(op, gradient, resize):
    """Resampling is linear and separable: a matrix for each axis."""
    options = {name: op.get_attr(name) for name in ("align_corners", "half_pixel_centers")}

    def resample(columns, size, axis):
        return resize(images=columns, size=size, **options)

    return _transposed(op.inputs[0], gradient, resample), None


@gradient_of("ScaleAndTranslate")
def _scale_and_translate(op, gradient, plain):
    """Lanczos, Gaussian and antialiased resizing."""
    images, _, scale, shift = op.inputs
    options = {"kernel_type": op.get_attr("kernel_type"), "antialias": op.get_attr("antialias")}

    def resample(columns, size, axis):
        options["scale"] = tf.stack([scale[axis - 1], 1.0])
        options["translation"] = tf.stack([shift[axis - 1], 0.0])
        return tf.raw_ops.ScaleAndTranslate(images=columns, size=size, **options)

    return _transposed(images, gradient, resample), None, None, None


def _transposed(images, gradient, resample):
    """The transpose of a resampling, whose matrices are found by resampling unit vectors."""
    for axis in (1, 2):
        units = tf.eye(tf.shape(images)[axis], dtype=gradient.dtype)[:, :, None, None]
        matrix = resample(units, tf.stack([tf.shape(gradient)[axis], 1]), axis)[:, :, 0, 0]
        product = tf.tensordot(matrix, gradient, [[1], [axis]])
        gradient = tf.transpose(product, [1, 0, 2, 3] if axis == 1 else [1, 2, 0, 3])
    return tf.ensure_shape(tf.cast(gradient, images.dtype), images.shape)


@gradient_of("MaxPool")
def _max_pool(op, gradient, plain):
    return _pool(op, gradient, tf.raw_ops.MaxPoolGrad)


@gradient_of("MaxPool3D")
def _max_pool_3d(op, gradient, plain):
    return _pool(op, gradient, tf.raw_ops.MaxPool3DGrad)


def _pool(op, gradient, scatter):
    """TensorFlow's transpose of this does not run under XLA, and some clear their input first."""
    (x,), (y,) = op.inputs, op.outputs
    names = ("ksize", "strides", "padding", "data_format")
    options = {name: _text(op.get_attr(name)) for name in names}

    def pull(g):
        return scatter(orig_input=x, orig_output=y, grad=g, **options)

    def push(v):
        return _at_maxima(x, v, y.shape, tf.shape(y), **options)

    return linear(pull, push)(gradient)


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _at_maxima(x, v, static_shape, shape, ksize, strides, padding, data_format):
    """The entries of `v` where `x` is largest in each window, the first such."""
    if padding == "SAME":
        wide = (shape - 1) * strides + ksize
        missing = tf.maximum(wide - tf.shape(x), 0)
        margins = tf.stack([missing // 2, missing - missing // 2], axis=1)
        x, v = tf.pad(x, margins, constant_values=x.dtype.min), tf.pad(v, margins)
    largest = found = None
    for start in itertools.product(*map(range, ksize)):
        stop = start + (shape - 1) * strides + 1
        here, value = (tf.strided_slice(z, start, stop, strides) for z in (x, v))
        if found is None:
            largest, found = here, value
        else:
            found = tf.where(here > largest, value, found)
            largest = tf.maximum(here, largest)
    return tf.ensure_shape(found, static_shape)


@gradient_of("Slice")
def _slice(op, gradient, plain):
    """Under XLA the transpose, an update of a slice, has no gradient of its own."""
    x, start = op.inputs[:2]
    if not compiling():
        return plain(gradient)

    def pull(y):
        return plain(y)[0]

    def push(z):
        return tf.slice(z, start, tf.shape(gradient))

    return tf.ensure_shape(linear(pull, push)(gradient), x.shape), None, None

"""Gradients of reductions, slices and other rearrangements, with the counts that are known."""

import math

import numpy as np
import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import is_needed, portable, unbroadcast

MAX_MATRIX = 2**20  # entries of a matrix that selects rows


def like(x):
    """The shape of `x` for `tf.reshape`: one unknown length is left for the rest to tell."""
    shape = x.shape.as_list()
    if shape.count(None) > 1 or (None in shape and 0 in shape):
        return [tf.shape(x)[n] if size is None else size for n, size in enumerate(shape)]
    return [-1 if size is None else size for size in shape]


def _axes(op, position=1):
    """The axes that an argument of an operation names, counted from the front; or `None`."""
    axes = tf.get_static_value(op.inputs[position])
    rank = op.inputs[0].shape.rank
    return None if axes is None or rank is None else [int(n) % rank for n in np.ravel(axes)]


def _spread(op, gradient, axes):
    """The gradient of a reduction beside every entry that was reduced."""
    (x, *_) = op.inputs
    if not op.get_attr("keep_dims"):
        for axis in sorted(axes):
            gradient = tf.expand_dims(gradient, axis)
    return gradient + tf.zeros_like(x)


@portable("Sum")
def _sum(op, gradient, plain):
    axes = _axes(op)
    return plain(gradient) if axes is None else (_spread(op, gradient, axes), None)


@portable("Mean")
def _mean(op, gradient, plain):
    axes, (x, *_) = _axes(op), op.inputs
    if axes is None:
        return plain(gradient)
    sizes = [x.shape[n] for n in axes]
    if None in sizes:
        count = tf.cast(tf.reduce_prod(tf.gather(tf.shape(x), axes)), x.dtype)
    else:
        count = tf.constant(math.prod(sizes), x.dtype)
    return _spread(op, gradient, axes) / count, None


@portable("Max", "Min")
def _extremum(op, gradient, plain):
    """Equal entries share the gradient."""
    axes, (x, *_), (y,) = _axes(op), op.inputs, op.outputs
    if axes is None:
        return plain(gradient)
    chosen = tf.cast(tf.equal(x, _spread(op, y, axes)), x.dtype)
    count = tf.reduce_sum(chosen, axes, keepdims=True)
    return _spread(op, gradient, axes) * (chosen / count), None


@portable("BroadcastTo")
def _broadcast_to(op, gradient, plain):
    return unbroadcast(gradient, op.inputs[0]), None


@portable("Transpose")
def _transpose(op, gradient, plain):
    order = tf.get_static_value(op.inputs[1])
    if order is None:
        return plain(gradient)
    return tf.transpose(gradient, np.argsort(order)), None


@portable("Reshape", "ExpandDims")
def _reshape(op, gradient, plain):
    return tf.reshape(gradient, like(op.inputs[0])), None


@portable("Squeeze")
def _squeeze(op, gradient, plain):
    return tf.reshape(gradient, like(op.inputs[0]))


@portable("Tile")
def _tile(op, gradient, plain):
    x, multiples = op.inputs[0], tf.get_static_value(op.inputs[1])
    if multiples is None:
        return plain(gradient)
    for axis, times in enumerate(multiples):
        if times != 1:
            parts = tf.split(gradient, int(times), axis) if x.shape[axis] else None
            gradient = tf.add_n(parts) if parts else plain(gradient)[0]
    return gradient, None


@portable("ConcatV2")
def _concatenate(op, *arguments):
    *_, gradient, plain = arguments
    *xs, axis = op.inputs
    axis = int(tf.get_static_value(axis)) % gradient.shape.rank
    sizes = [x.shape[axis] for x in xs]
    if None in sizes:
        return plain(gradient)
    return [*tf.split(gradient, sizes, axis), None]


@portable("Pad", "PadV2")
def _pad(op, gradient, plain):
    margins, x = tf.get_static_value(op.inputs[1]), op.inputs[0]
    if margins is None:
        return plain(gradient)
    for axis, (before, after) in enumerate(np.asarray(margins).tolist()):
        gradient = _inner(gradient, axis, before, after)
    return [tf.ensure_shape(gradient, x.shape), *[None] * (len(op.inputs) - 1)]


def _inner(x, axis, before, after):
    """The entries of an axis without a margin."""
    if not before and not after:
        return x
    stop = -after if after else None
    return x[(slice(None),) * axis + (slice(before, stop),)]


@portable("Slice")
def _slice(op, gradient, plain):
    x, start = op.inputs[0], tf.get_static_value(op.inputs[1])
    if start is None:
        return plain(gradient)
    for axis, first in enumerate(np.asarray(start).tolist()):
        whole, part = x.shape[axis], gradient.shape[axis]
        if None in (whole, part) and (first or whole != part):
            return plain(gradient)
        if whole is not None:
            gradient = placed(gradient, axis, np.arange(first, first + part), whole)
    return gradient, None, None


@portable("StridedSlice")
def _strided_slice(op, gradient, plain):
    places, x = _indices(op), op.inputs[0]
    if places is None:
        return plain(gradient)
    shape = [size if n is None else len(n) for size, n in zip(x.shape, places)]
    gradient = tf.reshape(gradient, [-1 if size is None else size for size in shape])
    for axis, indices in enumerate(places):
        if indices is not None:
            gradient = placed(gradient, axis, indices, x.shape[axis])
    return gradient, None, None, None


def _indices(op):
    """For each axis of x the entries that a slice took, `None` for all; or `None` if unknown."""
    x, (begin, end, strides) = op.inputs[0], map(tf.get_static_value, op.inputs[1:4])
    if x.shape.rank is None or strides is None:
        return None
    masks = {name: op.get_attr(f"{name}_mask") for name in
             ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}  # fmt: skip
    items = len(strides)
    consumed = sum(not (masks["new_axis"] | masks["ellipsis"]) >> n & 1 for n in range(items))
    places, axis = [], 0
    for n in range(items):
        if masks["ellipsis"] >> n & 1:
            count = x.shape.rank - consumed
            places += [None] * count
            axis += count
        elif not masks["new_axis"] >> n & 1:
            place = _of_axis(masks, n, begin, end, strides, x.shape[axis])
            if place is NotImplemented:
                return None
            places.append(place)
            axis += 1
    places += [None] * (x.shape.rank - axis)
    unknown = sum(size is None for size in x.shape)
    return places if unknown <= 1 else None


def _of_axis(masks, n, begin, end, strides, size):
    bit, stride = 1 << n, int(strides[n])
    if stride == 1 and masks["begin"] & bit and masks["end"] & bit:
        return None
    if size is None or begin is None or end is None:
        return NotImplemented
    if masks["shrink_axis"] & bit:
        return np.asarray([int(begin[n]) % size])
    first = None if masks["begin"] & bit else int(begin[n])
    last = None if masks["end"] & bit else int(end[n])
    return np.arange(size)[slice(first, last, stride)]


def placed(x, axis, indices, size):
    """Entries along an axis at their places among as many as `size`, zero elsewhere."""
    if np.array_equal(indices, np.arange(size)):
        return x
    if len(indices) and np.array_equal(np.diff(indices), np.ones(len(indices) - 1)):
        margins = [[0, 0] for _ in x.shape]
        margins[axis] = [int(indices[0]), size - 1 - int(indices[-1])]
        return tf.pad(x, margins)
    return _times(x, axis, np.eye(size)[np.asarray(indices, int)])


def _times(x, axis, matrix):
    """A product along one axis: sum over n of x[..., n, ...] matrix[n]."""
    matrix = tf.constant(matrix, x.dtype)
    last = x.shape.rank - 1
    if axis == last:
        return tf.matmul(x, matrix) if last else tf.matmul(x[None], matrix)[0]
    order = [*range(axis), *range(axis + 1, last + 1), axis]
    product = tf.matmul(tf.transpose(x, order), matrix)
    return tf.transpose(product, np.argsort(order))


@portable("GatherV2")
def _gather(op, gradient, plain):
    x, *_ = op.inputs
    indices, axis = (tf.get_static_value(z) for z in op.inputs[1:])
    if indices is None or axis is None or x.shape.rank is None or op.get_attr("batch_dims"):
        return plain(gradient)
    axis = int(axis) % x.shape.rank
    size, indices = x.shape[axis], np.asarray(indices)
    unknown = [n is None for n in (*x.shape[:axis], *x.shape[axis + 1 :])]
    if size is None or sum(unknown) > 1 or size * indices.size > MAX_MATRIX:
        return plain(gradient)
    shape = [*x.shape[:axis], indices.size, *x.shape[axis + 1 :]]
    gradient = tf.reshape(gradient, [-1 if n is None else n for n in shape])
    return placed(gradient, axis, indices.ravel(), size), None, None


@portable("BatchMatMulV2")
def _batch_matmul(op, gradient, plain):
    """Products of stacks of matrices, where the stacks may be repeated."""
    x, y = op.inputs
    if any(z.shape.rank is None for z in (x, y)) or gradient.dtype.is_complex:
        return plain(gradient)
    across, down = op.get_attr("adj_x"), op.get_attr("adj_y")
    by_x = by_y = None
    if is_needed(op, 0):
        by_x = (
            tf.matmul(y, gradient, transpose_a=down, transpose_b=True)
            if across
            else tf.matmul(gradient, y, transpose_b=not down)
        )
    if is_needed(op, 1):
        by_y = (
            tf.matmul(gradient, x, transpose_a=True, transpose_b=across)
            if down
            else tf.matmul(x, gradient, transpose_a=not across)
        )
    return [g if g is None else unbroadcast(g, z) for g, z in ((by_x, x), (by_y, y))]

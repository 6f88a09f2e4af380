"""Gradients of slices and of rows that are taken: entries at known places, zero elsewhere."""

import numpy as np
import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import portable

MAX_MATRIX = 2**20  # entries of a matrix that selects rows


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

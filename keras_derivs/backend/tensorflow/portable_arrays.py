"""Gradients of reductions and rearrangements, with the counts that are known."""

import math

import numpy as np
import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import is_needed, portable, unbroadcast


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

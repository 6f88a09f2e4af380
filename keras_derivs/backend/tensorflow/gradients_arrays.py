"""Gradients of products and cumulative sums at zeros, of norms, and of cross-entropies."""

import numpy as np
import tensorflow as tf

from keras_derivs.backend.tensorflow import functions, norms
from keras_derivs.backend.tensorflow.gradients import by_formula, gradient_of

MAX_STEPS = 31  # doublings along an axis of unknown length


def _cumulated(op, combine, neutral, x, axis):
    """Cumulate along an axis by doubling (Hillis and Steele, 1986): no division."""
    axis = tf.get_static_value(axis)
    if axis is None:  # in `tf.vectorized_map`, for example
        raise NotImplementedError(f"its axis is not known before the call: {op.type}")
    axis = int(axis) % x.shape.rank
    reverse = op.get_attr("reverse")
    x = tf.reverse(x, [axis]) if reverse else x
    x = _shifted(x, 1, axis, neutral) if op.get_attr("exclusive") else x
    x = _scan(combine, neutral, x, axis)
    return tf.reverse(x, [axis]) if reverse else x


def _scan(combine, neutral, x, axis):
    length = x.shape[axis]
    for step in range(MAX_STEPS if length is None else max(length - 1, 0).bit_length()):
        x = combine(x, _shifted(x, 2**step, axis, neutral))
    return x


def _shifted(x, count, axis, fill):
    """Move the entries up along an axis."""
    shape = tf.shape(x)
    margins = [[0, 0] for _ in x.shape]
    margins[axis][0] = tf.minimum(count, shape[axis])
    padded = tf.pad(x, margins, constant_values=fill)
    return tf.ensure_shape(tf.slice(padded, [0] * x.shape.rank, shape), x.shape)


@gradient_of("Cumprod")
@by_formula
def _cumprod(op, x, axis):
    return _cumulated(op, tf.multiply, 1, x, axis)


@gradient_of("CumulativeLogsumexp")
@by_formula
def _cumulative_logsumexp(op, x, axis):
    return _cumulated(op, functions.logaddexp, x.dtype.min, x, axis)


@gradient_of("Prod")
def _prod(op, gradient, plain):
    axes = tf.get_static_value(op.inputs[1])
    return plain(gradient) if axes is None else _prod_by_halves(op, gradient, plain)


@by_formula
def _prod_by_halves(op, x, axes):
    axes = sorted({int(n) % x.shape.rank for n in np.ravel(tf.get_static_value(axes))})
    for axis in axes:
        x = _product(x, axis)
    return x if op.get_attr("keep_dims") else tf.squeeze(x, axes)


def _product(x, axis):
    """Multiply the halves of an axis until one entry is left."""
    length = x.shape[axis]
    if not length:
        one = tf.ones_like(tf.reduce_sum(x, axis, keepdims=True))
        x = tf.concat([one, x], axis)
        return tf.gather(_scan(tf.multiply, 1, x, axis), [tf.shape(x)[axis] - 1], axis=axis)
    while length > 1:
        half, odd = divmod(length, 2)
        first, second, rest = tf.split(x, [half, half, odd], axis)
        x, length = tf.concat([first * second, rest], axis), half + odd
    return x


@gradient_of("UnsortedSegmentProd")
@by_formula
def _unsorted_segment_prod(op, x, segments, count):
    return _segment_products(x, segments, count)


@gradient_of("SegmentProd")
@by_formula
def _segment_prod(op, x, segments):
    return _segment_products(x, segments, tf.reduce_max(segments) + 1)


def _segment_products(x, segments, count):
    """The product, for each segment, of what belongs to it and of ones."""
    inner = x.shape[segments.shape.rank :]
    x = tf.reshape(x, [-1, *tf.unstack(tf.shape(x)[segments.shape.rank :])])
    chosen = tf.equal(tf.reshape(segments, [-1]), tf.range(count, dtype=segments.dtype)[:, None])
    chosen = tf.reshape(chosen, [*tf.unstack(tf.shape(chosen)), *[1 for _ in inner]])
    return tf.squeeze(_product(tf.where(chosen, x, tf.ones_like(x)), 1), [1])


@gradient_of("EuclideanNorm")
@by_formula
def _euclidean_norm(op, x, axes):
    squares = tf.reduce_sum(x * tf.math.conj(x), axes, op.get_attr("keep_dims"))
    return norms.root(squares)


@gradient_of("SoftmaxCrossEntropyWithLogits")
def _softmax_cross_entropy(op, gradient, gradient_of_slope, plain):
    """Of -sum(labels log softmax(logits)), and of its second output, softmax - labels."""
    logits, slope = op.inputs[0], op.outputs[1]
    softmax = tf.nn.softmax(logits)
    labels, gradient = softmax - slope, gradient[:, None]
    total = tf.reduce_sum(labels, -1, keepdims=True)
    by_logits = gradient * (softmax * total - labels)
    by_labels = -gradient * tf.nn.log_softmax(logits)
    if gradient_of_slope is not None:
        h = gradient_of_slope
        by_logits += softmax * (h - tf.reduce_sum(h * softmax, -1, keepdims=True))
        by_labels -= h
    return by_logits, by_labels

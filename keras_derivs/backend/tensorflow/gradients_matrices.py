"""Gradients of determinants and decompositions of matrices at singular and repeated values."""

import numpy as np
import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import gradient_of

MAX_MINORS = 5  # the largest matrix whose minors are computed one by one
SAME = 100  # times the rounding error: how near equal values are


@gradient_of("MatrixDeterminant")
def _determinant(op, gradient, plain):
    """The matrix of cofactors, which a singular matrix has, too."""
    (x,) = op.inputs
    size = x.shape[-1]
    if size is None or size > MAX_MINORS:
        return plain(gradient)
    return gradient[..., None, None] * tf.math.conj(_cofactors(x, size))


def _cofactors(x, size):
    if size < 2:
        return tf.ones_like(x)
    rest = [[n for n in range(size) if n != row] for row in range(size)]
    minors = tf.gather(tf.gather(x, rest, axis=-2), rest, axis=-1)
    order = [*range(x.shape.rank - 2), *(x.shape.rank - 2 + n for n in (0, 2, 1, 3))]
    signs = tf.constant([[(-1) ** (i + j) for j in range(size)] for i in range(size)], x.dtype)
    return signs * tf.linalg.det(tf.transpose(minors, order))


@gradient_of("Svd")
def _svd(op, by_values, by_left, by_right, plain):
    values, *_ = op.outputs
    return _unless_repeated(values, [by_left, by_right], plain(by_values, by_left, by_right))


@gradient_of("SelfAdjointEigV2", "Eig")
def _eigenvalues(op, by_values, by_vectors, plain):
    values, *_ = op.outputs
    return _unless_repeated(values, [by_vectors], plain(by_values, by_vectors))


def _unless_repeated(values, by_vectors, found):
    """No number where vectors of equal values are asked for, of which TensorFlow drops a part."""
    size = tf.abs(values)
    apart = tf.abs(values[..., None, :] - values[..., None])
    apart = tf.linalg.set_diag(apart, tf.fill(tf.shape(size), size.dtype.max))
    allowed = SAME * np.finfo(size.dtype.as_numpy_dtype).eps * tf.reduce_max(size, -1)
    repeated = tf.reduce_min(apart, [-2, -1]) <= allowed
    asked = tf.zeros_like(repeated)
    for gradient in by_vectors:
        if gradient is not None and gradient.shape.rank == values.shape.rank + 1:
            asked |= tf.reduce_any(tf.not_equal(gradient, 0), [-2, -1])
    nothing = tf.cast(np.nan, found.dtype)
    return tf.where((repeated & asked)[..., None, None], nothing, found)

"""Gradients of determinants and decompositions of matrices at singular and repeated values."""

import numpy as np
import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import gradient_of

MAX_MINORS = 4  # the largest matrix whose minors are computed one by one
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
    rows = [
        [(-1) ** (i + j) * _minor(x, _without(size, i), _without(size, j)) for j in range(size)]
        for i in range(size)
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def _without(size, n):
    return [k for k in range(size) if k != n]


def _minor(x, rows, columns):
    """The determinant of these rows and columns, by its first row: products and sums alone."""
    if not rows:
        return tf.ones_like(x[..., 0, 0])
    first, *rest = rows
    terms = [
        (-1) ** n * x[..., first, column] * _minor(x, rest, [k for k in columns if k != column])
        for n, column in enumerate(columns)
    ]
    return sum(terms[1:], start=terms[0])


@gradient_of("Cholesky")
def _cholesky(op, gradient, plain):
    """Of the lower triangle, which alone is read; TensorFlow's is of symmetric moves."""
    found = plain(gradient)
    both = tf.linalg.band_part(found + tf.linalg.adjoint(found), -1, 0)
    return tf.linalg.set_diag(both, tf.linalg.diag_part(found))


@gradient_of("Svd")
def _svd(op, by_values, by_left, by_right, plain):
    values, *_ = op.outputs
    square = op.inputs[0].shape[-1] == op.inputs[0].shape[-2]
    repeated = _repeated(values if square else tf.pad(values, _one_more(values)))
    found = plain(by_values, by_left, by_right)
    return _unless_repeated(repeated, [by_left, by_right], found, values)


def _one_more(values):
    """A matrix that is not square has a singular value of 0 beside those that are listed."""
    return [*[[0, 0]] * (values.shape.rank - 1), [0, 1]]


@gradient_of("SelfAdjointEigV2", "Eig")
def _eigenvalues(op, by_values, by_vectors, plain):
    values, *_ = op.outputs
    found = plain(by_values, by_vectors)
    return _unless_repeated(_repeated(values), [by_vectors], found, values)


def _repeated(values):
    """Whether two values of a matrix are equal, up to rounding."""
    size = tf.abs(values)
    gaps = tf.abs(values[..., None, :] - values[..., None])
    gaps = tf.linalg.set_diag(gaps, tf.fill(tf.shape(size), size.dtype.max))
    allowed = SAME * np.finfo(size.dtype.as_numpy_dtype).eps * tf.reduce_max(size, -1)
    return tf.reduce_min(gaps, [-2, -1]) <= allowed


def _unless_repeated(repeated, by_vectors, found, values):
    """No number where vectors of equal values are asked for, of which TensorFlow drops a part.

    The gradient of the values is made of these vectors: it is a number, its own is none.
    """
    asked = tf.zeros_like(repeated)
    for gradient in by_vectors:
        if gradient is not None and gradient.shape.rank == values.shape.rank + 1:
            asked |= tf.reduce_any(tf.not_equal(gradient, 0), [-2, -1])
    return _differentiable_unless(repeated, _none_where(repeated & asked, found))


def _none_where(condition, x):
    """A product, so that it has no derivative there either."""
    factor = tf.where(condition, np.nan, 1.0)
    return x * tf.cast(factor[..., None, None], x.dtype)


def _differentiable_unless(repeated, x):
    @tf.custom_gradient
    def once(x):
        def gradient_of(gradient):
            return _none_where(
                repeated & tf.reduce_any(tf.not_equal(gradient, 0), [-2, -1]), gradient
            )

        return x, gradient_of

    return once(x)

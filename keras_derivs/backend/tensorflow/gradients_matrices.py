"""Gradients of determinants and decompositions of matrices at singular and repeated values."""

import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import gradient_of

MAX_MINORS = 5  # the largest matrix whose minors are computed one by one


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

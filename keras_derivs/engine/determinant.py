"""The logarithm of the absolute determinant of matrices."""

import keras
from keras import ops

from keras_derivs import backend
from keras_derivs.backend.step import EXCHANGED


def log_determinant(matrices):
    """log |det| of matrices (B, n, n): (B,).

    By LU, or where XLA compiles, which has none, by QR: the product of the diagonal of R.
    """
    if not backend.compiling():
        with keras.name_scope(EXCHANGED):
            return ops.slogdet(matrices)[1]
    _, triangles = ops.qr(matrices)
    return ops.sum(ops.log(ops.abs(ops.diagonal(triangles, axis1=-2, axis2=-1))), axis=-1)

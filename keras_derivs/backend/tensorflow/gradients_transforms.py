"""Gradients of Fourier transforms that leave out a part of their input, where TensorFlow fails."""

import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import by_formula, gradient_of

TRANSFORMS = {
    "RFFT": tf.signal.rfft,
    "RFFT2D": tf.signal.rfft2d,
    "IRFFT": tf.signal.irfft,
    "IRFFT2D": tf.signal.irfft2d,
}


@gradient_of(*TRANSFORMS)
def _transform(op, gradient, plain):
    x, length = op.inputs
    used = _used(op.type, tf.get_static_value(length))
    given = x.shape[-len(used) :] if used else []
    if not used or None in given or all(n <= m for n, m in zip(given, used)):
        return plain(gradient)
    part = (..., *[slice(n) for n in used])
    return by_formula(lambda op, x, length: TRANSFORMS[op.type](x[part], length))(
        op, gradient, plain
    )


def _used(name, length):
    """How many entries of each axis are transformed; nothing where that is not known."""
    if length is None:
        return []
    *others, last = (int(n) for n in length)
    return [*others, last // 2 + 1 if name.startswith("I") else last]

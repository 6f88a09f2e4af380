"""Jacobians of functions of single rows, for all rows at once."""

import contextlib

import keras
import tensorflow as tf

from keras_derivs.backend.defaults import precise


def jacobians_of_rows(function, xs, inputs, columns):
    """See `keras_derivs.backend.jacobians_of_rows`."""

    def of_row(row):
        row = keras.tree.map_structure(lambda z: z[None], row)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(xs)
            outputs = tf.unstack(function(xs, row)[0], num=columns)
        with precise():
            return tf.stack([_flat(tape.gradient(y, xs, None, "zero")) for y in outputs])

    with _quiet():
        try:
            return tf.vectorized_map(of_row, inputs, fallback_to_while_loop=False)
        except (NotImplementedError, TypeError, ValueError):  # such as loops that are recorded
            return tf.map_fn(of_row, inputs, fn_output_signature=xs[0].dtype)


@contextlib.contextmanager
def _quiet():
    """TensorFlow logs what it cannot vectorise."""
    logger = tf.get_logger()
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _flat(gradients):
    return tf.concat([tf.reshape(g, [-1]) for g in gradients], 0)

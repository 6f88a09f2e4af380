"""Compute the losses of a model in float64, whatever they were made for.

A loss of Keras computes in `keras.config.floatx()`, which is float32 also where the model and its
data are in float64. Second-order training would stop at the rounding of that.
"""

import contextlib

import keras

from keras_derivs.backend.switch import Switch

double_losses = globals().get("double_losses") or Switch()  # kept when loaded again


def _dtype(loss):
    return "float64" if double_losses.on else loss._dtype


keras.losses.Loss.dtype = property(_dtype)


def is_double(model):
    return {variable.dtype for variable in model.trainable_variables} == {"float64"}


def losses_of(model):
    """The context in which the losses of a model have the dtype of its weights."""
    return double_losses() if is_double(model) else contextlib.nullcontext()

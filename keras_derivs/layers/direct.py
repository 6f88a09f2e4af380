"""Calls that need nothing of what Keras does around `call`: a layer alone, on tensors, eagerly."""

import keras

from keras_derivs import backend
from keras_derivs.graph import private

_BY_TORCH = keras.backend.backend() == "torch"  # whose modules have hooks


def possible(layer, args, kwargs):
    """Whether `layer.call(*args)` is all that the call of a layer would do."""
    if kwargs or _BY_TORCH or backend.tracing() or private.in_call() or not _plain(layer):
        return False
    return all(_fits(x, layer.input_dtype) for x in keras.tree.flatten(args))


def _fits(x, dtype):
    """Whether it is a tensor without a mask that needs no conversion."""
    return (
        keras.ops.is_tensor(x)
        and private.mask_of(x) is None
        and keras.backend.standardize_dtype(x.dtype) == dtype
    )


def _plain(layer):
    """Whether a layer has all that a first call makes, and no option that Keras attends to."""
    if not (layer.built and private.was_called(layer)):
        return False
    mixed = layer.compute_dtype != layer.variable_dtype
    return not (mixed or layer.activity_regularizer or private.remat_mode(layer))

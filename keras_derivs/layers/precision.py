"""What rounds a number before a derivative meets it."""

import warnings

import keras

from keras_derivs.graph import private


def warn_of_inputs(model, name):
    """Warn where a model that computes in float64 declares inputs of less precision.

    Keras casts what enters to the dtype of an input, which is float32 under a float64 policy, too.
    """
    narrow = [x.name for x in getattr(model, "inputs", None) or [] if _narrows(x)]
    if narrow:
        warnings.warn(
            f"'{name}' is a derivative of '{model.name}', which computes in float64 from inputs "
            f"of lower precision, {narrow}: Keras rounds what enters there. Make them with "
            f"`keras.Input(..., dtype='float64')`.",
            stacklevel=4,
        )


def _narrows(x):
    source = private.source_of(x)
    is_input = source is not None and isinstance(source.operation, keras.layers.InputLayer)
    return is_input and x.dtype in ("float16", "bfloat16", "float32")

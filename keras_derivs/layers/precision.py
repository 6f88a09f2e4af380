"""What rounds a number before a derivative meets it."""

import warnings

import keras

from keras_derivs.graph import SubGraph, private

HALF = ("float16", "bfloat16")


def warn_of_inputs(model, name):
    """Warn where a model that computes in float64 declares inputs of less

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


def float_dtype(model):
    """The dtype of a model's derivatives: that of its inputs, float32 at least."""
    dtypes = [x.dtype for x in getattr(model, "inputs", None) or []]
    dtypes = [dtype for dtype in dtypes if keras.backend.is_float_dtype(dtype)]
    dtype = dtypes[0] if dtypes else model.compute_dtype
    known = dtype is not None and keras.backend.is_float_dtype(dtype)
    return "float32" if not known or dtype in HALF else dtype


def casts(model):
    """Whether inputs are cast to the dtype of a derivative.

    Those of a sub-graph are not, unless they have half precision: Keras declares float32 for
    some operations, such as `logsumexp`, whatever they compute in.
    """
    return not isinstance(model, SubGraph) or any(x.dtype in HALF for x in model.inputs)


def warn_of_dtypes(model, dtype, name):
    """Warn where a derivative cannot have the precision that its own dtype promises."""
    layers = private.layers_of(model)
    computed = {private.own_dtype(layer) for layer in layers if layer.built}
    lower = [
        other for other in computed if other in HALF or (dtype, other) == ("float64", "float32")
    ]
    if lower:
        warnings.warn(
            f"'{name}' returns {dtype} derivatives of '{model.name}', which computes in "
            f"{', '.join(sorted(lower))}: they are no more accurate than that. Build the model "
            f"with dtype='{dtype}' for accurate derivatives.",
            stacklevel=3,
        )
    if "float64" in computed:
        warn_of_inputs(model, name)

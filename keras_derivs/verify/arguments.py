"""What `verify` may be called with."""

import keras
import numpy as np

from keras_derivs.graph import private
from keras_derivs.layers.base import DerivativeLayer


def check_layer(layer, order):
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(
            f"`verify` needs a `keras.Model`, a layer, or a derivative layer. Received: {layer!r} "
            f"(of type {type(layer).__name__}). Put a function into a layer's `call`."
        )
    if not isinstance(layer, DerivativeLayer):
        if order is not None and (order not in (1, 2, 3) or isinstance(order, bool)):
            raise ValueError(
                f"`order=` needs to be 1, 2 or 3. Received: {order!r}. For higher derivatives "
                f"verify a layer that returns them."
            )
        return
    if order is not None:
        raise ValueError(
            f"`order=` is for models; a derivative layer has its own. Received: {order!r} for "
            f"'{layer.name}'. Leave it out."
        )
    check_derivative(layer)


def check_samples(x):
    """Raise unless `x` holds arrays with rows of finite numbers."""
    for z in keras.tree.flatten(x):
        if not hasattr(z, "shape") or not hasattr(z, "dtype"):
            raise TypeError(
                f"`verify` needs arrays or tensors of samples. Received: {type(z).__name__}. Give "
                f"`numpy.array(…)` of the samples, one a row."
            )
        if 0 in z.shape[:1]:
            raise ValueError(
                f"`verify` needs one sample at least. Received: the shape {tuple(z.shape)}. Give "
                f"some samples, one a row."
            )
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(z.dtype)):
            wrong = ~np.isfinite(keras.ops.convert_to_numpy(z).astype("float64"))
            if wrong.any():
                raise ValueError(
                    f"`verify` needs samples of finite numbers. Received: NaN or infinity in rows "
                    f"{np.unique(np.argwhere(wrong)[:, 0])[:9].tolist()}. Leave these out."
                )


def check_derivative(layer):
    """Raise unless the entries of a derivative layer are derivatives of single samples."""
    if layer.coupled:
        raise ValueError(
            f"`verify` compares derivatives of samples that do not depend on each other. Received: "
            f"'{layer.name}' with `coupled=True`. Compare it with differences of the sum over the "
            f"batch, or verify it in inference mode without `coupled=True`."
        )
    if getattr(layer, "num_samples", None):
        raise ValueError(
            f"`verify` needs an exact derivative. Received: '{layer.name}', an estimate from "
            f"{layer.num_samples} random samples. Verify it without `num_samples=`."
        )


def check_budget(budget):
    numeric = isinstance(budget, (int, float)) and not isinstance(budget, bool)
    if budget is not None and not (numeric and budget > 0):
        raise ValueError(
            f"`budget=` needs a positive number of seconds, or None. Received: {budget!r}. Give "
            f"30.0, say, or None to check everything however long it takes."
        )
    return budget


def check_names(layers, model):
    """The names in `layers=`, as a list; `None` for the model itself."""
    if layers is None:
        return None
    items = list(layers) if isinstance(layers, (list, tuple)) else [layers]
    names = [item.name if isinstance(item, keras.layers.Layer) else item for item in items]
    known = [part.name for part in private.layers_of(model, include_self=False)]
    wrong = [name for name in names if not isinstance(name, str) or name not in known]
    if wrong or not names:
        raise ValueError(
            f"`layers=` needs names of layers inside of '{model.name}'. Received: "
            f"{wrong or layers!r}. Choose from {known}, or leave it out to check the whole model."
        )
    return list(dict.fromkeys(names))

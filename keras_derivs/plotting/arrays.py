"""Numbers to draw, from layers, models and arrays."""

import math

import keras
import numpy as np
from keras import ops

from keras_derivs.features import features
from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.layers.partials import Partials

ROWS = 4096  # of a model at a time


def array(values, name):
    """Finite numbers as an array."""
    try:
        found = np.asarray(values, "float64")
    except (TypeError, ValueError):
        found = None
    if found is None or not np.all(np.isfinite(found)):
        raise ValueError(
            f"`{name}` needs finite numbers. Received: {_shown(values)}. Leave out what is not "
            f"finite."
        )
    return found


def _shown(values):
    shape = getattr(values, "shape", None)
    return type(values).__name__ if shape is None else f"an array of shape {tuple(shape)}"


def layer_of(source, kind):
    """A derivative layer, made by `kind` where a model is given; an array stays one."""
    plain = isinstance(source, keras.layers.Layer) and not isinstance(source, DerivativeLayer)
    return kind(source) if plain else source


def result(source, x):
    """The derivative to draw: an array itself, or what a layer returns for `x`."""
    if not isinstance(source, keras.layers.Layer):
        return array(source, "derivative")
    if x is None:
        raise ValueError(
            f"A picture of '{source.name}' needs samples to call it on. Received: `x=None`. Give "
            f"them, or an array of derivatives instead of the layer."
        )
    found = source(x)
    found = found[1] if source.return_value else found
    if isinstance(found, (list, tuple, dict)):
        raise ValueError(
            f"A picture needs the derivative by one input. Received: '{source.name}' of "
            f"'{source.model.name}', which has several. Choose one with `wrt=`."
        )
    return array(ops.convert_to_numpy(found), "derivative")


def selected(layer, x):
    """The flat entries of y and x that a layer selects, as (rows, columns)."""
    if layer.plan is None:
        layer(x)
    request = layer.plan.request.listed()
    (_, columns), *_ = request.columns
    return _every(request.rows, layer.plan.y), _every(columns, layer.plan.xs[0])


def _every(entries, tensor):
    return np.arange(math.prod(tensor.shape[1:])) if entries is None else entries


def flattened(model):
    """The `Features` of a model."""
    if isinstance(model, DerivativeLayer):
        raise TypeError(
            f"This picture needs the model itself: it derives on its own. Received: "
            f"'{model.name}' (of type {type(model).__name__}). Give '{model.model.name}'."
        )
    return features(model)


def entry(choice, names, argument):
    """The number of an input or output that is chosen by number or name."""
    if isinstance(choice, str) and choice in names:
        return names.index(choice)
    whole = isinstance(choice, (int, np.integer)) and not isinstance(choice, bool)
    if not whole or not -len(names) <= choice < len(names):
        raise ValueError(
            f"`{argument}=` needs a name or a number below {len(names)}. Received: {choice!r}. "
            f"Choose from {names[:20]}."
        )
    return int(choice) % len(names)


def partials(found, terms, points, output):
    """Arrays of one number a point: the partial derivatives of one output of `Features`."""
    layer = Partials(found.model, terms)
    parts = [[ops.convert_to_numpy(d)[:, output] for d in layer(c)] for c in chunks(points)]
    return [np.concatenate(part).astype("float64") for part in zip(*parts)]


def chunks(points):
    """The points, some thousands at a time."""
    return [points[start : start + ROWS] for start in range(0, len(points), ROWS)]


def samples(x, count, name="x"):
    """Rows of `count` features, of one sample or several."""
    found = array(x, name)
    found = found[None] if found.ndim == 1 and len(found) == count else found
    found = found.reshape(len(found), -1) if found.ndim else found
    if found.ndim != 2 or found.shape[1] != count or not len(found):
        raise ValueError(
            f"`{name}` needs samples of {count} features. Received: {_shown(x)}. Give an array of "
            f"shape (samples, {count})."
        )
    return found


def grid(spans, sizes):
    """Points of a regular grid over the product of spans, and its coordinates."""
    axes = [np.linspace(*span, size) for span, size in zip(spans, sizes)]
    return np.meshgrid(*axes, indexing="ij")


def span(given, name):
    """Two finite numbers, the lower one first."""
    found = array(given, name).reshape(-1)
    if found.shape != (2,) or not found[0] < found[1]:
        raise ValueError(
            f"`{name}=` needs a lower and an upper end. Received: {given!r}. Give (0.0, 1.0), say."
        )
    return float(found[0]), float(found[1])

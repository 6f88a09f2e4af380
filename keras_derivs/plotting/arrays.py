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
    if isinstance(values, dict):
        return f"a dict of {list(values)}"
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
    if isinstance(choice, str) and names.count(choice) == 1:
        return names.index(choice)
    whole = isinstance(choice, (int, np.integer)) and not isinstance(choice, bool)
    if not whole or not -len(names) <= choice < len(names):
        raise ValueError(
            f"`{argument}=` needs the name of one, or a number below {len(names)}. Received: "
            f"{choice!r}. Choose from {names[:20]}."
        )
    return int(choice) % len(names)


def partials(found, terms, points, output):
    """Arrays of one number a point: the partial derivatives of one output of `Features`."""
    layer = Partials(found.model, terms)
    parts = [[ops.convert_to_numpy(d)[:, output] for d in layer(c)] for c in chunks(points)]
    values = [np.concatenate(part).astype("float64") for part in zip(*parts)]
    if not all(np.isfinite(value).any() for value in values):
        raise ValueError(
            f"A picture needs values that are finite somewhere. Received: '{found.model.name}', "
            f"whose value or derivatives are not. Draw it over other inputs."
        )
    return values


def chunks(points):
    """The points, some thousands at a time."""
    return [points[start : start + ROWS] for start in range(0, len(points), ROWS)]


def samples(x, found, name="x"):
    """Rows of the features of `Features`, of one sample or several: an array of them, or an array
    for each input, nested as the model takes them."""
    if len(found.inputs) == 1 and not isinstance(x, dict):
        return _rows(x, [found.whole, *found.inputs], name)
    if not _is_nested(x, found):
        return _rows(x, [found.whole], name)
    parts = [
        _rows(values, [part], name) for values, part in zip(leaves(x, found, name), found.inputs)
    ]
    count = max(map(len, parts))
    if any(len(part) not in (1, count) for part in parts):
        raise ValueError(
            f"`{name}` needs as many samples for each input. Received: {[len(p) for p in parts]}. "
            f"Give one, or the same number."
        )
    return np.concatenate([np.broadcast_to(p, (count, p.shape[1])) for p in parts], axis=1)


def _is_nested(x, found):
    if isinstance(x, (list, tuple)):
        return len(x) == len(found.inputs) and any(hasattr(part, "shape") for part in x)
    return isinstance(x, dict)


def leaves(x, found, name):
    """The array of each input."""
    try:
        arrays = keras.tree.map_structure_up_to(
            found.tree, lambda _, part: array(part, name), found.tree, x
        )
    except (KeyError, TypeError, ValueError) as error:
        names = [part.name for part in found.inputs]
        raise ValueError(
            f"`{name}` needs finite numbers for the inputs {names}, nested as the model takes "
            f"them. Received: {_shown(x)}. Give an array of shape (samples, features) otherwise."
        ) from error
    return keras.tree.flatten(arrays)


def _rows(values, parts, name):
    """Flat samples of one of these inputs, of one sample or several."""
    found, size = np.atleast_1d(array(values, name)), parts[0].size
    if any(found.shape == part.shape for part in parts):
        return found.reshape(1, size)
    if not found.ndim or not len(found) or found.size != len(found) * size:
        raise ValueError(
            f"`{name}` needs samples of {size} features. Received: {_shown(values)}. Give an array "
            f"of shape (samples, {size})."
        )
    return found.reshape(len(found), size)


def check_least(count, least, name):
    """A whole number that is large enough."""
    whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
    if not whole or count < least:
        raise ValueError(
            f"`{name}=` needs a whole number of at least {least}. Received: {count!r}. Leave it "
            f"out for one that suits most pictures."
        )


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

"""A float64 copy of a model, which leaves the model itself alone."""

import contextlib

import keras
import numpy as np

from keras_derivs.graph import private

ROUNDING = {"bfloat16": 0.1, "float16": 0.02}  # some ten times that of a number
BASE = ("name", "trainable", "dtype")  # what every layer's config has


def double(model, inputs):
    """(model, inputs, outputs) in float64; as they are where the model cannot be copied so."""
    given = keras.tree.map_structure(_as_double, inputs)
    expected = model(inputs, training=False)
    try:
        with _float64():
            copy = _copy(model)
            if not copy.built or len(copy.weights) != len(model.weights):
                copy(given, training=False)  # creates the weights of a layer that has none yet
            copy.set_weights(model.get_weights())
            _finalized(copy)
            found = copy(given, training=False)
        if _agree(found, expected, _rounding(model)):
            return copy, given, found
    except Exception:  # a layer that cannot be made again: it is checked in its own precision
        pass
    return model, inputs, expected


@contextlib.contextmanager
def _float64():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def _copy(layer):
    """The same layer without its weights, in float64."""
    if isinstance(layer, keras.Sequential) or private.is_functional(layer):
        inputs = keras.tree.map_structure(_input, private.tree_of_inputs(layer))
        return keras.models.clone_model(layer, input_tensors=inputs, clone_function=_copy)
    if isinstance(layer, keras.layers.Lambda):
        made = keras.layers.Lambda(layer.function, arguments=layer.arguments, name=layer.name)
        return private.with_same_shape(made, layer)
    config = _with_float64(layer.get_config())
    try:
        return type(layer).from_config(config)
    except TypeError:  # a layer whose `__init__` takes arguments of its own only
        return type(layer)(**{key: value for key, value in config.items() if key not in BASE})


def _finalized(copy):
    """Make anew the tensors that adapted layers compute with, from the weights they now have."""
    for layer in private.layers_of(copy):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _input(tensor):
    dtype = "float64" if keras.backend.is_float_dtype(tensor.dtype) else tensor.dtype
    return keras.Input(batch_shape=tensor.shape, dtype=dtype, name=tensor.name)


def _with_float64(config):
    """The config, with float64 for every dtype, also of layers inside."""
    if isinstance(config, (list, tuple)):
        return type(config)(_with_float64(item) for item in config)
    if not isinstance(config, dict):
        return config
    return {
        key: "float64" if key == "dtype" and _is_float(value) else _with_float64(value)
        for key, value in config.items()
    }


def _is_float(dtype):
    name = dtype["config"].get("name", "") if isinstance(dtype, dict) else str(dtype)
    return "float" in name


def _as_double(x):
    x = keras.ops.convert_to_numpy(x)
    floats = keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))
    return x.astype("float64") if floats else x


def _rounding(model):
    """By how much a model may differ from its copy, of its largest output."""
    dtypes = {str(layer.compute_dtype) for layer in [model, *private.layers_of(model)]}
    return next((size for dtype, size in ROUNDING.items() if dtype in dtypes), 1e-3)


def _agree(found, expected, rounding):
    pairs = zip(keras.tree.flatten(found), keras.tree.flatten(expected))
    return all(_close(*map(_as_double, pair), rounding) for pair in pairs)


def _close(a, b, rounding):
    scale = np.max(np.abs(b), initial=0, where=np.isfinite(b))
    return np.allclose(a, b, rtol=0, atol=rounding * scale, equal_nan=True)

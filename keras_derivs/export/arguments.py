"""What `export` may be called with."""

import math
import os
import pathlib

import keras
import numpy as np

from keras_derivs.graph import private
from keras_derivs.layers.base import DerivativeLayer

NUM_SAMPLES = 4  # of random numbers, where no samples are given
LENGTH = 4  # of axes that the model leaves open


def check_model(model):
    if isinstance(model, DerivativeLayer):
        model = _around(model)
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`export` needs a `keras.Model`. Received: {model!r} (of type "
            f"{type(model).__name__}). Put a layer between inputs and outputs: "
            f"`keras.Model(x, layer(x))`."
        )
    if not model.built:
        raise ValueError(
            f"`export` needs a model that has weights. Received: '{model.name}', which was not "
            f"built. Call it once, or give it a `keras.Input`."
        )
    return model


def _around(layer):
    """A model that returns what a derivative layer does."""
    try:
        x = keras.tree.map_structure(
            lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name),
            structure(layer.model),
        )
        return keras.Model(x, layer(x), name=layer.name)
    except Exception as error:
        raise ValueError(
            f"`export` needs a model with inputs. Received: '{layer.name}', a derivative layer "
            f"that cannot be called on the inputs of '{layer.model.name}' alone ({error}). Call "
            f"it on what it takes: `keras.Model([x, v], layer([x, v]))`."
        ) from error


def check_path(path):
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise TypeError(
            f"`path=` needs a path. Received: {path!r} (of type {type(path).__name__}). Give a "
            f'name such as "model.onnx".'
        )
    return pathlib.Path(path)


def check_free(path, format):
    """Nothing stands at the path, or what an export of the same kind replaces."""
    folder = not format.suffix
    earlier = (path / "saved_model.pb").is_file() if folder else path.is_file()
    free = not path.exists() or (folder and path.is_dir() and not any(path.iterdir()))
    if not (earlier or free):
        kind = "folder" if path.is_dir() else "file"
        raise ValueError(
            f"`path=` needs a place that is free, or that holds an earlier export, for "
            f"{format.title}. Received: '{path}', another {kind}. Choose another path, or remove "
            f"it first."
        )


def check_tolerance(tolerance):
    numeric = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if not numeric or not 0 < tolerance < math.inf:
        raise ValueError(
            f"`tolerance=` needs a positive number. Received: {tolerance!r}. Give 1e-5, say."
        )
    return tolerance


def check_samples(samples, model):
    """The samples in the structure of the model's inputs, as arrays."""
    if samples is None:
        return _random(model)
    arrays = keras.tree.map_structure(keras.ops.convert_to_numpy, samples)
    flat, inputs = keras.tree.flatten(arrays), getattr(model, "inputs", None)
    counts = {x.shape[0] if x.ndim else None for x in flat}
    if not flat or len(counts) != 1 or counts <= {None, 0}:
        raise ValueError(
            f"`samples=` needs at least one sample, and as many for each input. Received: arrays "
            f"of shape {[x.shape for x in flat]}. Give what `model.predict` takes."
        )
    if inputs and len(inputs) != len(flat):
        raise ValueError(
            f"`samples=` needs an array for each input of the model. Received: {len(flat)} for "
            f"the {len(inputs)} inputs of '{model.name}'. Give what `model.predict` takes."
        )
    if inputs:
        types = [keras.backend.standardize_dtype(x.dtype) for x in inputs]
        flat = [x.astype(dtype) for x, dtype in zip(flat, types)]
    return keras.tree.pack_sequence_as(arrays, flat)


def _random(model):
    inputs = getattr(model, "inputs", None) or []
    open_axes = any(None in x.shape[1:] for x in inputs)
    whole = any(not keras.backend.is_float_dtype(x.dtype) for x in inputs)
    if not inputs or open_axes or whole:
        shapes = [(x.name, tuple(x.shape), x.dtype) for x in inputs]
        raise ValueError(
            f"`samples=` is needed for inputs of unknown length, of integers, or that the model "
            f"does not tell. Received: none, for '{model.name}' with inputs {shapes}. Give some "
            f"inputs, as for `predict`."
        )
    return drawn(structure(model))


def drawn(specs):
    """Numbers for what a model is called on: normal ones, or zeros, which all integers may be."""
    generator = np.random.default_rng(0)

    def draw(spec):
        dtype = keras.backend.standardize_dtype(spec.dtype)
        shape = [spec.shape[0] or NUM_SAMPLES, *(n or LENGTH for n in spec.shape[1:])]
        floating = keras.backend.is_float_dtype(dtype)
        return (generator.normal(size=shape) if floating else np.zeros(shape)).astype(dtype)

    return keras.tree.map_structure(draw, specs)


def structure(model):
    """The inputs of a model as it takes them: one, a list, or a dict."""
    inputs = private.tree_of_inputs(model, model.inputs)
    return inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs

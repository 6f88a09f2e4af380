"""A model as a function of numbered features: a row of numbers in, a row of numbers out."""

import math
import re
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_derivs.graph import private

UNNAMED = re.compile(r"(input|input_layer|keras_tensor)(_\d+)?")  # names that Keras gave


@dataclass(frozen=True)
class Part:
    """One tensor among the inputs or outputs of a model; `shape` is that of one sample."""

    name: str
    shape: tuple
    dtype: str
    position: int  # among all inputs, or all outputs

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def is_float(self):
        return keras.backend.is_float_dtype(self.dtype)

    @property
    def entries(self):
        """A name for each entry: that of the tensor, with an index where it has several."""
        if self.size == 1:
            return [self.name]
        return [f"{self.name}[{','.join(map(str, at))}]" for at in np.ndindex(self.shape)]


@dataclass(frozen=True)
class Features:
    """`model` takes `(batch, features)` and returns `(batch, entries)`.

    The features are the entries of the inputs, one input after the other; the entries are those
    of the float outputs. `tree` has the inputs of the model that was given, nested as it is called.
    """

    model: keras.Model
    inputs: tuple
    outputs: tuple
    tree: object

    @property
    def input_names(self):
        return [name for part in self.inputs for name in part.entries]

    @property
    def output_names(self):
        return [name for part in self.outputs for name in part.entries]

    @property
    def differentiable(self):
        """The numbers of the features that belong to float inputs."""
        floats = [part.is_float for part in self.inputs for _ in range(part.size)]
        return [number for number, is_float in enumerate(floats) if is_float]

    @property
    def whole(self):
        """All features as one input."""
        return Part("features", (len(self.input_names),), self.model.inputs[0].dtype, 0)

    def packed(self, arrays):
        """One array for each input, as the model takes them."""
        return keras.tree.pack_sequence_as(self.tree, arrays)

    def select(self, outputs, inputs):
        """Symbolic (features, chosen entries, chosen features), for derivatives between them."""
        x = self.model.inputs[0]
        return x, _taken(self.model.outputs[0], outputs), _taken(x, inputs)


def features(model, shapes=None):
    """The `Features` of a model that has been built.

    Args:
        model: A `keras.Model` whose inputs are known.
        shapes: The shape of one sample for each input, where the model leaves it open.

    Raises:
        TypeError: `model` is not a `keras.Model`.
        ValueError: It has no inputs so far, or an axis of them is not known, or it has no float
            output.
    """
    parts = _inputs(model, shapes)
    x = keras.Input((sum(part.size for part in parts),), dtype=_dtype(parts), name="features")
    starts = np.cumsum([0, *(part.size for part in parts)])
    tensors = [_tensor(x, part, start) for part, start in zip(parts, starts)]
    tree = private.tree_of_inputs(model, model.inputs)
    outputs = model(keras.tree.pack_sequence_as(tree, tensors))
    named = zip(_output_names(model, outputs), keras.tree.flatten(outputs))
    every = [(Part(name, tuple(y.shape[1:]), y.dtype, n), y) for n, (name, y) in enumerate(named)]
    floats = [(part, y) for part, y in every if part.is_float]
    if not floats:
        raise ValueError(
            f"A derivative needs an output of a float dtype. Received: '{model.name}', which has "
            f"none. Take the model without its last step, such as `argmax`."
        )
    flat = [ops.reshape(ops.cast(y, x.dtype), (-1, part.size)) for part, y in floats]
    joined = flat[0] if len(flat) == 1 else ops.concatenate(flat, axis=-1)
    found = tuple(part for part, _ in floats)
    return Features(keras.Model(x, joined, name=model.name), tuple(parts), found, tree)


def _inputs(model, shapes):
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"A function of features needs a `keras.Model`. Received: {model!r} (of type "
            f"{type(model).__name__}). Put a layer into a `keras.Sequential`."
        )
    tensors = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if not tensors:
        raise ValueError(
            f"A function of features needs a model whose inputs are known. Received: "
            f"'{model.name}', which was not built. Begin it with `keras.Input`."
        )
    shapes = shapes or [x.shape[1:] for x in tensors]
    for x, shape in zip(tensors, shapes):
        if None in shape:
            raise ValueError(
                f"A function of features needs inputs whose axes are known. Received: '{x.name}' "
                f"of shape {tuple(x.shape)} for '{model.name}'. Give the axis a length."
            )
    names = _input_names(tensors)
    told = zip(names, shapes, tensors)
    return [Part(name, tuple(s), x.dtype, n) for n, (name, s, x) in enumerate(told)]


def _input_names(tensors):
    if len(tensors) == 1 and UNNAMED.fullmatch(tensors[0].name):
        return ["x"]
    return [x.name for x in tensors]


def _output_names(model, outputs):
    paths = ["/".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(outputs)]
    names = list(getattr(model, "output_names", None) or [])
    given = [isinstance(outputs, dict), len(names) != len(paths)]
    return paths if any(given) and all(paths) else names or ["y"]


def _dtype(parts):
    floats = [part.dtype for part in parts if part.is_float]
    return "float64" if "float64" in floats else "float32"


def _tensor(x, part, start):
    flat = x if part.size == x.shape[1] else x[:, start : start + part.size]
    shaped = flat if part.shape == flat.shape[1:] else ops.reshape(flat, (-1, *part.shape))
    return shaped if part.dtype == x.dtype else ops.cast(shaped, part.dtype)


def _taken(x, numbers):
    numbers = list(numbers)
    if numbers == list(range(x.shape[1])):
        return x
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return x[:, numbers[0] : numbers[-1] + 1]
    return ops.take(x, np.asarray(numbers, "int32"), axis=1)

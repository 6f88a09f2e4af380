"""Single layers of a model, and what they are called on when the model runs."""

import keras
import numpy as np

from keras_derivs.graph import private
from keras_derivs.symbolic.between import BetweenTensors


def parts(model, given, names):
    """[(name, layer, what it is called on), …] for the layers of these names.

    A derivative between tensors stands for the derivative layer inside it.
    """
    wanted = [part for part in private.layers_of(model, include_self=False) if part.name in names]
    calls = {id(part): (args, kwargs) for part, args, kwargs in recorded(model, given, wanted)}
    missing = [part.name for part in wanted if id(part) not in calls]
    if missing:
        raise ValueError(
            f"`layers=` needs layers that run when the model is called on `x`. Received: "
            f"{missing} of '{model.name}', which do not. Leave them out."
        )
    return [(part.name, *alone(part, *calls[id(part)])) for part in wanted]


def recorded(model, given, layers):
    """[(layer, args, kwargs), …] of the first call of each layer, as these calls end."""
    calls = {}
    for layer in layers:
        layer.__dict__["call"] = _recorder(layer, calls)
    try:
        with keras.StatelessScope():
            model(given, training=False)
    finally:
        for layer in layers:
            del layer.__dict__["call"]
    return list(calls.values())


def _recorder(layer, calls):
    """A layer's `call` that notes what it is called on."""

    def call(*args, **kwargs):
        y = type(layer).call(layer, *args, **kwargs)
        calls.setdefault(id(layer), (layer, args, kwargs))
        return y

    return call


def alone(layer, args, kwargs):
    """(layer, inputs) such that one can be called on the other."""
    if isinstance(layer, BetweenTensors) and hasattr(layer, "_arguments"):
        return layer.derivative, _numbers(layer._arguments(*args))
    kwargs = {key: x for key, x in kwargs.items() if x is not None and key != "training"}
    if len(args) == 1 and not kwargs:
        return layer, _numbers(args[0])
    tensors = {key: x for key, x in kwargs.items() if keras.ops.is_tensor(x)}
    return Alone(layer, kwargs), _numbers([list(args), tensors])


class Alone(keras.layers.Layer):
    """A layer of several arguments, called on a list of those and a dict of named ones."""

    def __init__(self, layer, kwargs):
        super().__init__(name=layer.name, autocast=False, dtype=layer.dtype_policy)
        self.layer = layer
        self.constants = {key: x for key, x in kwargs.items() if not keras.ops.is_tensor(x)}

    def build(self, input_shape=None):
        self.built = True

    def call(self, inputs, training=None):
        args, tensors = inputs
        return self.layer(*args, **{**self.constants, **tensors})


def _numbers(tensors):
    return keras.tree.map_structure(
        lambda x: np.asarray(keras.ops.convert_to_numpy(x)) if keras.ops.is_tensor(x) else x,
        tensors,
    )

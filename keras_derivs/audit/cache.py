"""Findings are kept for each model, for as long as it lives and stays the same."""

import types
import weakref
from dataclasses import dataclass
from typing import Any

import keras

from keras_derivs.graph import SubGraph, is_derivative, private

_findings = weakref.WeakKeyDictionary()
_BY_TORCH = keras.backend.backend() == "torch"  # which sets `training` of every layer
_SIMPLE = (bool, int, float, str, type(None), types.FunctionType, types.BuiltinFunctionType)


@dataclass(frozen=True)
class _Found:
    """Of a class of its own: TensorFlow would save a tuple in a layer's attribute to a file."""

    state: dict
    moving: set
    result: Any


def found(model, key, find):
    """What `find()` returned for this model and key, while nothing about the model changed.

    What `find` itself changes, such as a count of calls, does not matter.
    """
    owner, part = _owner(model)
    return _fresh(_findings.setdefault(owner, {}), (part, key), fingerprint, model, find)


def planned(plans, key, model, make):
    """The plan of a key that `make()` made, while the model has the same layers and functions."""
    last = plans.setdefault(key, _Planned())
    if not last.matches(model):
        last.result = _fresh(last.found, key, _parts, model, make)
        last.remember(model)
    return last.result


class _Planned:
    """A plan, and the attributes that the layers of its model had, by which it is known fast.

    Whoever keeps it keeps the model, too.
    """

    def __init__(self):
        self.result, self.found, self.known = None, {}, None

    def remember(self, model):
        self.known = [(layer, layer.trainable, dict(vars(layer))) for layer in _layers(model)]

    def matches(self, model):
        """Whether all attributes are the same objects, or equal; objects come first in `==`."""
        try:
            return self.known == [(x, x.trainable, vars(x)) for x in _layers(model)]
        except Exception:  # arrays that are not the same have no one answer
            return False


def _fresh(known, key, state_of, model, find):
    state = state_of(model)
    last = known.get(key)
    if last is None or last.state != _without(state, last.moving):
        result, after = find(), state_of(model)
        moving = {name for name in state if name not in after or state[name] != after[name]}
        last = known[key] = _Found(_without(state, moving), moving, result)
    return last.result


def _parts(model):
    state = fingerprint(model)
    return {name: part for name, part in state.items() if type(part) not in (int, float)}


def _without(state, names):
    return {name: value for name, value in state.items() if name not in names}


def _owner(model):
    """A sub-graph is cut anew for each derivative; its output stays."""
    if isinstance(model, SubGraph):
        return model.outputs[0], tuple(map(id, [*model.inputs, *model.nodes]))
    return model, ()


def fingerprint(model):
    """The layers of a model, with those of their attributes that are options or functions."""
    state = {}
    for n, layer in enumerate(_layers(model)):
        state[n] = weakref.ref(layer)
        state |= {(n, name): value for name, value in _attributes(layer)}
    return state


def _layers(model):
    if not isinstance(model, SubGraph):
        return private.layers_of(model)
    return [inner for layer in model.layers for inner in private.layers_of(layer)]


def _attributes(layer):
    """Functions are referred to, not kept: they may hold the model."""
    options = [("trainable", layer.trainable), *vars(layer).items()]
    passing = _passing(layer)
    return [
        (name, weakref.ref(value) if callable(value) else value)
        for name, value in options
        if isinstance(value, _SIMPLE) and name not in passing
    ]


def _passing(layer):
    """The names of attributes that change while nothing about the model does."""
    own = {"_latest"} if is_derivative(layer) else set()
    trained = private.OF_TRAINING if isinstance(layer, keras.Model) else set()
    return {"built", "_called"} | own | trained | ({"training"} if _BY_TORCH else set())

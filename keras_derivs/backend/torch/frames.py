"""In which functions a call of PyTorch is made, as the frames around it tell."""

import torch

from keras_derivs.backend import formulas
from keras_derivs.backend.override import plain
from keras_derivs.backend.torch.determinant import determinant
from keras_derivs.graph.private import of_backend


def own_function(frame):
    """The `torch.autograd.Function` in whose forward part a frame is, or `None`."""
    forwards = {
        cls.forward.__code__: cls
        for cls in _subclasses(torch.autograd.Function)
        if hasattr(cls.forward, "__code__")
    }
    return _first(frame, forwards)


def is_ours(cls):
    """Whether a `torch.autograd.Function` is a formula of this package, not of the model."""
    return cls.__module__.startswith("keras_derivs.")


def replaced_function(frame):
    """The name of the function of Keras in which a frame is, if a formula takes its place."""
    return _first(frame, REPLACED)


def selects_whole(frame):
    """Whether a frame is in a function of Keras that has its own derivative at single points."""
    return _first(frame, {of_backend.numpy.divide_no_nan.__code__: True})


def _first(frame, names):
    while frame is not None:
        if frame.f_code in names:
            return names[frame.f_code]
        frame = frame.f_back
    return None


def _subclasses(cls):
    return [cls, *(inner for each in cls.__subclasses__() for inner in _subclasses(each))]


def _replaced():
    """The code of the functions whose parts have kinks that the whole has not: its name."""
    names = ("cbrt", "cdist", "hypot", "i0", "logaddexp", "logaddexp2", "norm", "softsign", "std")
    found = {}
    for module, functions in formulas.TABLE.items():
        for name in {function.__name__.removeprefix("_") for function in functions} & {*names}:
            found[plain(getattr(module, name)).__code__] = name
    return {**found, determinant.__code__: "det"}


REPLACED = _replaced()

"""Keras's functions that write files, exchanged for models with derivatives; not on TensorFlow."""

import functools

import keras

from keras_derivs.backend.override import plain
from keras_derivs.graph.nodes import is_derivative
from keras_derivs.graph.private import exporters, layers_of, signature_of


def install(functions):
    """Let `functions` write the files of models with derivatives; others are left to Keras.

    Args:
        functions: the name of a function of Keras, and one that is called on the model, a path,
            the signature of the model, and the other arguments of `model.export`.
    """
    for name, function in functions.items():
        setattr(exporters, name, _for_derivatives(keras_own(name), function))


def keras_own(name):
    """A function of Keras that writes files of a format."""
    return plain(getattr(exporters, name))


def input_names(signature):
    """The names that a file has for the flat inputs."""
    specs = keras.tree.flatten(tuple(signature))
    return [getattr(spec, "name", None) or f"input_{n}" for n, spec in enumerate(specs)]


def output_names(structure):
    """The names that a file has for the flat outputs: their keys, or numbers."""
    paths = [path for path, _ in keras.tree.flatten_with_path(structure)]
    keyed = [bool(path) and isinstance(path[0], str) for path in paths]
    return [
        "_".join(map(str, path if key else ("output", *path))) for path, key in zip(paths, keyed)
    ]


def _for_derivatives(original, function):
    @functools.wraps(original)
    def export(model, filepath, verbose=None, input_signature=None, **kwargs):
        options = {"verbose": verbose, **kwargs}
        if holds_derivatives(model):
            signature = input_signature or signature_of(model)
            return function(model, str(filepath), signature, **options)
        return original(model, filepath, input_signature=input_signature, **options)

    export._keras_derivs_plain = original
    return export


def holds_derivatives(model):
    """Whether a derivative layer is in the model, at any depth."""
    return any(map(is_derivative, layers_of(model)))

"""`model.export` of models with derivatives: a file is compared here, too, before it appears."""

import functools
import pathlib
import warnings

from keras_derivs.backend.exports import holds_derivatives
from keras_derivs.export import arguments, place
from keras_derivs.export.compare import Random, cases, comparing
from keras_derivs.export.formats import FORMATS
from keras_derivs.export.main import TOLERANCE, exported
from keras_derivs.graph import private

FUNCTIONS = {"tf_saved_model": "export_saved_model"}  # of Keras, others are called as the format


def install():
    """Let Keras's functions that write files compare those of models with derivatives."""
    for format in FORMATS:
        name = FUNCTIONS.get(format.name, f"export_{format.name}")
        setattr(private.exporters, name, _compared(format, getattr(private.exporters, name)))


def _compared(format, function):
    function = getattr(function, "_keras_derivs_compared", function)

    @functools.wraps(function)
    def export(model, filepath, verbose=None, input_signature=None, **kwargs):
        options = {"input_signature": input_signature, **kwargs}
        if comparing.on or not holds_derivatives(model):
            return function(model, filepath, verbose=verbose, **options)
        known, reason = _known(format, model, input_signature)
        if known is None:
            function(model, filepath, verbose=verbose, **options)
            return _warn(model, reason)
        _export(format, model, pathlib.Path(filepath), known, options)
        if verbose is not False:
            print(f"Saved artifact at '{filepath}'.")

    export._keras_derivs_compared = function
    return export


def _export(format, model, path, known, options):
    options = {key: value for key, value in options.items() if value is not None}
    with place.beside(path) as temporary:
        exported(model, temporary, format, known, TOLERANCE, options)
        place.keep_others(path, temporary)


def _known(format, model, signature):
    """What the model predicts of numbers that are drawn here, or why that is not known."""
    try:
        format.check_packages()
        given = signature or private.signature_of(model)
        (specs,) = given if isinstance(given, (list, tuple)) else (given,)
        return cases(model, arguments.drawn(specs)), None
    except Random:
        raise
    except Exception as error:
        return None, " ".join(str(error).split())[:300]


def _warn(model, reason):
    warnings.warn(
        f"The file of '{model.name}' was not compared with the model: {reason} Call "
        f"`keras_derivs.export`, with `samples=`, for a file that is known to be right.",
        stacklevel=4,
    )


install()

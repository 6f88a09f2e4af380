"""Files of models with derivatives on PyTorch, made from one program of plain operations."""

import importlib

import torch

from keras_derivs.backend.exports import input_names, install, keras_own, output_names
from keras_derivs.backend.torch.portable import LITERT
from keras_derivs.graph.private import signature_of


def options(model):
    """Any number of rows, and any lengths, where the model leaves them open."""
    return {"dynamic_shapes": _programs().open_axes(signature_of(model))}


def _programs():
    """What records programs; imported where it is used, for what it loads of PyTorch is large."""
    return importlib.import_module("keras_derivs.backend.torch.program")


def _torch(model, filepath, signature, **kwargs):
    """By Keras, from a program that returns what the model does."""
    program = _programs().program(model, signature)
    keras_own("export_torch")(program, filepath, input_signature=signature, **kwargs)


def _litert(model, filepath, signature, **kwargs):
    """By Keras, for one number of rows."""
    program = _programs().program(model, signature, flat=True, rules=LITERT)
    keras_own("export_litert")(program, filepath, input_signature=signature, **kwargs)


def _onnx(model, filepath, signature, verbose=None, opset_version=None, **kwargs):
    program = _programs().program(model, signature, flat=True)
    torch.onnx.export(
        _exported(program, signature),
        (),
        filepath,
        dynamo=True,
        verbose=False,
        external_data=False,
        opset_version=opset_version,
        input_names=input_names(signature),
        output_names=output_names(program.structure),
        **kwargs,
    )


def _openvino(model, filepath, signature, verbose=None, **kwargs):
    openvino = importlib.import_module("openvino")
    program = _programs().program(model, signature, flat=True)
    converted = openvino.convert_model(_exported(program, signature), **kwargs)
    for place, name in zip(converted.inputs, input_names(signature)):
        place.get_node().set_friendly_name(name)
        place.tensor.set_names({name})
    for place, name in zip(converted.outputs, output_names(program.structure)):
        place.tensor.set_names({name})
    openvino.serialize(converted, filepath)


def _exported(program, signature):
    programs = _programs()
    arguments, axes = programs.samples(signature), programs.open_axes(signature)
    return torch.export.export(program, arguments, dynamic_shapes=axes, strict=False)


install(
    {
        "export_torch": _torch,
        "export_litert": _litert,
        "export_onnx": _onnx,
        "export_openvino": _openvino,
    }
)

"""ONNX and OpenVINO files of models with derivatives on JAX.

The converter exchanges functions of JAX for its own while it traces a model, and those have no
derivatives. So it is given the program of the model, traced before. The way by which Keras makes
files of OpenVINO needs a form of programs that JAX no longer writes: here they are made of ONNX.
"""

import importlib
import os
import tempfile

import jax
import keras

from keras_derivs.backend.exports import input_names, install, output_names
from keras_derivs.backend.jax.portable import portable


def _onnx(model, filepath, signature, verbose=None, opset_version=None, **kwargs):
    inputs = _symbolic(keras.tree.flatten(tuple(signature)))
    program, structure = jax.make_jaxpr(
        lambda *xs: model(*keras.tree.pack_sequence_as(signature, xs), training=False),
        return_shape=True,
    )(*inputs)
    options = kwargs if opset_version is None else {"opset": opset_version, **kwargs}
    program = portable(program, inputs)
    written = importlib.import_module("jax2onnx").to_onnx(
        lambda *xs: jax.core.eval_jaxpr(program.jaxpr, program.consts, *xs),
        inputs=inputs,
        input_names=input_names(signature),
        output_names=output_names(structure),
        **options,
    )
    _keep_empty_axes(written)
    importlib.import_module("onnx").save(written, filepath)


def _openvino(model, filepath, signature, verbose=None, **kwargs):
    openvino = importlib.import_module("openvino")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        _onnx(model, path, signature)
        openvino.serialize(openvino.convert_model(path, **kwargs), filepath)


def _symbolic(specs):
    """Tensors without numbers; each open axis has a symbol, and the rows of all inputs one."""
    scope, found = jax.export.SymbolicScope(), []
    for number, spec in enumerate(specs):
        names = [f"length_{number}_{axis}" if axis else "batch" for axis in range(len(spec.shape))]
        lengths = ", ".join(str(n or name) for n, name in zip(spec.shape, names))
        shape = jax.export.symbolic_shape(lengths, scope=scope)
        found.append(jax.ShapeDtypeStruct(shape, spec.dtype))
    return found


def _keep_empty_axes(written):
    """A computed length of 0 is one, and does not stand for the length that was there before."""
    for graph in (written.graph, *written.functions):
        constant = {x.name for x in getattr(graph, "initializer", ())}
        constant |= {y for node in graph.node if node.op_type == "Constant" for y in node.output}
        for node in graph.node:
            if node.op_type == "Reshape" and node.input[1] not in constant:
                _set(node, "allowzero", 1)


def _set(node, name, value):
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    make = importlib.import_module("onnx").helper.make_attribute
    node.attribute.extend([*kept, make(name, value)])


install({"export_onnx": _onnx, "export_openvino": _openvino})

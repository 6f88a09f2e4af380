"""What this package uses of Keras beyond its public names, in one place.

Keras may move these without notice. `tests/test_private.py` tries each of them, so that a new
version of Keras that lacks one fails there, by name.
"""

import importlib

import keras
from keras.src import backend as of_backend
from keras.src import export as exporters
from keras.src.activations import activations
from keras.src.backend.common import dtypes
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
from keras.src.backend.common.masking import set_keras_mask
from keras.src.backend.common.name_scope import current_path
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope
from keras.src.backend.common.variables import Variable, get_autocast_scope
from keras.src.layers.layer import CallContext
from keras.src.legacy.saving import legacy_h5_format
from keras.src.models.functional import Functional
from keras.src.models.sequential import Sequential
from keras.src.ops import core, image, linalg, math, nn, numpy
from keras.src.utils.naming import to_snake_case

# The attributes of a model that its training changes, and its `call` does not use
OF_TRAINING = {
    "compiled", "jit_compile", "loss", "optimizer", "predict_function", "steps_per_execution",
    "stop_evaluating", "stop_predicting", "stop_training", "test_function", "train_function",
    "unrolled_steps_per_execution", "_compute_loss_has_training_arg", "_eval_epoch_iterator",
    "_initial_epoch", "_jax_state", "_jax_state_synced", "_jit_compile", "_run_eagerly",
}  # fmt: skip


def without_value(variable):
    """Whether its value was taken away, as Keras does on JAX while a model is trained."""
    return variable._value is None and variable._initializer is None


def layers_of(model, include_self=True):
    """The model and every layer inside it, at any depth."""
    return model._flatten_layers(include_self=include_self)


def functional(model):
    """The graph in a built `Sequential`; any other model itself."""
    return getattr(model, "_functional", None) or model


def is_functional(layer):
    """Whether a layer holds a graph of nodes."""
    return hasattr(layer, "_nodes_by_depth")


def nodes_of(model):
    """The nodes of a functional model in the order of computation; none for other layers."""
    by_depth = getattr(model, "_nodes_by_depth", None) or {}
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def tree_of_inputs(model, default=None):
    """The symbolic inputs of a functional model or built `Sequential`, nested as it is called."""
    return getattr(functional(model), "_inputs_struct", default)


def tree_of_outputs(model):
    """The symbolic outputs of a functional model or built `Sequential`, nested as returned."""
    return functional(model)._outputs_struct


def added_to(sequential):
    """The layers of a `Sequential`, its input layer included."""
    return sequential._layers


def source_of(tensor):
    """(operation, index of its node, index of the output); `None` for no symbolic tensor."""
    return getattr(tensor, "_keras_history", None)


def mask_of(tensor):
    """The mask that a layer attached to a tensor, or `None`."""
    return getattr(tensor, "_keras_mask", None)


def uses_of(operation):
    """The nodes at which an operation was called on symbolic tensors."""
    return operation._inbound_nodes


def users_of(operation):
    """The nodes that take what an operation returned."""
    return operation._outbound_nodes


def in_call():
    """Whether something surrounds a call: that of another layer, a scope, or a distribution."""
    return (
        get_global_attribute("current_call_ctx") is not None
        or in_stateless_scope()
        or get_autocast_scope() is not None
        or keras.distribution.distribution() is not None
    )


def was_called(layer):
    """Whether a layer was called before."""
    return layer._called


def remat_mode(layer):
    """What of its results a layer computes again in a backward pass; `None`: nothing."""
    return getattr(layer, "_remat_mode", None)


def may_train_otherwise(layer):
    """Whether the `call` of a layer knows of a training mode."""
    return layer._call_has_training_arg


def own_dtype(layer):
    """The dtype that a layer computes in; `None` if it is a graph, whose layers have their own."""
    graph = isinstance(layer, (Functional, keras.layers.InputLayer)) or functional(layer) != layer
    return None if graph or not layer.autocast else layer.compute_dtype


def attention_parts(layer):
    """The projections of a `MultiHeadAttention`, its scale, and whether it is of the plain kind."""
    window = getattr(layer, "_sliding_window", None)
    gated = getattr(layer, "_use_gate", False) or window is not None
    plain = tuple(layer._attention_axes) == (1,) and not gated
    projections = layer._query_dense, layer._key_dense, layer._value_dense, layer._output_dense
    return projections, layer._inverse_sqrt_key_dim, plain


def causal_padding(layer):
    """How a causal one-dimensional convolution pads its input."""
    return layer._compute_causal_padding()


def with_same_shape(layer, other):
    """A `Lambda` that declares the output shape of another one."""
    layer._output_shape = other._output_shape
    return layer


def recurrent():
    """The module of recurrent layers of Keras on TensorFlow; its name hides it in its package."""
    return importlib.import_module("keras.src.backend.tensorflow.rnn")


def archive():
    """The class that traces a model for every format of a file, on TensorFlow."""
    return importlib.import_module("keras.src.backend.tensorflow.export").TFExportArchive


def signature_of(model):
    """What a model is called on, for a file: a specification in the place of each input."""
    return exporters.export_utils.get_input_signature(model)

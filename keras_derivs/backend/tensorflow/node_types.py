"""Of which type a node of a graph is, and who wrote its custom gradient."""

import tensorflow as tf
from tensorflow.python.framework.ops import _gradient_registry as registry

from keras_derivs.backend.tensorflow import operands

# The gradients of vectors, and second derivatives of values, need values that differ.
VECTORS = {"Svd", "SelfAdjointEigV2", "Eig"}
VALUES = {f"{name} (values)" for name in VECTORS}
CUSTOM = "_gradient_op_type"  # the attribute of a custom gradient
UNPROVEN = "tensorflow.python.ops.ctc_ops"  # its gradient is looked at as if it were the user's


def is_own(node):
    """Whether a custom gradient is not one of the framework's, or of this package."""
    return author(node) not in (None, "tensorflow", "keras", "keras_derivs")


def author(node):
    """The package that a custom gradient is written in; `None` for other nodes."""
    if CUSTOM not in node.attr:
        return None
    module = _gradient(node).__module__
    return module if module == UNPROVEN else module.split(".")[0]


def _gradient(node):
    """The function that computes a custom gradient."""
    function = registry.lookup(node.attr[CUSTOM].s.decode())
    for name in ("tape_grad_fn", "grad_fn"):
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
        if name in cells:
            function = cells[name].cell_contents
    return function


def type_of(node):
    """The type of a node by which what it does to a derivative is told."""
    if CUSTOM in node.attr:
        passed = "grad_pass_through" in getattr(_gradient(node), "__qualname__", "")
        return "GradPassThrough" if passed else "CustomGradient"
    if node.op == "Cast":
        kinds = [tf.dtypes.as_dtype(node.attr[key].type) for key in ("SrcT", "DstT")]
        return "CastToInteger" if kinds[0].is_floating and kinds[1].is_integer else "Cast"
    if node.op in VECTORS and not any(node.attr[key].b for key in ("compute_uv", "compute_v")):
        return f"{node.op} (values)"
    held = node.op == "StopGradient" and node.name.split("/")[-1].startswith(operands.HELD)
    return "Identity" if held else node.op  # held: what the result does not depend on

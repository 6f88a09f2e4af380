"""Of which type a node of a graph is, and who wrote its custom gradient."""

import itertools

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
    module = _gradient(node)[0].__module__
    return module if module == UNPROVEN else module.split(".")[0]


def num_results(node):
    """How many inputs of a node, the first ones, are results of a custom gradient: it has none
    for them."""
    cells = _gradient(node)[1] if CUSTOM in node.attr else {}
    if "flat_result_len" in cells:
        return cells["flat_result_len"].cell_contents
    found = cells["func"].cell_contents.structured_outputs if "func" in cells else ()  # of a file
    return sum(1 for _ in itertools.takewhile(lambda slope: slope is None, found))


def _gradient(node):
    """The function that computes a custom gradient, and the cells around it."""
    function = registry.lookup(node.attr[CUSTOM].s.decode())
    cells = _cells(function)
    for name in ("tape_grad_fn", "grad_fn"):
        if name in cells:
            function = cells[name].cell_contents
            cells = _cells(function) | cells
    return function, cells


def _cells(function):
    return dict(zip(function.__code__.co_freevars, function.__closure__ or ()))


def type_of(node):
    """The type of a node by which what it does to a derivative is told."""
    if CUSTOM in node.attr:
        passed = "grad_pass_through" in getattr(_gradient(node)[0], "__qualname__", "")
        return "GradPassThrough" if passed else "CustomGradient"
    if node.op == "Cast":
        kinds = [tf.dtypes.as_dtype(node.attr[key].type) for key in ("SrcT", "DstT")]
        return "CastToInteger" if kinds[0].is_floating and kinds[1].is_integer else "Cast"
    if node.op in VECTORS and not any(node.attr[key].b for key in ("compute_uv", "compute_v")):
        return f"{node.op} (values)"
    held = node.op == "StopGradient" and node.name.split("/")[-1].startswith(operands.HELD)
    return "Identity" if held else node.op  # held: what the result does not depend on

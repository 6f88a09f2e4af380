"""The nodes of TensorFlow's graphs as `keras_derivs.backend.kinks` reads them."""

import math
from dataclasses import replace

import tensorflow as tf

from keras_derivs.backend import curves, kinks
from keras_derivs.backend.kinks import CONSTANT, JOINED, SAME, SELECT, SHAPED, Node

KINDS = {
    "AddV2": "Add", "BroadcastTo": SHAPED, "Cast": SAME, "ConcatV2": JOINED, "Const": CONSTANT,
    "ExpandDims": SHAPED, "Identity": SAME, "LogicalAnd": "Logical", "LogicalNot": "Logical",
    "LogicalOr": "Logical", "Pack": JOINED, "RealDiv": "Div", "Reshape": SHAPED, "SelectV2": SELECT,
    "StopGradient": SAME, "TopKV2": "TopK",
}  # fmt: skip


def marked(steps, nodes, starts, ends):
    """The steps of a graph, with the lowest order at which each may be wrong at a kink.

    Of nodes by name on the way from `starts` to `ends`.
    """
    between = {step.name for step in steps if step.on_the_way}
    if not any(node.name in between and _kind(node) in kinks.KINKED for node in nodes):
        return steps
    by_name = {node.name: node for node in nodes}
    read = [_read(node, by_name) for node in nodes]
    orders, straight = kinks.cancelling(read, between), curves.straight(read, starts, ends)
    bent = {node.name for node in read} - straight
    return [
        replace(step, cancels=orders.get(step.name), straight=step.name not in bent)
        for step in steps
    ]


def _kind(node):
    return KINDS.get(node.op, node.op)


def _read(node, by_name):
    kind, inputs = _kind(node), node.input[:-1] if node.op == "ConcatV2" else node.input
    length = _length(node, by_name) if kind in ("Max", "Min") else None
    count = len(node.attr["_output_shapes"].list.shape) if "_output_shapes" in node.attr else 1
    outputs = node.name, *(f"{node.name}:{n}" for n in range(1, count))
    return Node(node.name, kind, tuple(inputs), outputs, _options(node), _value(node), length)


def _options(node):
    if "Random" in node.op or not (node.input or node.op == "Const"):
        return None
    return tuple(
        (key, value.SerializeToString(deterministic=True))
        for key, value in sorted(node.attr.items())
        if not key.startswith("_")
    )


def _value(node):
    """The number that a node holds; `None` if it does not."""
    if node is None or node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    if any(axis.size != 1 for axis in tensor.tensor_shape.dim):
        return None
    value = tf.make_ndarray(tensor)
    return float(value.ravel()[0]) if value.dtype.kind in "fiu" else None


def _length(node, by_name):
    """How many entries a reduction compares; `None` if that is not known."""
    x, axes = (by_name.get(source.split(":")[0]) for source in node.input[:2])
    if x is None or axes is None or axes.op != "Const" or "_output_shapes" not in x.attr:
        return None
    dims = x.attr["_output_shapes"].list.shape[0].dim
    axes = tf.make_ndarray(axes.attr["value"].tensor).ravel()
    return math.prod(dims[int(axis)].size for axis in axes) if dims else None

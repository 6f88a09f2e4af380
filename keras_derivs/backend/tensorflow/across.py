"""Which operations compute along the batch axis, as far as a graph tells by its shapes.

Operations that put the batch axis elsewhere, such as a reshape, are not among them.
"""

from dataclasses import replace

import tensorflow as tf

from keras_derivs.backend.rows import rows_of
from keras_derivs.backend.tensorflow import inlined

# type -> the number of the input that holds the axes
AXES = {
    **dict.fromkeys(("Sum", "Mean", "Max", "Min", "Prod", "ReverseV2", "Cumsum", "Cumprod"), 1),
    "GatherV2": 2,
    "Roll": 2,
}
SLICES = ("StridedSlice", "Slice")
# type -> the number of the input whose rows they take by number, or add to others
BY_NUMBER = {
    **dict.fromkeys(("GatherNd", "DynamicPartition", "UniqueV2"), 0),
    **{f"Segment{name}": 0 for name in ("Sum", "Mean", "Max", "Min", "Prod")},
    **{f"UnsortedSegment{name}": 0 for name in ("Sum", "Max", "Min", "Prod")},
    "ScatterNd": 1,
    "TensorScatterAdd": 2,
    "TensorScatterUpdate": 2,
}
PRODUCTS = {"MatMul": ("transpose_a", "transpose_b"), "BatchMatMulV2": ("adj_x", "adj_y")}


def marked(steps, graph, inputs):
    """The steps of a graph, marked where they reduce, move or select rows of its inputs."""
    num_rows = rows_of(inputs)
    if num_rows is None:
        return steps
    reached = {step.name for step in steps if step.on_the_way}
    names = set(_names(graph, num_rows, reached | {x.op.name for x in graph.inputs}))
    return [replace(step, across=step.name in names) for step in steps]


def _names(graph, num_rows, reached, scope=""):
    for operation in graph.get_operations():
        if _across(operation, num_rows) or _contracts(operation, num_rows, scope, reached):
            yield scope + operation.name
        bodies = inlined.bodies(operation.node_def) if operation.type in inlined.CHOSEN else {}
        for name in bodies.values():
            inner = graph._get_function(name).graph
            yield from _names(inner, num_rows, reached, f"{scope}{operation.name}/")


def _contracts(operation, num_rows, scope, reached):
    """Whether a matrix product sums over the rows of what depends on the inputs."""
    if operation.type not in PRODUCTS or operation.outputs[0].shape.rank != 2:
        return False
    summed = zip(operation.inputs, PRODUCTS[operation.type], (True, False))
    return any(
        operation.get_attr(flag) == first
        and _is_batch(x, num_rows)
        and scope + x.op.name in reached
        for x, flag, first in summed
    )


def _across(operation, num_rows):
    if operation.type in BY_NUMBER:
        return _is_batch(operation.inputs[BY_NUMBER[operation.type]], num_rows)
    if not operation.inputs or not _is_batch(operation.inputs[0], num_rows):
        return False
    if operation.type in SLICES:
        return not _is_batch(operation.outputs[0], num_rows)
    if operation.type not in AXES:
        return False
    axes = tf.get_static_value(operation.inputs[AXES[operation.type]])
    rank = operation.inputs[0].shape.rank
    return axes is not None and 0 in axes.reshape(-1) % rank


def _is_batch(tensor, num_rows):
    return bool(tensor.shape.rank) and tensor.shape[0] == num_rows

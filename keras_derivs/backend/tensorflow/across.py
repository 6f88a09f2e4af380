"""Which operations compute along the batch axis, as far as a graph tells by its shapes.

Operations that put the batch axis elsewhere, such as a reshape, are not among them.
"""

from dataclasses import replace

import tensorflow as tf

# type -> the number of the input that holds the axes
AXES = {
    **dict.fromkeys(("Sum", "Mean", "Max", "Min", "Prod", "ReverseV2", "Cumsum", "Cumprod"), 1),
    "GatherV2": 2,
    "Roll": 2,
}
SLICES = ("StridedSlice", "Slice")


def marked(steps, graph, inputs):
    """The steps of a graph, marked where they reduce, move or select rows of its inputs."""
    num_rows = inputs[0].shape[0]
    if num_rows == 1 or any(num_rows in x.shape[1:] for x in inputs):
        return steps  # the shapes do not tell which axis is the batch
    names = {op.name for op in graph.get_operations() if _across(op, num_rows)}
    return [replace(step, across=step.name in names) for step in steps]


def _across(operation, num_rows):
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

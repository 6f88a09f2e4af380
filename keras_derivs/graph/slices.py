"""Which tensor of a graph a slice was taken from, and which of its entries the slice holds."""

import math

import numpy as np
from keras import ops

from keras_derivs.graph.nodes import depends, describe, needs, operation_name, producer, variables
from keras_derivs.limits import MAX_NUMBERS

# Operations of Keras that copy entries of a tensor, whatever their values are.
SLICES = {
    "GetItem", "Slice", "Split", "ArraySplit", "Take", "Unstack", "Diagonal",
    "Cropping1D", "Cropping2D", "Cropping3D", "CropImages",
}  # fmt: skip
REARRANGES = {
    "Reshape", "Flatten", "Permute", "Transpose", "Swapaxes", "Moveaxis", "Squeeze", "ExpandDims",
    "Ravel", "Flip", "Fliplr", "Rot90", "Roll", "Copy", "Identity",
}  # fmt: skip
JOINS = {"Concatenate", "Stack", "Hstack", "Dstack"}
UNKNOWN, ROWS = 3, 3  # lengths for a trial, where the graph leaves them open


def source(x, y, batch_dims=1):
    """The tensor to differentiate `y` by for `x`, and the indices of `x` in it.

    A slice stands for the matching entries of the tensor that it was taken from, if `y` is
    computed from that tensor also on other ways. A tensor of the same entries in another shape
    stands for its source only where `y` is not computed from `x` itself. The indices are
    row-major, in one sample; `None` stands for all entries of `x` itself. With `batch_dims=2`
    one place of a tensor (batch, places, …) is a sample.
    """
    root, indices, _ = _part(x, y)
    if indices is not None and None in shape_of_row(root, root, batch_dims):
        raise ValueError(
            f"A derivative with respect to a slice needs a tensor whose axes are known. Received: "
            f"{describe(x)}, selected from {describe(root)}. Differentiate with respect to the "
            f"whole tensor and slice the result."
        )
    if indices is not None and len(shape_of_row(root, root, batch_dims)) < len(root.shape) - 1:
        indices = _of_one_place(x, root, indices)
    return root, None if indices is None else indices.reshape(-1)


def whole(x, stops):
    """The first tensor for which `stops`, of those that `x` is copied from step by step."""
    while not stops(x):
        node = producer(x)
        if not _selects(node) or len(needs(node)) > 1:
            return None
        x = needs(node)[0]
    return x


def entry(x, whole, batch_dims=1):
    """The index in one row of `whole` of the one number per row that `x` holds; or `None`."""
    root, indices, _ = _part(x, whole)
    shape = shape_of_row(whole, whole, batch_dims)
    if root is not whole or indices is None or None in shape:
        return None
    found = np.unique(indices % math.prod(shape))
    if len(found) > 1 or any(n != 1 for n in shape_of_row(x, whole, batch_dims)):
        return None
    return [n for n, size in zip(map(int, np.unravel_index(found[0], shape)), shape) if size > 1]


def shape_of_coordinate(x, y, batch_dims):
    """The shape of one row of `x`, which may be a slice of a tensor that `y` is computed from."""
    return shape_of_row(x, x if batch_dims == 1 else _part(x, y)[0], batch_dims)


def shape_of_row(x, root, batch_dims):
    """The shape of one row of `x`, which is taken from `root`; see `source`."""
    return tuple(x.shape[batch_dims if len(root.shape) > batch_dims else 1 :])


def _of_one_place(x, root, indices):
    """The entries at one place, which must be the same at each."""
    size = math.prod(root.shape[2:])
    places = UNKNOWN if root.shape[1] is None else root.shape[1]
    if indices.shape[:1] == (places,):
        found = indices.reshape(places, -1) - size * np.arange(places)[:, None]
        if np.array_equal(found, np.broadcast_to(found[0], found.shape)):
            return found[0]
    raise ValueError(
        f"A derivative with `batch_dims=2` needs a slice of the same entries at each place of axis "
        f"1. Received: {describe(x)}, selected from {describe(root)}. Slice the axes behind it."
    )


def _part(x, y):
    """(root, indices in the shape of a sample of `x`, whether a slice lies between)."""
    alone, node = (x, None, False), producer(x)
    if not _selects(node):
        return alone
    parts = [_part(parent, y) for parent in needs(node)]
    root = parts[0][0]
    if any(other is not root for other, *_ in parts) or not depends(y, root, blocked=(x,)):
        return alone
    sliced = operation_name(node) not in REARRANGES or parts[0][2]
    indices = None if not sliced and depends(y, x) else _indices(x, root, parts)
    return alone if indices is None else (root, indices, sliced)


def _selects(node):
    """Whether an operation copies entries of its one input, or joins several."""
    name, count = operation_name(node), len(needs(node)) if node else 0
    if variables(node) or name not in SLICES | REARRANGES | JOINS:
        return False
    return _keeps_rows(node) and (count > 0 if name in JOINS else count == 1)


def _keeps_rows(node):
    """Whether an index leaves the batch axis alone, be the batch as long as it may."""
    if operation_name(node) != "GetItem":
        return True
    arguments = node.arguments
    key = arguments.kwargs.get("key", arguments.args[-1])
    first = key[0] if isinstance(key, (tuple, list)) and len(key) else key
    every = isinstance(first, slice) and first.start in (None, 0) and first.stop is None
    return first is Ellipsis or (every and first.step in (None, 1))


def _indices(x, root, parts):
    """The entries of `root` that the operation of `x` takes; `None` if it mixes the batch.

    It is run on the numbers of the entries, which differ from row to row.
    """
    node = producer(x)
    shape = [UNKNOWN if n is None else n for n in root.shape[1:]]
    if x.shape[0] != root.shape[0] or math.prod(shape) > MAX_NUMBERS:
        return None
    every, rows = np.arange(np.prod(shape, dtype="int64")).reshape(shape), root.shape[0] or ROWS
    starts = every.size * np.arange(rows)
    dtype = "int32" if every.size * rows < 2**31 else "int64"  # which JAX may not have
    values = {
        id(parent): ops.convert_to_tensor(
            np.add.outer(starts, every if indices is None else indices), dtype=dtype
        )
        for parent, (_, indices, _) in zip(needs(node), parts)
    }
    try:
        found = _run(node, x, values)
    except Exception:  # an operation that cannot run on a trial does not merely select
        return None
    aligned = found.shape[:1] == (rows,) and found.size
    aligned = aligned and np.array_equal(found, np.add.outer(starts, found[0]))
    return found[0] if aligned and found[0].min() >= 0 and found[0].max() < every.size else None


def _run(node, x, values):
    args, kwargs = node.arguments.fill_in(values)
    outputs = node.operation(*args, **kwargs)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    place = [output is x for output in node.outputs].index(True)
    return ops.convert_to_numpy(outputs[place])

"""How much memory a run of a model takes, before it is run."""

import math

from keras_derivs.graph import nodes_of, private

MOST_BYTES = 3 * 2**28  # of all intermediate results of a run forward together
LARGE_BYTES = 2**28  # beyond that a run on many rows takes long
ENOUGH_ROWS = 4
MOST_ROWS = 16  # more only where they take next to nothing
FEW_BYTES = 2**22
FEW_WEIGHTS = 10**6


def most_bytes(model, num_rows):
    """What a run on so many rows may take."""
    if num_rows <= MOST_ROWS:
        return MOST_BYTES if num_rows <= ENOUGH_ROWS else LARGE_BYTES
    num_weights = sum(math.prod(weight.shape) for weight in model.weights)
    return FEW_BYTES if num_weights <= FEW_WEIGHTS else 0


def of_specs(model, num_rows):
    """The bytes of what a model's layers return, as far as its graph tells."""
    total = 0
    for node in nodes_of(private.functional(model)):
        if private.is_functional(private.functional(node.operation)):
            total += of_specs(node.operation, num_rows)
        total += sum(_bytes(y.shape, y.dtype, num_rows) for y in node.outputs)
    return total


def _bytes(shape, dtype, unknown):
    entries = math.prod(unknown if n is None else n for n in tuple(shape))
    return entries * (8 if "64" in str(dtype) else 4)


def words(num_bytes):
    return f"{num_bytes / 2**30:.1f} GiB"

"""Many derivatives: from one pass, all at once where the framework can, or one by one while they
are few; else each on its own copy of the batch, in the batch axis, in chunks.
"""

import numpy as np
from keras import ops

from keras_derivs import backend

MIN_VECTORISED = 4
MAX_UNROLLED = 16  # derivatives pulled back one by one from one pass


def each(target, index, evaluate, chunk_size):
    """Stack along axis 1 what `evaluate` returns for each index.

    `index` is a list of equally long columns of indices; `evaluate(target, tuples)` takes their
    rows and returns y and, for each row, a list of tensors.
    """
    if not isinstance(index[0], np.ndarray):  # as many as a tensor tells
        if not target.alone:
            return _in_copies(target, index, evaluate)
        index = _known(target, index)
    count = len(index[0])
    at_once = None
    if count >= MIN_VECTORISED and chunk_size is None and not target.alone:
        at_once = _at_once(target, index, evaluate)
    if at_once is not None:
        return at_once
    few = count == 1 or chunk_size == 1 or (chunk_size is None and count <= MAX_UNROLLED)
    if few or target.alone:
        y, results = evaluate(target, list(zip(*(column.tolist() for column in index))))
        if count == 1:
            return y, [ops.expand_dims(part, 1) for part in results[0]]
        return y, [ops.stack(parts, axis=1) for parts in zip(*results)]
    num_chunks = -(-count // (chunk_size or count))
    values, pieces = [], []
    for chunk in zip(*(np.array_split(column, num_chunks) for column in index)):
        with backend.after(pieces[-1] if pieces else []):  # one chunk at a time
            value, piece = _in_copies(target, chunk, evaluate)
        values.append(value)
        pieces.append(piece)
    if num_chunks == 1:
        return values[0], pieces[0]
    return values[0], [ops.concatenate(parts, axis=1) for parts in zip(*pieces)]


def _at_once(target, index, evaluate):
    """All of them from one pass; `None` where the framework cannot. Equal numbers stay known."""
    varying = [n for n, column in enumerate(index) if np.any(column != column[0])]
    if not varying:
        return None

    def one(*numbers):
        row = [int(column[0]) for column in index]
        for n, number in zip(varying, numbers):
            row[n] = number
        y, (results,) = evaluate(target, [tuple(row)])
        return y, results

    found = backend.at_each(one, [index[n] for n in varying])
    return found and (found[0], [ops.swapaxes(result, 0, 1) for result in found[1]])


def _known(target, index):
    """The numbers in tensors of indices, of a batch that cannot be repeated."""
    try:
        return [ops.convert_to_numpy(column) for column in index]
    except Exception as error:  # a graph, where only the run tells them
        raise ValueError(
            f"A derivative of a random or coupled batch, or by places that a batch shares, needs "
            f"outputs and inputs of known shape. Received: '{target.model.name}' with axes of "
            f"unknown length. Give the axes a length, use `training=False`, strategy 'forward' or "
            f"'taylor' for shared places, or call the layer eagerly."
        ) from error


def _in_copies(target, chunk, evaluate):
    """All indices of a chunk at once, each on its own copy of the batch."""
    batch = ops.shape(target.xs[0])[0]
    columns = [ops.convert_to_tensor(column, dtype="int32") for column in chunk]
    times = ops.shape(columns[0])[0]
    y, (results,) = evaluate(target.repeat(times), [tuple(_repeat(c, batch) for c in columns)])

    def split(result):
        result = ops.reshape(result, (times, batch, *ops.shape(result)[1:]))
        return ops.moveaxis(result, 0, 1)

    return y[:batch], [split(result) for result in results]


def _repeat(column, times):
    """Each entry `times` times in a row."""
    return ops.reshape(ops.broadcast_to(column[:, None], (ops.shape(column)[0], times)), (-1,))

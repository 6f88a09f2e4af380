"""What the tape strategies are made of: one pass backward or forward, and many of them.

An index of an output or an input is an int, or a tensor with one index for each row of a batch
of copies: many derivatives either are pulled back one by one from one tape, while they are few,
or ride in the batch axis, in chunks.
"""

import contextlib
import re

import keras
import numpy as np
import tensorflow as tf

from keras_derivs.engine import exact, unselected
from keras_derivs.engine.target import flatten, size

MAX_UNROLLED = 16  # derivatives pulled back one by one from one tape


def run(target):
    """The chosen output of the model, leaving no trace in its state."""
    for x, mask in zip(target.inputs, target.masks):
        if mask is not None:
            x._keras_mask = mask
    inputs = keras.tree.pack_sequence_as(target.structure, target.inputs)
    try:
        with exact.scope():
            outputs = target.model(inputs, training=target.training)
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        if "double" in str(error).lower():
            raise _without_kernel(target.model, error) from error
        raise
    return keras.tree.flatten(outputs)[target.output]


def _without_kernel(model, error):
    layer = re.search(r"when calling (\w+)\.call", str(error))
    operation = re.search(r"\{\{node (\w+)", str(error))
    names = [f"'{found[1]}'" for found in (operation, layer) if found]
    return ValueError(
        f"A derivative in float64 needs operations that TensorFlow has in float64. Received: "
        f"'{model.name}' with {' of a layer '.join(names) or 'one that it has not'}. Give that "
        f'layer `dtype="float32"`, or compute all in float32.'
    )


@contextlib.contextmanager
def watch(xs, persistent=False):
    """A tape that follows `xs` and nothing else."""
    with tf.GradientTape(persistent, watch_accessed_variables=False) as tape:
        tape.watch(xs)
        yield tape


def pull_back(tape, y, xs, cotangent, order=1):
    """The gradient for each x of the sum of `y` weighted by `cotangent` (`None`: by one).

    Where no gradient arrives, a first derivative does not exist; a higher one is zero.
    """
    with exact.gradients():
        gradients = tape.gradient(y, xs, output_gradients=cotangent)
    lost = [x.shape for x, gradient in zip(xs, gradients) if gradient is None]
    if lost and order == 1:
        raise ValueError(
            f"A derivative needs an output that is computed from the input by differentiable "
            f"operations. Received: an output of shape {tuple(y.shape)} and inputs of shape "
            f"{[tuple(shape) for shape in lost]} that no gradient reaches. Choose other inputs "
            f"with `wrt=`, or look for an integer, `argmax`, `round`, `stop_gradient` or numpy "
            f"operation on the way."
        )
    return [
        tf.zeros_like(x) if gradient is None else tf.convert_to_tensor(gradient)
        for x, gradient in zip(xs, gradients)
    ]


def gradients(target, index):
    """y, and for each output in `index` (a list of 1-tuples) its gradient for each x."""
    with watch(target.xs, persistent=len(index) > 1) as tape:
        y = run(target)
    return y, [pull_back(tape, y, target.xs, one_hot(y, row)) for (row,) in index]


def hessian_rows(target, k, index):
    """y, and for each (output, entry of the k-th x) that row of the Hessian, for each x."""
    y, slopes, tape = _slopes(target, [row for row, _ in index])
    rows = [
        pull_back(tape, slope[k], target.xs, one_hot(slope[k], column), order=2)
        for slope, (_, column) in zip(slopes, index)
    ]
    return y, rows


def curvatures(target, index, moves):
    """y, and for each (output, direction) its second derivative along the direction, [(B,)].

    `moves` has for each x what the directions change in it, (directions, entries).
    """
    y, slopes, tape = _slopes(target, [row for row, _ in index])
    results = []
    for slope, (_, direction) in zip(slopes, index):
        along = [_along(x, move, direction) for x, move in zip(target.xs, moves)]
        second = pull_back(tape, slope, target.xs, along, order=2)
        products = [tf.reduce_sum(flatten(g * v), axis=1) for g, v in zip(second, along)]
        results.append([sum(products)])
    return y, results


def _slopes(target, rows):
    """y, its gradients for each of `rows` (each found once), and the tape that recorded them."""
    outputs = rows if len(rows) == 1 else sorted(set(rows))
    with watch(target.xs, persistent=len(rows) > 1) as tape:
        y, first = gradients(target, [(row,) for row in outputs])
    if len(outputs) == 1:
        return y, first * len(rows), tape
    return y, [first[outputs.index(row)] for row in rows], tape


def _along(x, move, direction):
    """The chosen direction beside every sample."""
    if isinstance(direction, int):
        move = tf.broadcast_to(move[direction], tf.shape(flatten(x)))
    else:
        move = tf.gather(move, direction)
    return tf.reshape(move, tf.shape(x))


def push_forward(target):
    """y, and the function that takes tangents of some of the xs to the tangent of y."""
    with watch(target.xs) as backward:
        y = run(target)
    weights = tf.ones_like(y)
    with watch([weights], persistent=True) as forward:
        pulled = pull_back(backward, y, target.xs, weights)

    def push(positions, tangents):
        slopes = [pulled[k] for k in positions]
        tangents = [tf.ones_like(g) if v is None else v for g, v in zip(slopes, tangents)]
        return pull_back(forward, slopes, [weights], tangents, order=2)[0]

    return y, push


def one_hot(y, index):
    """The vector that selects one entry per sample of `y`; `None` if there is only one."""
    entries = size(y)
    if isinstance(entries, int) and entries == 1:
        return None
    selected = tf.one_hot(index, entries, dtype=y.dtype)
    if isinstance(index, int):
        shape = tf.concat([[1], tf.shape(y)[1:]], axis=0)
        vector = tf.broadcast_to(tf.reshape(selected, shape), tf.shape(y))
    else:
        vector = tf.reshape(selected, tf.shape(y))
    return unselected.mark(vector, lambda: tf.equal(vector, 0))


def entry(y, index):
    """The entries of `y` that `index` selects: (B,)."""
    if isinstance(index, int):
        return flatten(y)[:, index]
    return tf.gather(flatten(y), index, batch_dims=1)


def each(target, index, evaluate, chunk_size):
    """Stack along axis 1 what `evaluate` returns for each index.

    `index` is a list of equally long columns of indices; `evaluate(target, tuples)` takes their
    rows and returns y and, for each row, a list of tensors.
    """
    if not isinstance(index[0], np.ndarray):  # as many as a tensor tells
        return _ride(target, index, evaluate)
    count = len(index[0])
    if count == 1 or chunk_size == 1 or (chunk_size is None and count <= MAX_UNROLLED):
        y, results = evaluate(target, list(zip(*(column.tolist() for column in index))))
        return y, [tf.stack(parts, axis=1) for parts in zip(*results)]
    num_chunks = -(-count // (chunk_size or count))
    values, pieces = [], []
    for chunk in zip(*(np.array_split(column, num_chunks) for column in index)):
        with tf.control_dependencies(pieces[-1] if pieces else []):  # one chunk at a time
            value, piece = _ride(target, chunk, evaluate)
        values.append(value)
        pieces.append(piece)
    if num_chunks == 1:
        return values[0], pieces[0]
    return values[0], [tf.concat(parts, axis=1) for parts in zip(*pieces)]


def _ride(target, chunk, evaluate):
    """All indices of a chunk at once, each on its own copy of the batch."""
    batch, times = tf.shape(target.inputs[0])[0], tf.size(chunk[0])
    y, (results,) = evaluate(target.repeat(times), [tuple(tf.repeat(c, batch) for c in chunk)])

    def unride(result):
        shape = tf.concat([[times, batch], tf.shape(result)[1:]], axis=0)
        order = [1, 0, *range(2, len(result.shape) + 1)]
        return tf.transpose(tf.reshape(result, shape), order)

    return y[:batch], [unride(result) for result in results]

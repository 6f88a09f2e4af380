"""What the reverse strategies are made of: one pass backward or forward, and many of them.

An index of an output or an input is an int, or a tensor of one number, or with one number for each
row of a batch of copies: many derivatives are pulled back from one pass, all at once where the
framework can, or one by one while they are few; else they are put into the batch axis, in
chunks.
"""

import keras
import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.backend import stateless
from keras_derivs.engine.target import flatten, size
from keras_derivs.graph.nodes import describe
from keras_derivs.graph.private import set_keras_mask

MIN_VECTORISED = 4
MAX_UNROLLED = 16  # derivatives pulled back one by one from one pass


def run(target):
    """The chosen output of the model, leaving no trace in its state."""
    call = lambda inputs: _call(target, inputs)  # noqa: E731
    return target.seen(backend.evaluate(call, target.given_to_model, target.model))


def run_plainly(target):
    """The same, layer by layer as they stand, without exact derivatives."""
    with stateless.stateless():
        return target.seen(_call(target, target.given_to_model))


def _call(target, inputs):
    for x, mask in zip(inputs, target.masks):
        if mask is not None:
            set_keras_mask(x, mask)
    inputs = keras.tree.pack_sequence_as(target.structure, inputs)
    outputs = target.model(inputs, training=target.training)
    return keras.tree.flatten(outputs)[target.output]


def differentiate(target, function, num_pulls=1, order=1):
    """Run `function(target)`, and return what it returns and its vector-Jacobian products.

    `function` returns `(outputs, beside)`. Where no gradient arrives at an x, a first derivative
    does not exist; a higher one is zero.
    """

    def evaluate(xs):
        outputs, beside = function(target.at(xs))
        return outputs, (beside, stateless.new_values())

    outputs, (beside, state), pull_back = backend.vjp(evaluate, target.xs, num_pulls)
    stateless.renew(state)  # not what a trace inside of `vjp` made of it

    def pull(n, cotangent=None):
        gradients = pull_back(n, cotangent)
        lost = [position for position, g in zip(target.wrt, gradients) if g is None]
        if lost and order == 1:
            raise _without_path(target, outputs[n], lost)
        return [ops.zeros_like(x) if g is None else g for x, g in zip(target.xs, gradients)]

    return outputs, beside, pull


def _without_path(target, y, lost):
    inputs, outputs = (getattr(target.model, name, None) or [] for name in ("inputs", "outputs"))
    paths = [path for path, _ in keras.tree.flatten_with_path(target.structure)]
    if len(inputs) == len(target.inputs):
        xs = [describe(inputs[position]) for position in lost]
    else:
        xs = [f"{paths[n] or n} of shape {tuple(target.inputs[n].shape)}" for n in lost]
    y = describe(outputs[target.output]) if outputs else f"of shape {tuple(y.shape)}"
    return ValueError(
        f"A derivative needs an output that is computed from the input by differentiable "
        f"operations. Received: output {y} of '{target.model.name}', and input {', '.join(xs)}, "
        f"that no gradient reaches. Choose other inputs with `wrt=`, or look for an integer, "
        f"`argmax`, `round`, `stop_gradient` or numpy operation on the way."
    )


def value(target, num_pulls=1, function=run, order=1):
    """y and its vector-Jacobian product: from a cotangent to a gradient for each x.

    Or those of another `function` of the target, a derivative of y below that order.
    """
    (y,), _, pull = differentiate(target, lambda at: ([function(at)], None), num_pulls, order)
    return y, lambda cotangent=None: pull(0, cotangent)


def gradients(target, index):
    """y, and for each output in `index` (a list of 1-tuples) its gradient for each x."""
    y, pull = value(target, num_pulls=len(index))
    return y, [pull(one_hot(y, target.index(y, row))) for (row,) in index]


def hessian_rows(target, k, index):
    """y, and for each (output, entry of the k-th x) that row of the Hessian, for each x."""
    y, slopes, pull = _slopes(target, [row for row, _ in index], lambda slope: slope[k])
    pairs = enumerate(zip(slopes, index))
    return y, [pull(n, one_hot(slope, column)) for n, (slope, (_, column)) in pairs]


def curvatures(target, index, moves):
    """y, and for each (output, direction) its second derivative along the direction, [(B,)].

    `moves` has for each x what the directions change in it, (directions, entries).
    """
    y, _, pull = _slopes(target, [row for row, _ in index], list)
    results = []
    for n, (_, direction) in enumerate(index):
        along = [_along(x, move, direction) for x, move in zip(target.xs, moves)]
        products = [ops.sum(flatten(g * v), axis=1) for g, v in zip(pull(n, along), along)]
        results.append([sum(products)])
    return y, results


def _slopes(target, rows, part):
    """y, of its gradients for each of `rows` (each found once) a part, and what pulls that back."""
    outputs = rows if len(rows) == 1 else sorted(set(rows))

    def evaluate(at):
        y, found = gradients(at, [(row,) for row in outputs])
        return [part(slope) for slope in found], y

    found, y, pull = differentiate(target, evaluate, len(rows), order=2)
    places = [outputs.index(row) if len(outputs) > 1 else 0 for row in rows]
    return y, [found[n] for n in places], lambda n, cotangent: pull(places[n], cotangent)


def _along(x, move, direction):
    """The chosen direction beside every sample."""
    known = isinstance(direction, int)
    move = move[direction] if known else ops.take(move, direction, axis=0)
    if is_same(direction):
        move = ops.broadcast_to(move, ops.shape(flatten(x)))
    return ops.reshape(move, ops.shape(x))


def push_forward(target, part=list, num_pushes=1, function=run, order=1):
    """y, and the function that takes a tangent of a part of the xs to the tangent of y.

    A vector-Jacobian product is linear in its vector, and its gradient by that vector is the
    Jacobian-vector product (Townsend, "A new trick for calculating Jacobian vector products",
    2017).
    """
    y, pull = value(target, function=function, order=order)
    weights = ops.ones_like(y)
    _, _, forward = backend.vjp(lambda w: ([part(pull(w[0]))], None), [weights], num_pushes)

    def push(tangent):
        (moved,) = forward(0, tangent)
        return ops.zeros_like(y) if moved is None else moved

    return y, push


def is_same(index):
    """Whether an index is the same for each row of the batch."""
    return isinstance(index, int) or len(index.shape) == 0


def one_hot(y, index):
    """The vector that selects one entry per sample of `y`; `None` if there is only one."""
    entries = size(y)
    if isinstance(entries, int) and entries == 1:
        return None
    selected = ops.one_hot(index, entries, dtype=y.dtype)
    if is_same(index):
        selected = ops.broadcast_to(selected, ops.shape(flatten(y)))
    return backend.selecting(ops.reshape(selected, ops.shape(y)))


def entry(y, index):
    """The entries of `y` that `index` selects: (B,)."""
    if isinstance(index, int):
        return flatten(y)[:, index]
    if is_same(index):
        return ops.take(flatten(y), index, axis=1)
    return ops.take_along_axis(flatten(y), index[:, None], axis=1)[:, 0]


def each(target, index, evaluate, chunk_size):
    """Stack along axis 1 what `evaluate` returns for each index.

    `index` is a list of equally long columns of indices; `evaluate(target, tuples)` takes their
    rows and returns y and, for each row, a list of tensors.
    """
    if not isinstance(index[0], np.ndarray):  # as many as a tensor tells
        if not target.alone:
            return _ride(target, index, evaluate)
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
            value, piece = _ride(target, chunk, evaluate)
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


def _ride(target, chunk, evaluate):
    """All indices of a chunk at once, each on its own copy of the batch."""
    batch = ops.shape(target.xs[0])[0]
    columns = [ops.convert_to_tensor(column, dtype="int32") for column in chunk]
    times = ops.shape(columns[0])[0]
    y, (results,) = evaluate(target.repeat(times), [tuple(_repeat(c, batch) for c in columns)])

    def unride(result):
        result = ops.reshape(result, (times, batch, *ops.shape(result)[1:]))
        return ops.moveaxis(result, 0, 1)

    return y[:batch], [unride(result) for result in results]


def _repeat(column, times):
    """Each entry `times` times in a row."""
    return ops.reshape(ops.broadcast_to(column[:, None], (ops.shape(column)[0], times)), (-1,))

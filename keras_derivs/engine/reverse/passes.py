"""What the reverse strategies are made of: passes backward and forward.

An index of an output or an input is an int, or a tensor of one number, or with one number for each
row of a batch of copies; see `many.py`.
"""

import keras
from keras import ops

from keras_derivs import backend
from keras_derivs.backend import stateless
from keras_derivs.engine.target import flatten, size
from keras_derivs.graph.nodes import describe
from keras_derivs.graph.private import set_keras_mask


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

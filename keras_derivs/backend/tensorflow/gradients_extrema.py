"""Gradients of the larger and the smaller, of two tensors or along axes.

At a tie the derivative is the mean of those that tie. The derivative of a power y^n is the mean of
those of their n-th powers, so that max(x, -x)^2 has the second derivative of x^2 at 0.
"""

import tensorflow as tf

from keras_derivs.backend.tensorflow import quotients
from keras_derivs.backend.tensorflow.gradients import gradient_of, unbroadcast


@gradient_of("Maximum")
def _maximum(op, gradient, plain):
    return _extremum(op, gradient, tf.greater)


@gradient_of("Minimum")
def _minimum(op, gradient, plain):
    return _extremum(op, gradient, tf.less)


def _extremum(op, gradient, wins):
    """Equal arguments share the gradient; of a power of the result, each has half its own."""
    x, y = op.inputs
    if quotients.quotient(gradient) is None and _opposite(x, y):
        quotients.missed(op.type, x)

    def share(gradient, won, z):
        tied = tf.where(tf.equal(x, y), gradient / 2, tf.zeros_like(gradient))
        return unbroadcast(tf.where(won, gradient, tied), z)

    def shares(gradient, times=False):
        by_x, by_y = (gradient * x, gradient * y) if times else (gradient, gradient)
        return share(by_x, wins(x, y), x), share(by_y, wins(y, x), y)

    return quotients.of_selection(gradient, shares)


def _opposite(x, y):
    """Whether a graph shows that one is minus the other: the larger is an absolute value."""
    if not tf.is_symbolic_tensor(x) or not tf.is_symbolic_tensor(y):
        return False
    return any(b.op.type == "Neg" and _same(a, b.op.inputs[0]) for a, b in ((x, y), (y, x)))


def _same(x, y, depth=8):
    """Whether two tensors of a graph are computed alike, by as many operations at most."""
    if x is y or not depth:
        return x is y
    a, b = x.op, y.op
    if a.type != b.type or a.node_def.attr != b.node_def.attr or len(a.inputs) != len(b.inputs):
        return False
    return bool(a.inputs or a.type == "Const") and all(
        _same(u, v, depth - 1) for u, v in zip(a.inputs, b.inputs)
    )


@gradient_of("Max", "Min")
def _reduced(op, gradient, plain):
    """Those that tie share the gradient; of a power of the result, each has its part of its own."""

    def shares(gradient, times=False):
        (by_x, _), x = plain(gradient), op.inputs[0]
        if times:  # selected last: elsewhere x takes no part
            chosen = tf.not_equal(plain(tf.ones_like(gradient))[0], 0)
            by_x = tf.where(chosen, by_x * x, tf.zeros_like(x))
        return [by_x]

    return [*quotients.of_selection(gradient, shares), None]

"""Derivatives as one writes them with tapes: of several outputs, and the tape of all programs."""

import tensorflow as tf


class Tape(tf.GradientTape):
    """A tape that records what becomes of x alone, not what is made of weights only."""

    def __init__(self, x, persistent=False):
        super().__init__(persistent, watch_accessed_variables=False)
        self.x = x

    def __enter__(self):
        tape = super().__enter__()
        tape.watch(self.x)
        return tape


def slopes(network, x):
    """y, and the gradient of each of its entries: a backward pass for each."""
    with Tape(x, persistent=True) as tape:
        y = network(x)
        parts = tf.unstack(y, axis=1)
    return y, [tape.gradient(part, x) for part in parts]


def rows(network, x):
    """The Jacobian, row by row."""
    return tf.stack(slopes(network, x)[1], axis=1)


def seconds(network, x, num_outputs, pairs):
    """y, its first derivatives, and second ones of the first outputs.

    The first derivatives are a list over the inputs of (B, outputs); the second ones a dict by
    pair of inputs of one column for each of the first `num_outputs` outputs.
    """
    with Tape(x, persistent=True) as outer:
        y, found = slopes(network, x)
        parts = [tf.unstack(slope, axis=1) for slope in found[:num_outputs]]
    starts = sorted({i for i, _ in pairs})
    second = [{i: outer.gradient(part[i], x) for i in starts} for part in parts]
    first = tf.unstack(tf.stack(found, axis=2), axis=1)
    table = {(i, j): [row[i][:, j : j + 1] for row in second] for i, j in pairs}
    return y, first, table

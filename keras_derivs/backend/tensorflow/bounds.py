"""Loops with a largest number of iterations, without which XLA cannot differentiate them.

A gradient keeps what each iteration computed, and XLA has to know how much that is. Keras tells
TensorFlow the number for recurrent layers alone: here `scan` and `fori_loop` do, too. Of a loop
within a loop, the gradient hands the number from one to the other, and XLA does not know it.
"""

import contextlib
import threading

import keras
import tensorflow as tf

from keras_derivs.backend.override import plain
from keras_derivs.backend.tensorflow.inlined import sources
from keras_derivs.graph.private import of_backend

WITHOUT, WITHIN = "without a bound", "in a loop"
OBSTACLES = {
    f"{name}, {told}" for name in ("StatelessWhile", "While") for told in (WITHOUT, WITHIN)
}
_local = threading.local()


@contextlib.contextmanager
def _at_most(iterations):
    """Hand the number on to the loop that Keras makes next."""
    outer, _local.bound = getattr(_local, "bound", None), iterations
    try:
        yield
    finally:
        _local.bound = outer


def scan(f, init, xs=None, length=None, **options):
    iterations = length if xs is None else _length(keras.tree.flatten(xs)[0])
    with _at_most(iterations):
        return plain(of_backend.core.scan)(f, init, xs, length, **options)


def _length(x):
    x = tf.convert_to_tensor(x)
    return tf.shape(x)[0] if x.shape[0] is None else x.shape[0]


def while_loop(cond, body, loop_vars, *args, **options):
    bound, _local.bound = getattr(_local, "bound", None), None  # those inside have their own
    if bound is not None:
        options["maximum_iterations"] = bound
    return plain(tf.while_loop)(cond, body, loop_vars, *args, **options)


def fori_loop(lower, upper, body_fun, init_val):
    start, end = (tf.get_static_value(tf.convert_to_tensor(n)) for n in (lower, upper))
    with _at_most(None if start is None or end is None else max(0, end - start)):
        return plain(of_backend.core.fori_loop)(lower, upper, body_fun, init_val)


def is_loop(node):
    return node.op.endswith("While")


def obstacles(node, by_name, nested):
    """What keeps XLA from differentiating a node that is a loop; `nested`: in another one."""
    if not is_loop(node):
        return []
    bound = by_name.get(sources(node)[1])
    endless = bound is not None and bound.op == "Const" and _number(bound) == -1
    return [told for told, so in ((WITHOUT, endless), (WITHIN, nested)) if so]


def _number(node):
    value = tf.make_ndarray(node.attr["value"].tensor)
    return int(value) if value.ndim == 0 else None

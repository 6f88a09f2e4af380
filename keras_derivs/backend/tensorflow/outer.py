"""Exact gradients of what is computed from a derivative, such as those of a loss by the weights.

They are asked for outside of this package, by `fit` for example, and pass through the graph of a
derivative, where zero may meet infinity at branches that were not selected and at powers of zero.
So a gradient that arrives at a derivative is marked, and all that follows from it is computed by
the gradients of this package and marked too. Other gradients are TensorFlow's own.
"""

import functools

import tensorflow as tf
from tensorflow.python.eager.record import should_record_backprop

from keras_derivs.backend.override import exactly
from keras_derivs.backend.switch import Switch
from keras_derivs.backend.tensorflow.exporting import exporting

OUTER = "_keras_derivs_outer"  # attribute of gradients that are marked
# on while such a gradient is computed; kept when this module is loaded again
outer = globals().get("outer") or Switch()


@tf.custom_gradient
def _copy(x):
    return tf.identity(x), lambda gradient: _marked(tf.identity(gradient))


def result(x):
    """See `keras_derivs.backend`. Within another derivative all gradients are exact anyway."""
    if exactly.on or exporting.on or not tf.is_tensor(x) or not _is_float(x):
        return x
    if tf.executing_eagerly() and not should_record_backprop([x]):
        return x  # no tape can ask for a gradient
    return _copy(x)


def _is_float(x):
    return x.dtype.is_floating or x.dtype.is_complex


def hand_on(gradient, found):
    """What was found from a gradient, marked if that is."""
    return _marked(found) if getattr(gradient, OUTER, False) else found


def switched(original, exact, follow):
    """`exact` while a derivative is computed, `follow` of what is marked, else the original."""

    @functools.wraps(original)
    def function(*args, **kwargs):
        if exactly.on:
            return exact(*args, **kwargs)
        if any(getattr(g, OUTER, False) for g in _gradients(args)):
            with exactly(), outer():
                return _marked(follow(*args, **kwargs))
        return original(*args, **kwargs)

    function._keras_derivs_plain = original
    return function


def _gradients(args):
    """Those of an operation, its first argument, or those to be added, a list."""
    return args[0] if args and isinstance(args[0], (list, tuple)) else args[1:]


def _marked(found):
    for g in found if isinstance(found, (list, tuple)) else [found]:
        if g is not None:
            setattr(g, OUTER, True)
    return found

"""Powers of a root at zero, such as the square of a norm, whose derivative exists there.

The gradient that arrives at a root y is n y^(n-1) g for y^n, and is divided by a power of y again.
So a gradient carries along what it is a multiple of: its quotients by y, y^2, ..., where y is the
tensor that it belongs to (conjugate, if that is complex). A root takes the one it needs, and
nothing is divided by zero. Where it has none, the derivatives of a norm or an absolute value at
zero are taken for 0; `recording` tells of these.
"""

import contextlib
import functools
import threading

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import backprop_util
from tensorflow.python.ops import gen_math_ops

from keras_derivs.backend.override import plain
from keras_derivs.backend.step import Step
from keras_derivs.backend.tensorflow import outer, unselected
from keras_derivs.backend.tensorflow.unselected import unbroadcast

QUOTIENTS = "_keras_derivs_quotients"  # attribute: functions that return quotients
ROOTS = {"Abs", "ComplexAbs"}  # beside those of `functions.root`, which are custom gradients
OPPOSITE = {"Maximum", "Minimum"}  # where one argument is minus the other
MISSED = {f"{name}, at zero" for name in (*ROOTS, *OPPOSITE, "norm")}  # as steps, see `traced`
COPYING = {
    "BroadcastTo", "Cast", "ConcatV2", "EnsureShape", "ExpandDims", "GatherV2", "Identity", "Pack",
    "Pad", "Reshape", "ReverseV2", "Roll", "SelectV2", "Slice", "Split", "SplitV", "Squeeze",
    "StridedSlice", "Tile", "Transpose", "Unpack",
}  # fmt: skip
ADDED = ((gen_math_ops, "add_n"), (backprop_util, "AggregateIndexedSlicesGradients"))
_local = threading.local()


def attach(gradient, quotients):
    """Say what a gradient is, divided by y, y^2, ...: functions without arguments."""
    if isinstance(gradient, (tf.Tensor, tf.IndexedSlices)) and quotients:
        setattr(gradient, QUOTIENTS, [functools.cache(quotient) for quotient in quotients])
    return gradient


def quotient(gradient, power=1):
    """A gradient divided by that power of the tensor it belongs to; `None` if it is not known."""
    known = _all(gradient)
    return known[power - 1]() if len(known) >= power else None


def _all(gradient):
    return getattr(gradient, QUOTIENTS, [])


def of_root(gradient, exponent):
    """The gradient by x of y = x^exponent where a quotient is known, else `None`."""
    exponent = tf.get_static_value(exponent)
    if exponent is None or np.ndim(exponent) or not 0 < np.real(exponent) < 1:
        return None
    power = round(1 / float(np.real(exponent)))
    if abs(power * exponent - 1) > 1e-7:
        return None
    known = _all(gradient)[power - 2 :: power]  # x^j is y^(power j)
    if not known:
        return None
    parts = [lambda q=q: q() / power for q in known]
    return attach(parts[0](), parts[1:])


def of_selection(gradient, shares):
    """The gradients of what was selected from, which are multiples of the same powers.

    `shares(gradient, times)` is a list: the part of each, `times` what it is the gradient of.
    Where several are selected, the gradient of y^n is that of the mean of their n-th powers.
    """
    count = len(_all(gradient))
    if not count:
        return shares(gradient)
    found = shares(quotient(gradient), True)
    for n, part in enumerate(found):
        attach(part, [lambda k=k, n=n: shares(quotient(gradient, k))[n]
                      for k in range(1, count + 1)])  # fmt: skip
    return found


def missed(kind, x):
    """The gradient of a root of `x` is asked for without a quotient."""
    if getattr(_local, "missed", None) is not None:
        names = [user.name for user in x.consumers() if user.type in (kind, "Sqrt", "Pow")]
        _local.missed.append(Step(f"{kind}, at zero", next(iter(names), x.op.name)))


@contextlib.contextmanager
def recording():
    """A list that is filled with the roots that have no quotient meanwhile."""
    outer, _local.missed = getattr(_local, "missed", None), []
    try:
        yield _local.missed
    finally:
        _local.missed = outer


def following(name, call):
    """`call(operation, *gradients)`, a gradient, made to hand on quotients."""
    if name in COPYING:
        return functools.partial(_copied, call)
    return functools.partial(RULES.get(name, _without), call)


def install():
    """Let sums of gradients follow what is known of the gradients that they add."""
    for module, name in ADDED:
        original = plain(getattr(module, name))
        add = functools.partial(_total, original)
        setattr(module, name, outer.switched(original, add, add))


def _total(add, gradients, name=None):
    found, known = unselected.total(add, gradients), [_all(g) for g in gradients]
    return attach(found, [functools.partial(_sum, parts) for parts in zip(*known)])


def _sum(parts):
    return tf.add_n([part() for part in parts])


def _without(call, operation, *gradients):
    """Sums return the gradient that arrives, whose quotients are not by what they add."""
    found = call(operation, *gradients)
    known = {id(g) for g in gradients if _all(g)}
    if isinstance(found, (list, tuple)):
        return [_fresh(g) if id(g) in known else g for g in found]
    return _fresh(found) if id(found) in known else found


def _fresh(gradient):
    copy, where = tf.identity(gradient), unselected.marked(gradient)
    return copy if where is None else unselected.mark(copy, where)


def _copied(call, operation, *gradients):
    """Entries are copied, moved, or joined by zeros, and their quotients with them."""
    found = call(operation, *gradients)
    count = min(len(_all(g)) for g in gradients)
    if count:
        for n, g in enumerate(tf.nest.flatten(found)):
            attach(g, [functools.partial(_part, call, operation, gradients, k, n)
                       for k in range(1, count + 1)])  # fmt: skip
    return found


def _part(call, operation, gradients, power, n):
    found = call(operation, *[quotient(g, power) for g in gradients])
    return tf.convert_to_tensor(tf.nest.flatten(found)[n])


def _scaled(call, operation, gradient):
    """y = c x: the quotient by x^k is c^(k+1) times that by y^k; and x x has a quotient by x."""
    found, (a, b) = call(operation, gradient), operation.inputs
    for part, x, other in zip(found, (a, b), (b, a)):
        if part is None:
            continue
        if a is b:
            attach(part, [lambda: gradient])
        else:
            attach(part, _times(gradient, other, x))
    return found


def _times(gradient, factor, x):
    def scaled(power):
        return unbroadcast(quotient(gradient, power) * tf.math.conj(factor) ** (power + 1), x)

    return [functools.partial(scaled, k) for k in range(1, len(_all(gradient)) + 1)]


def _divided(call, operation, gradient):
    found, (x, divisor) = call(operation, gradient), operation.inputs
    attach(found[0], _times(gradient, 1 / divisor, x))
    return found


def _negated(call, operation, gradient):
    found = call(operation, gradient)
    signs = [(-1) ** (k + 1) for k in range(1, len(_all(gradient)) + 1)]
    parts = [lambda k=k, s=s: quotient(gradient, k) * s for k, s in enumerate(signs, 1)]
    return attach(found, parts)


RULES = {"Mul": _scaled, "RealDiv": _divided, "Neg": _negated}

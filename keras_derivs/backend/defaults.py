"""The part of the contract that a framework meets by doing nothing."""

import contextlib

from keras import ops

from keras_derivs.backend.override import exactly
from keras_derivs.backend.wide import wide

MISSING = ()
NO_GRADIENT = (NotImplementedError,)
VECTORS = VALUES = set()  # of decompositions: the framework itself has NaN at equal values
AT_POINTS = set()  # of selections by equality
AT_ZERO = set()  # of norms: the framework itself has no number at zero
ESTIMATED = set()  # of operations that round
held = contextlib.nullcontext  # random numbers cannot be held


def slope_of_tanh(x):
    """1 - tanh^2 is 4 e / (1 + e)^2 with e = exp(-2 |x|), which is right far out too."""
    decay = ops.exp(-2 * ops.abs(x))
    return 4 * decay / ops.square(1 + decay)


def sum_of_directions(x):
    return ops.sum(x, axis=0)


def constant(number):
    return number


def at_each(function, columns):
    return None


def at_once(function, inputs):
    return function(inputs)


def for_format(name):
    return contextlib.nullcontext()


def drawn():
    return False


def compiling():
    """Whether a function is being traced to be compiled, which JAX does with all it traces."""
    return False


def tracing():
    return False


@contextlib.contextmanager
def precise():
    """The context in which derivatives are computed."""
    with exactly(), wide():
        yield


def double():
    """The context in which plain calls of a model compute in float64 where that is asked."""
    return wide()


def selected(function, inputs):
    return function(inputs)


def selecting(cotangent):
    return cotangent


def result(x):
    return x


def after(tensors):
    return contextlib.nullcontext()


def weights_scope():
    return contextlib.nullcontext


def loops(steps, order):
    return set()


def not_compiled(steps):
    return set()


def refuse_gradient(x, error):
    return x

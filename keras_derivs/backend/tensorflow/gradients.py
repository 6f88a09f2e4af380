"""The gradients that replace TensorFlow's while a derivative is computed.

Each is what `tf.RegisterGradient` asks for, with TensorFlow's own as third argument, and is right
at every order: made of elementary operations, or of a linear map and its transpose, each of which
is the gradient of the other.
"""

import functools

import tensorflow as tf
from tensorflow.python.framework.ops import _gradient_registry as registry

from keras_derivs.backend.override import plain
from keras_derivs.backend.tensorflow import outer, quotients, unselected
from keras_derivs.backend.tensorflow.exporting import exporting
from keras_derivs.backend.tensorflow.unselected import (  # noqa: F401 (for the rules)
    is_needed,
    unbroadcast,
)

# type of an operation -> its gradient; kept when this module is loaded again
GRADIENTS = globals().get("GRADIENTS", {})
PORTABLE = globals().get("PORTABLE", {})  # the same, while a model is exported
FLAT = {"Ceil", "Floor", "FloorDiv", "NextAfter", "Rint", "Round", "Sign", "TruncateDiv"}


def gradient_of(*names):
    def register(function):
        GRADIENTS.update(dict.fromkeys(names, function))
        return function

    return register


def portable(*names):
    """Register a gradient that takes the place of the others while a model is exported."""

    def register(function):
        PORTABLE.update(dict.fromkeys(names, function))
        return function

    return register


def install():
    """Let TensorFlow find them; what it had is called by them, and in all other threads."""
    entries = registry._registry
    for name in GRADIENTS.keys() - entries.keys():
        tf.RegisterGradient(name)(_missing)
    for name, entry in entries.items():
        own = plain(entry["type"])
        if own is not None:
            call = functools.partial(_call, GRADIENTS[name], own) if name in GRADIENTS else own
            if name in PORTABLE:
                call = functools.partial(_call_portable, PORTABLE[name], call)
            call = quotients.following(name, unselected.following(name, call))
            entry["type"] = outer.switched(own, functools.partial(_checked, call), call)


def _checked(call, operation, *gradients):
    """No `None` is believed, save of the operations that are known to be piecewise constant."""
    found = call(operation, *gradients)
    if operation.type in FLAT or not hasattr(operation, "skip_input_indices"):
        return found
    parts = found if isinstance(found, (list, tuple)) else [found]
    for n, (part, x) in enumerate(zip(parts, operation.inputs or ())):
        if part is None and x is not None and is_needed(operation, n):
            raise LookupError(f"no derivative by argument {n} is known of: {operation.type}")
    return found


def _call(rule, own, operation, *gradients):
    return rule(operation, *gradients, lambda *g: own(operation, *g))


def _call_portable(rule, exact, operation, *gradients):
    call = functools.partial(_call, rule, exact) if exporting.on else exact
    return call(operation, *gradients)


def _missing(operation, *gradients):
    """As TensorFlow says it where nothing is registered."""
    raise LookupError(f"gradient registry has no entry for: {operation.type}")


def linear(there, back):
    """A linear map given with its transpose, to be differentiated any number of times."""

    @tf.custom_gradient
    def forward(x):
        return there(x), lambda gradient: outer.hand_on(gradient, backward(gradient))

    @tf.custom_gradient
    def backward(x):
        return back(x), lambda gradient: outer.hand_on(gradient, forward(gradient))

    return forward


def by_formula(formula):
    """The gradient of an operation that equals `formula(operation, *inputs)`.

    The formula returns the outputs, and is differentiated in place of the operation. It is given
    the inputs that a gradient may reach, and reads the others from the operation.
    """

    def rule(op, *arguments):
        *gradients, _ = arguments
        needed = {n: x for n, x in enumerate(op.inputs) if is_needed(op, n)}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(needed.values()))
            inputs = [tf.identity(needed[n]) if n in needed else x for n, x in enumerate(op.inputs)]
            outputs = tf.nest.flatten(formula(op, *inputs))
        pairs = [(y, g) for y, g in zip(outputs, gradients) if g is not None]
        found = tape.gradient([y for y, _ in pairs], list(needed.values()), [g for _, g in pairs])
        found = dict(zip(needed, found))
        return [found.get(n) for n in range(len(op.inputs))]

    return rule

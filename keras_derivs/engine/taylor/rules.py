"""The table of Taylor rules.

A rule is a function `(operation, *args, **kwargs)` for one class of operations or layers, called
with polynomials in the place of tensors. It returns what the operation returns.
"""

import keras

from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.reloading import lasting
from keras_derivs.typing import Any, Callable

RULES = globals().get("RULES", {})  # a reload keeps the rules of other modules
HARMLESS = {
    "__init__", "build", "get_config", "from_config", "compute_mask", "compute_output_shape",
    "compute_output_spec", "__repr__",
}  # fmt: skip


@lasting
class UnsupportedOperation(ValueError):
    """What Taylor polynomials cannot be propagated through: `culprit` names it, `told` says why."""

    _keras_call_info_injected = True  # Keras would raise a copy without what is known here

    def __init__(self, message, culprit="the model", placed=True, reason=""):
        super().__init__(message)
        self.culprit, self.placed, self.reason = culprit, placed, reason

    @property
    def told(self):
        return f"{self.culprit}, which {self.reason}" if self.reason else self.culprit

    def within(self, layer):
        """The same error, which names the layer as well; the first to be named is kept."""
        if self.placed:
            return self
        culprit = f"{self.culprit} in {named(layer)}"
        message = str(self).replace(self.culprit, culprit, 1)
        return UnsupportedOperation(message, culprit, reason=self.reason)


@lasting
class OtherValues(str):
    """The name of a model whose polynomials do not have the value that the model returns."""


def taylor_rule(*classes: type) -> Callable[[Any], Any]:
    """Register the decorated function as the Taylor rule of a layer or an operation.

    The function takes the operation and its arguments, with `Polynomial`s in the place of
    tensors, and returns what the operation returns; `keras_derivs.taylor` has what to write it
    with. Layers made of `keras.ops` need no rule.

    Args:
        *classes: Subclasses of `keras.Operation`, such as layers. A subclass that keeps its
            parent's `call` has its parent's rule.

    Returns:
        A decorator that registers a function and returns it.

    Raises:
        TypeError: No classes, or one that is no subclass of `keras.Operation`.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> import tensorflow as tf
    >>> class Expm1(keras.layers.Layer):
    ...     def call(self, x):
    ...         return tf.math.expm1(x)  # not an operation of Keras
    >>> @kd.taylor_rule(Expm1)
    ... def expm1(layer, x):
    ...     return kd.taylor.integrate(x, layer(x.value), slope=kd.taylor.call(keras.ops.exp, x))
    >>> layer = kd.HessianDiagonal(Expm1(), strategy="taylor")
    >>> float(layer(np.zeros((1, 1)))[0, 0])
    1.0
    """

    _check_classes(classes)

    def register(rule):
        for cls in classes:
            RULES[cls] = rule
        return rule

    return register


def _check_classes(classes):
    wrong = [c for c in classes if not (isinstance(c, type) and issubclass(c, keras.Operation))]
    if wrong or not classes:
        raise TypeError(
            f"`taylor_rule` needs the classes that a rule is for, subclasses of `keras.Operation` "
            f"such as layers. Received: {', '.join(map(repr, wrong)) or 'none'}. Write "
            f"`@taylor_rule(MyLayer)`."
        )


def find(operation):
    """The rule of an operation, or `None`. A subclass that computes otherwise needs its own."""
    for cls in type(operation).__mro__:
        if cls in RULES:
            return RULES[cls] if _computes_like(type(operation), cls) else None
    return None


def _computes_like(cls, base):
    """Whether a subclass overrides no method but those that take no part in a call."""
    above = cls.__mro__[: cls.__mro__.index(base)]
    own = {
        name
        for c in above
        for name, value in vars(c).items()
        if callable(value) or isinstance(value, property)
    }
    return not any(hasattr(base, name) for name in own - HARMLESS)


def polynomials(tree):
    return [leaf for leaf in keras.tree.flatten(tree) if isinstance(leaf, Polynomial)]


def unsupported(operation, reason="", culprit=None, error=None):
    """The error that names an operation and why it cannot be, or what it raised."""
    culprit = culprit or named(operation)
    failed = "has no Taylor rule" if error is None else f"cannot be propagated through ({error})"
    return UnsupportedOperation(
        f"Taylor propagation needs a rule for every operation. Received: {culprit}, which "
        f"{reason or failed}. "
        f"Use strategy='auto' or 'tape', or register a rule with `taylor_rule`.",
        culprit,
        placed=isinstance(operation, keras.layers.Layer),
        reason=reason,
    )


def named(operation):
    return f"'{operation.name}' (of type {type(operation).__name__})"


def unsupported_function(function, error):
    """The error that names a function, such as an activation, and what it raised."""
    function = getattr(function, "func", function)  # of a partial
    name = getattr(function, "__name__", type(function).__name__)
    return unsupported(None, culprit=f"the function '{name}'", error=error)


def require_plain(operation, *trees):
    """Raise if an argument that the rule holds constant depends on the inputs."""
    if polynomials(trees):
        raise unsupported(operation, "has no Taylor rule for this argument depending on the input")


def values(tree):
    """The same arguments with the values of polynomials in their place."""
    return keras.tree.map_structure(lambda x: x.value if isinstance(x, Polynomial) else x, tree)

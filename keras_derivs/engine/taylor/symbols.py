"""Polynomials that Keras takes for symbolic tensors.

A layer's `call` runs on them as it runs on the symbolic tensors of a functional model. Each
operation is answered at once by its Taylor rule, so no graph is recorded, no layer of the user
is written to, and a tensor that a function captured or a layer kept is still a polynomial.

What Keras and numpy do with any other tensor is left as it is: the three methods below that are
replaced look at the types of their arguments and call the original.
"""

import functools
import numbers

import keras
import numpy as np

from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.graph.private import Variable
from keras_derivs.reloading import lasting

ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
COMPARISONS = ("lt", "le", "gt", "ge")
PLAIN = (bool, int, float, str, type(None))


@lasting
class Symbol(keras.KerasTensor):
    """A polynomial, in the place of a tensor in a layer's `call`."""

    __array_ufunc__ = None  # `array * x` is left to `x`

    @property
    def __jax_array__(self):
        raise AttributeError("JAX leaves `array * x` to `x`, too")

    def __init__(self, polynomial):
        super().__init__(polynomial.shape, dtype=polynomial.dtype, name="symbol")
        self.polynomial = polynomial

    def __eq__(self, other):
        """Entry by entry, as of the tensors of a framework."""
        return keras.ops.equal(self, other) if _is_numeric(other) else NotImplemented

    def __ne__(self, other):
        return keras.ops.not_equal(self, other) if _is_numeric(other) else NotImplemented

    __hash__ = keras.KerasTensor.__hash__


def _is_numeric(x):
    return isinstance(x, (numbers.Number, keras.KerasTensor, np.ndarray)) or keras.ops.is_tensor(x)


def wrap(tree):
    """The same arguments with polynomials as tensors of Keras."""
    return keras.tree.map_structure(lambda x: Symbol(x) if isinstance(x, Polynomial) else x, tree)


def unwrap(tree):
    """The same results with polynomials again."""
    return keras.tree.map_structure(lambda x: x.polynomial if isinstance(x, Symbol) else x, tree)


def symbols(tree):
    """The symbols of a tree of arguments."""
    return [x for x in keras.tree.flatten(tree) if isinstance(x, Symbol)]


def _any(values):
    """Whether there are symbols in any of these arguments; tensors and numbers tell at once."""
    return any(
        isinstance(x, Symbol) if hasattr(x, "dtype") else not isinstance(x, PLAIN) and symbols(x)
        for x in values
    )


def install(apply):
    """Let `apply(operation, *args, **kwargs)` answer for operations on symbols."""

    def answering(plain):
        @functools.wraps(plain)
        def call(operation, *args, **kwargs):
            if not (_any(args) or _any(kwargs.values())):
                return plain(operation, *args, **kwargs)
            args, kwargs = unwrap((args, kwargs))
            return wrap(apply(operation, *args, **kwargs))

        return call

    def yielding(plain):
        @functools.wraps(plain)
        def operator(variable, other):
            if isinstance(other, Symbol):
                return NotImplemented  # Python asks `other` next
            return plain(variable, other)

        return operator

    _replace(keras.Operation, "symbolic_call", answering)
    _replace(keras.layers.Layer, "__call__", answering)
    for name in ARITHMETIC + COMPARISONS:
        _replace(Variable, f"__{name}__", yielding)


def _replace(cls, name, replacement):
    """Once: where the module is loaded again, the original is still found."""
    method = getattr(cls, name)
    plain = getattr(method, "replaced_by_keras_derivs", method)
    new = replacement(plain)
    new.replaced_by_keras_derivs = plain
    setattr(cls, name, new)

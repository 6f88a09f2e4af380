"""`w * x` for a variable or an array w and a symbolic x, of which Keras computes only `x * w`.

A Keras layer never meets a symbolic tensor in its own `call`; here, where `call` is traced on
those, it does. The operators of variables and of numpy then leave it to x what it does with w.
"""

import contextlib
import functools
import threading

import keras
from keras.src.backend.common.variables import Variable

ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
COMPARISONS = ("lt", "le", "gt", "ge")
OPERATORS = {f"__{name}__": getattr(Variable, f"__{name}__") for name in ARITHMETIC + COMPARISONS}

_lock, _users = threading.Lock(), 0


@contextlib.contextmanager
def beside_symbols():
    """While it is open, variables and arrays may stand on the left of symbolic tensors."""
    _enter(1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(change):
    global _users
    with _lock:
        _users += change
        for name, operator in OPERATORS.items():
            setattr(Variable, name, _yielding(operator) if _users else operator)
        if _users:
            keras.KerasTensor.__array_ufunc__ = None  # numpy's word for "ask the other"
        else:
            del keras.KerasTensor.__array_ufunc__


def _yielding(operator):
    @functools.wraps(operator)
    def yielding(variable, other):
        if keras.backend.is_keras_tensor(other):
            return NotImplemented  # Python asks `other` next
        return operator(variable, other)

    return yielding

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
NAMES = [f"__{name}__" for name in ARITHMETIC + COMPARISONS]

_lock, _users = threading.Lock(), 0


@contextlib.contextmanager
def beside_symbols():
    """While it is open, variables and arrays may stand on the left of symbolic tensors."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change):
    """The first thread to come changes the operators, the last one to leave restores them."""
    global _users
    with _lock:
        before, _users = _users, _users + change
        if not before:
            _set(YIELDING)
            keras.KerasTensor.__array_ufunc__ = None  # numpy's word for "ask the other"
        elif not _users:
            _set(OPERATORS)
            del keras.KerasTensor.__array_ufunc__


def _set(operators):
    for name, operator in operators.items():
        setattr(Variable, name, operator)


def _yielding(operator):
    @functools.wraps(operator)
    def yielding(variable, other):
        if keras.backend.is_keras_tensor(other):
            return NotImplemented  # Python asks `other` next
        return operator(variable, other)

    return yielding


OPERATORS = {name: getattr(Variable, name) for name in NAMES}
YIELDING = {name: _yielding(operator) for name, operator in OPERATORS.items()}

"""Eager computations of JAX as one compiled program.

JAX compiles each operation that it meets for the first time, some hundreds in a derivative. So
a computation is traced, as often as it is asked for, and programs that are the same share one
compilation; weights and other numbers are arguments of it. The numbers of programs inside are part
of what is compared: their text does not show them.
"""

import collections
import hashlib
import threading

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from keras_derivs.backend.jax.jaxpr import programs

QUICKLY = {"xla_backend_optimization_level": 0}  # half the time to compile, and as fast to run
MOST_PROGRAMS = 128  # compiled and kept
_compiled, _lock = collections.OrderedDict(), threading.Lock()


class NotOne(Exception):
    """A computation that is no program: it needs numbers, or calls Python."""


def one_program(function, arguments):
    """`function(arguments)`, of tensors that hold numbers, compiled as a whole."""
    try:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(arguments)
    except Exception as error:  # the reason is shown where it also fails operation by operation
        raise NotOne from error
    differentiated = any(isinstance(x, jax.core.Tracer) for x in closed.consts)  # by weights
    if differentiated or closed.effects or "callback" in str(closed.jaxpr):
        raise NotOne
    structure = jax.tree.structure(shapes)
    results = _program(closed)(closed.consts, jax.tree.leaves(arguments))
    return jax.tree.unflatten(structure, results)


def _program(closed):
    key = str(closed.jaxpr), _digest(closed.jaxpr)
    with _lock:
        if key not in _compiled:
            _compiled[key] = jax.jit(_runner(closed.jaxpr), compiler_options=QUICKLY)
            if len(_compiled) > MOST_PROGRAMS:
                _compiled.popitem(last=False)
        _compiled.move_to_end(key)
        return _compiled[key]


def _digest(jaxpr):
    """Of all numbers that stand in a program and in those inside."""
    digest = hashlib.sha256()
    for number in _numbers(jaxpr):
        number = np.asarray(number)
        digest.update(f"{number.shape}{number.dtype}".encode())
        digest.update(number.tobytes())
    return digest.hexdigest()


def _numbers(jaxpr):
    for equation in jaxpr.eqns:
        yield from (x.val for x in equation.invars if isinstance(x, Literal))
        yield from (p for p in equation.params.values() if isinstance(p, (np.ndarray, jax.Array)))
        for inner in programs(equation):
            if isinstance(inner, ClosedJaxpr):
                yield from inner.consts
            yield from _numbers(getattr(inner, "jaxpr", inner))


def _runner(jaxpr):
    def run(constants, arguments):
        return jax.core.eval_jaxpr(jaxpr, constants, *arguments)

    return run

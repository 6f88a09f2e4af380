"""Eager computations of JAX as one compiled program.

JAX compiles each operation that it meets for the first time, some hundreds in a derivative. So
a computation is traced, as often as it is asked for, and programs that are the same share one
compilation; weights and other numbers are arguments of it.
"""

import collections
import threading

import jax

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
    key = str(closed.jaxpr)
    with _lock:
        if key not in _compiled:
            _compiled[key] = jax.jit(_runner(closed.jaxpr), compiler_options=QUICKLY)
            if len(_compiled) > MOST_PROGRAMS:
                _compiled.popitem(last=False)
        _compiled.move_to_end(key)
        return _compiled[key]


def _runner(jaxpr):
    def run(constants, arguments):
        return jax.core.eval_jaxpr(jaxpr, constants, *arguments)

    return run

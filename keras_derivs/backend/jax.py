"""JAX: derivatives by `jax.linearize` and its transpose."""

import contextlib

import jax

from keras_derivs.backend.defaults import *  # noqa: F403
from keras_derivs.backend.jaxpr import (  # noqa: F401
    FLAT,
    KINKED,
    LOST,
    STOPPED,
    traced,
)
from keras_derivs.backend.stateless import stateless
from keras_derivs.backend.wide import wide

MODES = ("jit",)


def vjp(function, xs, num_pulls=1):
    """See `keras_derivs.backend.vjp`."""
    xs = [jax.numpy.asarray(x) for x in xs]
    outputs, push, beside = jax.linearize(lambda *xs: function(list(xs)), *xs, has_aux=True)

    def pull(n, cotangent=None):
        if cotangent is None:
            cotangent = jax.tree.map(jax.numpy.ones_like, outputs[n])
        transposed = jax.linear_transpose(lambda *moves: push(*moves)[n], *xs)
        return list(transposed(cotangent))

    return outputs, beside, pull


@contextlib.contextmanager
def scope(model):
    """No update of any variable, seed or loss; derivatives of JAX are exact by themselves."""
    with stateless(), precise():
        yield


def precise():
    """The context in which derivatives are computed."""
    return wide() if jax.config.jax_enable_x64 else contextlib.nullcontext()


@contextlib.contextmanager
def double():
    """The context in which plain calls of a model compute in float64 where that is asked."""
    with jax.enable_x64(True), wide():
        yield


def compiled(function, mode=MODES[0]):
    return jax.jit(function)


def compiling():
    """Whether a function is being traced to be compiled; JAX compiles whatever it traces."""
    return False


def tracing():
    """Whether a program is being traced."""
    return isinstance(jax.numpy.zeros(()), jax.core.Tracer)

"""JAX: derivatives by `jax.linearize` and its transpose."""

import contextlib

import jax

from keras_derivs.backend import resident
from keras_derivs.backend.defaults import *  # noqa: F403
from keras_derivs.backend.formulas import install
from keras_derivs.backend.jax import exporting, jaxpr  # noqa: F401
from keras_derivs.backend.jax.exact import exact
from keras_derivs.backend.jax.formulas import (  # noqa: F401
    ldexp,
    slope_of_tanh,
    sum_of_directions,
)
from keras_derivs.backend.jax.jaxpr import (  # noqa: F401
    AT_POINTS,
    ESTIMATED,
    FLAT,
    KINKED,
    LOST,
    STOPPED,
)
from keras_derivs.backend.jax.marked import Selection, without_others
from keras_derivs.backend.jax.program import NotOne, one_program
from keras_derivs.backend.override import exactly
from keras_derivs.backend.stateless import new_values, renew, stateless, unless_it_fails
from keras_derivs.backend.switch import Switch
from keras_derivs.backend.wide import wide

FRAMEWORK = "JAX"
MODES = ("jit",)
LOOP = "JAX has no gradient of a loop whose number of steps depends on what it computes"
_plainly = Switch()
install(ldexp=ldexp)


def peak_memory(call):
    """See `keras_derivs.backend`; the counters of other devices cannot be set back."""
    if jax.default_backend() == "cpu":
        return resident.peak_memory(call)
    call()
    return None


def vjp(function, xs, num_pulls=1):
    """See `keras_derivs.backend.vjp`."""
    xs = [jax.numpy.asarray(x) for x in xs]
    outputs, push, beside = jax.linearize(lambda *xs: function(list(xs)), *xs, has_aux=True)

    def pull(n, cotangent=None):
        move = lambda *moves: push(*moves)[n]  # noqa: E731
        if cotangent is None:
            cotangent = jax.tree.map(jax.numpy.ones_like, outputs[n])
        if isinstance(cotangent, Selection):
            cotangent = cotangent.cotangent
            move = without_others(move, xs, cotangent)
        cotangent = jax.tree.map(_of_dtype, outputs[n], cotangent)
        with _named_loops():
            found = list(jax.linear_transpose(move, *xs)(cotangent))
        if any(isinstance(g, jax.core.Tracer) or g.any() for g in found):
            return found
        arrives = jaxpr.depending(move, xs)
        return [g if there else None for g, there in zip(found, arrives)]

    return outputs, beside, pull


@contextlib.contextmanager
def _named_loops():
    """What JAX says of a loop that ends by what it computes, as an error of `NO_GRADIENT`."""
    try:
        yield
    except ValueError as error:
        if "Reverse-mode differentiation does not work for lax.while_loop" not in str(error):
            raise
        raise NotImplementedError(f"{LOOP}: while") from error


def _of_dtype(y, cotangent):
    """A cotangent in the dtype of `y`; Keras may declare a narrower one."""
    return jax.numpy.asarray(cotangent, y.dtype)


def jacobians_of_rows(function, xs, inputs, columns):
    """See `keras_derivs.backend.jacobians_of_rows`."""

    def of_row(row):
        row = jax.tree.map(lambda z: z[None], row)
        found = jax.jacrev(lambda xs: function(xs, row)[0])(xs)
        return jax.numpy.concatenate([z.reshape(columns, -1) for z in found], axis=1)

    return jax.vmap(of_row)(inputs)


def evaluate(function, inputs, model):
    """See `keras_derivs.backend`."""

    def plain(inputs):
        with stateless(), _wide() if _plainly.on else precise():
            return function(inputs)

    if _plainly.on:
        return plain(inputs)
    try:
        with unless_it_fails():
            y, values = exact(lambda inputs: (plain(inputs), new_values()), inputs)
    except Exception:  # code that needs numbers: only eager calls of it are possible
        return plain(inputs)
    renew(values)
    return y


def selected(function, inputs):
    """See `keras_derivs.backend`."""
    if _plainly.on:
        return function(inputs)
    try:
        return exact(function, inputs)
    except Exception:  # no program: it needs numbers
        return function(inputs)


@contextlib.contextmanager
def scope(model):
    """Exact functions, and no update of any variable, seed or loss."""
    with stateless(), precise():
        yield


@contextlib.contextmanager
def precise():
    """The context in which derivatives are computed."""
    with exactly(), _wide():
        yield


def _wide():
    return wide() if jax.config.jax_enable_x64 else contextlib.nullcontext()


def selecting(cotangent):
    """See `keras_derivs.backend`; `vjp` takes it."""
    return Selection(cotangent)


def traced(run, inputs, wrt):
    """See `keras_derivs.backend`."""
    with _plainly():  # the operations as they stand in the model
        return jaxpr.operations(run, inputs, wrt)


def at_once(function, inputs):
    """See `keras_derivs.backend`."""
    if tracing() or any(isinstance(x, jax.core.Tracer) for x in inputs):
        return function(inputs)
    try:
        with unless_it_fails():
            results, values = one_program(lambda inputs: (function(inputs), new_values()), inputs)
    except NotOne:
        return function(inputs)
    renew(values)
    return results


@contextlib.contextmanager
def double():
    """The context in which plain calls of a model compute in float64 where that is asked."""
    with jax.enable_x64(True), wide():
        yield


def compiled(function, mode=MODES[0]):
    return jax.jit(function)


def tracing():
    """Whether a program is being traced."""
    return isinstance(jax.numpy.zeros(()), jax.core.Tracer)

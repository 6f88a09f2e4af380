"""A few operations of JAX that have another derivative at kinks, or lose digits far out."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from keras_derivs.backend import defaults, powers
from keras_derivs.backend.jax.determinant import determinant

MOST_TERMS = 64  # of a sum that is written out


@jax.custom_jvp
def arctangent(x):
    return lax.atan(x)


@arctangent.defjvp
def _of_arctangent(primals, tangents):
    """1 / (1 + x^2), which neither overflows nor loses its derivatives far out."""
    (x,), (move,) = primals, tangents
    large = jnp.abs(x) > 1
    near, inverse = jnp.where(large, 1.0, x), 1 / jnp.where(large, x, 1.0)
    slope = jnp.where(large, inverse**2 / (1 + inverse**2), 1 / (1 + near * near))
    return arctangent(x), slope * move


@jax.custom_jvp
def slope_of_tanh(x):
    """See `keras_derivs.backend`."""
    return defaults.slope_of_tanh(x)


@slope_of_tanh.defjvp
def _of_slope(primals, tangents):
    """-2 tanh times the slope, both of which are there already."""
    (x,), (move,) = primals, tangents
    slope = slope_of_tanh(x)
    return slope, -2 * (lax.tanh(x) * slope) * move


@jax.custom_jvp
def sum_of_directions(x):
    """See `keras_derivs.backend`; term by term, where the compiler is slow along a first axis."""
    if not 0 < x.shape[0] <= MOST_TERMS:
        return jnp.sum(x, axis=0)
    return functools.reduce(lax.add, [x[n] for n in range(x.shape[0])])


@sum_of_directions.defjvp
def _of_sum(primals, tangents):
    """Linear, and the transpose of what stands here repeats a tensor, without any padding."""
    return sum_of_directions(*primals), jnp.sum(tangents[0], axis=0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def power(x, y, i=0, j=0):
    """x^y, or its partial derivative of the orders i and j."""
    return powers.partial(x, y, i, j) if i or j else lax.pow(x, y)


def _of_power(i, j, primals, tangents):
    x, y = primals
    pairs = zip(tangents, ((i + 1, j), (i, j + 1)))
    parts = [move * power(x, y, *n) for move, n in pairs if not isinstance(move, SymbolicZero)]
    return power(x, y, i, j), sum(parts[1:], start=parts[0]) if parts else jnp.zeros_like(x)


power.defjvp(_of_power, symbolic_zeros=True)


def ldexp(x, exponent):
    """By factors that neither overflow nor vanish: JAX takes the bits of a number apart."""
    x, exponent = jnp.asarray(x), jnp.asarray(exponent)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.ldexp(x, exponent)
    largest = jnp.finfo(x.dtype).maxexp
    exponent = jnp.clip(exponent, -3 * largest, 3 * largest)
    for part in (*[exponent // 4] * 3, exponent - 3 * (exponent // 4)):
        x = x * jnp.ldexp(jnp.ones((), x.dtype), part)
    return x


FUNCTIONS = {"_det": determinant}
FORMULAS = {"abs": lambda x: x * lax.sign(x), "atan": arctangent, "pow": power}

"""The determinant on JAX, whose higher derivatives need an inverse that may not exist.

JAX writes out those of at most three rows. Singular matrices of more than eight have no second
derivatives here: they are no numbers.
"""

import jax.numpy as jnp
from jax import lax

MOST_ROWS = 8  # products of more lose too many digits, and regular ones seem singular


def determinant(x):
    """A polynomial of the entries: singular matrices have all its derivatives, too."""
    if x.shape[-1] > MOST_ROWS:
        return jnp.linalg.det(x)
    near = _nearly_singular(lax.stop_gradient(x))
    identity = jnp.eye(x.shape[-1], dtype=x.dtype)
    regular = jnp.linalg.det(jnp.where(near[..., None, None], identity, x))
    return jnp.where(near, _by_products(x), regular)


def _nearly_singular(x):
    """By Hadamard's inequality, |det x| is at most the product of the lengths of the rows."""
    largest = jnp.prod(jnp.sqrt(jnp.sum(x * x, axis=-1)), axis=-1)
    return jnp.abs(jnp.linalg.det(x)) <= largest * jnp.finfo(x.dtype).eps ** 0.5


def _by_products(x):
    """Without divisions (Bird, "A simple division-free algorithm for determinants", 2011)."""
    y = x
    for _ in range(x.shape[-1] - 1):
        diagonal = jnp.diagonal(y, axis1=-2, axis2=-1)
        below = jnp.cumsum(diagonal, axis=-1) - jnp.sum(diagonal, axis=-1, keepdims=True)
        y = (jnp.triu(y, 1) + below[..., None] * jnp.eye(x.shape[-1], dtype=x.dtype)) @ x
    return y[..., 0, 0] * (-1) ** (x.shape[-1] - 1)

"""Derivatives where kinks meet and may cancel, compared with those at three neighbours.

At x + h v, x - h v and x + h w there is no kink, whatever x is, for directions v, w that favour no
entry. Where the function is smooth the three derivatives differ by O(h), and the mean of the first
two by O(h^2) from the true one, which is rounding. Where they differ by more there is a kink, and
the convention holds.
"""

import functools

import keras
import numpy as np
from keras import ops

from keras_derivs.engine.target import lengths, size

RATES = (5**0.5 - 1) / 2, 2**0.5 - 1  # their multiples are spread evenly, and none is the other's


def compared(compute, target, inputs):
    """`compute(inputs)`, (y, results), with the derivatives of a smooth function at its kinks."""
    target = target.given(inputs)
    y, results = compute(inputs)
    moved = functools.partial(_moved, target)
    around = [compute(at)[1] for at in (moved(1, 0), moved(-1, 0), moved(1, 1))]
    return y, keras.tree.map_structure(_chosen, results, *around)


def _moved(target, sign, direction):
    return target.at([x + sign * _step(x, direction) for x in target.xs]).inputs


def _step(x, direction):
    """A change of x by about h, of another size in each entry."""
    entries = ops.cast(ops.arange(1, size(x) + 1), x.dtype)
    each = 0.5 + (entries * RATES[direction]) % 1
    each = each * (1 - 2 * (entries % 2)) if direction else each
    each = ops.reshape(each, (1, *lengths(x)[1:]))
    return each * ops.maximum(ops.abs(x), 1) * _h(x)


def _h(x):
    """The root of the rounding of a dtype."""
    return rounding_of(x.dtype) ** 0.5


def rounding_of(dtype):
    """What one and the next larger number of a dtype differ by."""
    dtype = keras.backend.standardize_dtype(dtype)
    return 2.0**-7 if dtype == "bfloat16" else float(np.finfo(dtype).eps)


def _chosen(own, ahead, behind, aside):
    """The mean of the neighbours where they agree with each other and not with the derivative."""
    mean, tolerance = (ahead + behind) / 2, _h(own) ** 0.5
    scale = ops.abs(mean) + ops.where(ops.isfinite(own), ops.abs(own), ops.zeros_like(own))
    near = lambda x: ops.abs(x - mean) <= tolerance * scale  # noqa: E731
    agree = ops.logical_and(near(ahead), near(aside))
    return ops.where(ops.logical_and(agree, ops.logical_not(near(own))), mean, own)

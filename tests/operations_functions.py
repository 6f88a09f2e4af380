"""Rows of operations that take Python functions: branches, loops and maps."""

import keras
import numpy as np
from keras import ops
from mpmath import mp
from operation_row import arrays, each


def sine(x):
    return each(mp.sin)(x)


def cumulative(x):
    return np.cumsum(each(mp.sin)(x))


def scanned(x):
    return ops.scan(
        lambda carry, y: (carry + ops.sin(y), carry + ops.sin(y)), ops.zeros_like(x[0]), x
    )[1]


def thrice(x):
    return ops.while_loop(lambda n, y: n < 3, lambda n, y: (n + 1, ops.sin(y) * y), (0, x))[1]


def weight(x):
    return ops.cast(WEIGHT, x.dtype)


def product_of_sines(x):
    for _ in range(3):
        x = each(mp.sin)(x) * x
    return x


def chosen(n):
    return lambda x: ops.switch(n, [ops.cos, lambda y: ops.sin(y) * y], x)


@ops.custom_gradient
def doubled(x):
    return 2 * x, lambda *args, upstream=None: 2 * (args[0] if upstream is None else upstream)


WEIGHT = keras.Variable(2.0)  # read in a branch, as the weights of a layer are
ROWS = {
    "cond": arrays(lambda x: ops.cond(ops.sum(x) > -100, lambda: ops.sin(x), lambda: x * x), sine, (3,), per_sample=True),
    "switch": arrays(chosen(1), lambda x: sine(x) * x, (3,), per_sample=True),
    "cond, of a weight": arrays(lambda x: ops.cond(ops.sum(x) > -100, lambda: weight(x) * ops.sin(x), lambda: x), lambda x: 2 * sine(x), (3,), per_sample=True),
    "switch, of a weight": arrays(lambda x: ops.switch(1, [ops.cos, lambda y: weight(y) * ops.sin(y)], x), lambda x: 2 * sine(x), (3,), per_sample=True),
    "while_loop": arrays(thrice, product_of_sines, (3,)),
    "fori_loop": arrays(lambda x: ops.fori_loop(0, 3, lambda n, y: ops.sin(y) * y, x), product_of_sines, (3,)),
    "scan": arrays(scanned, cumulative, (3,), per_sample=True),
    "map": arrays(lambda x: ops.map(ops.sin, x), sine, (3,)),
    "vectorized_map": arrays(lambda x: ops.vectorized_map(lambda y: ops.sin(y) * y, x), lambda x: sine(x) * x, (3,)),
    "vectorize": arrays(ops.vectorize(lambda y: ops.sin(y) * y, signature="(n)->(n)"), lambda x: sine(x) * x, (3,)),
    "custom_gradient": arrays(lambda x: doubled(ops.sin(x)), lambda x: 2 * sine(x), (3,)),
}  # fmt: skip

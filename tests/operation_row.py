"""What a row of the table of operations is made of."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import mpmath
import numpy as np
from keras import ops
from mpmath import mp

GENERIC = [-2.6, -1.7, -0.8, -0.3, 0.2, 0.7, 1.1, 1.9, 2.4]
LARGE = [-1e25, -1e10, -1e3, -30.0, 30.0, 1e3, 1e10, 1e25]
SMALL = [-1e-8, -1e-30, 1e-30, 1e-8]
WHOLE = [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]


@dataclass(frozen=True)
class Case:
    """A point, as one array for each argument, and the truth that holds there.

    `truth` is a function like the row's reference, which takes its place at the point (at a kink,
    where a convention says which), or the derivatives f, f', ... of a function of one number,
    `None` where there is none.
    """

    point: tuple
    truth: Callable | tuple | None = None


@dataclass(frozen=True)
class Row:
    """An operation: a function of batches, the same of a sample in mpmath, and where to compare.

    `cases` has a list for each kind of points.
    """

    function: Callable
    reference: Callable
    cases: dict = field(default_factory=dict)
    per_sample: bool = False  # the function takes one sample, without a batch axis
    orders: int = 4
    dtypes: tuple = ("float32", "float64")


def each(function):
    """A function of one number as one of arrays."""
    return np.frompyfunc(function, 1, 1)


def points(values, truth=None):
    return [Case((np.asarray(x),), truth) for x in values]


def within(low, high, values):
    return [x for x in values if low < x < high]


def elementwise(function, reference, domain=(-mp.inf, mp.inf), generic=None, wide=True, **special):
    """A row of a function of one number; `special` has jets at points by kind, {kind: {x: jet}}."""
    low, high = domain
    if generic is None:
        span = max(low, -2.6), min(high, 2.4)
        width = span[1] - span[0]
        generic = [float(span[0] + width * f) for f in (0.03, 0.2, 0.41, 0.63, 0.77, 0.96)]
    told = {x for jets in special.values() for x in jets}
    kinds = {"generic": generic, "whole": WHOLE, "small": SMALL, "large": LARGE, "zero": [0.0]}
    cases = {}
    if not wide:
        del kinds["small"], kinds["large"]
    for kind, values in kinds.items():
        values = [x for x in within(low, high, values) if x not in told]
        if values:
            cases[kind] = points(values)
    for kind, jets in special.items():
        cases[kind] = cases.get(kind, []) + [Case((np.asarray(x),), j) for x, j in jets.items()]
    return Row(function, each(reference), cases)


def uniform(shape, low=-2.0, high=2.0, seed=0):
    """Numbers that are all different, exact in float32."""
    random = np.random.default_rng([seed, *shape])
    count = int(np.prod(shape))
    spaced = low + (high - low) * (np.arange(count) + random.uniform(0.2, 0.8, count)) / max(
        count, 1
    )
    return np.round(random.permutation(spaced) * 1024).reshape(shape) / 1024


def arrays(
    function, reference, *shapes, domain=(-2.0, 2.0), count=2, per_sample=False, orders=4,
    dtypes=("float32", "float64"), **special
):  # fmt: skip
    """A row of a function of arrays, at random points and at `special` ones, {kind: [Case]}."""
    generic = [
        Case(tuple(uniform(shape, *domain, seed=5 * n + k) for k, shape in enumerate(shapes)))
        for n in range(count)
    ]
    special = {
        kind: [
            case if isinstance(case, Case) else Case(tuple(map(np.asarray, case))) for case in cases
        ]
        for kind, cases in special.items()
    }
    return Row(function, reference, {"generic": generic, **special}, per_sample, orders, dtypes)


def complex_of(pairs):
    """Complex numbers of mpmath from an array of pairs."""
    return np.frompyfunc(mp.mpc, 2, 1)(pairs[..., 0], pairs[..., 1])


def pairs_of(z):
    z = np.asarray(z, dtype=object)
    return np.stack([np.frompyfunc(part, 1, 1)(z) for part in (mp.re, mp.im)], axis=-1)


def exactly(array):
    """An array of mpmath's numbers."""
    return each(mp.mpf)(np.asarray(array, "float64").astype(object))


def matrix_of(function, shape):
    """A linear function of an array as one of mpmath's numbers, from plain values in float64."""

    @functools.cache
    def values():
        units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
        return exactly(
            np.concatenate([np.asarray(function(ops.convert_to_tensor(u[None]))) for u in units])
        )

    return lambda x: np.tensordot(x.ravel(), values(), 1)


def matrix(a):
    return mpmath.matrix(a.tolist())


def array(m):
    return np.array(m.tolist(), dtype=object)

"""Derivatives of an operation at a point in high precision: differences in mpmath.

At a point of arrays p the operation is followed along z = p + s v + t w + s t u, and summed with
weights. `TERMS` are the derivatives by (s, t) that are compared, of the orders 0 to 4.
"""

import itertools
import math

import mpmath
import numpy as np
from mpmath import mp
from operation_row import exactly

TERMS = ((), (0,), (0, 1), (0, 0, 1), (0, 0, 1, 1))  # of the package: 0 for s and 1 for t
STENCILS = {0: {0: 1}, 1: {-1: -0.5, 1: 0.5}, 2: {-1: 1, 0: -2, 1: 1}}
DIGITS, STEP = 160, 30  # of the numbers, and of the step that differences are taken with


MISSING = (None, mp.inf, mp.inf)


def numbers(shape, seed):
    """Of magnitude one, and exact in every precision."""
    random = np.random.default_rng([seed, *shape])
    return random.choice([-1, 1], shape) * random.integers(40, 90, shape) / 64


def weights(shape):
    return np.abs(numbers(shape, 3))


def directions(point):
    """The directions v and w, for each of the arrays of a point."""
    return [[numbers(np.shape(p), seed + 10 * n) for n, p in enumerate(point)] for seed in range(2)]


def bends(point, curved):
    """The same for u."""
    return [numbers(np.shape(p), 2 + 10 * n) * curved for n, p in enumerate(point)]


def derivatives(reference, point, u):
    """For each of `TERMS` (derivative, sum of the magnitudes of its summands, error of these).

    A derivative is `None` where there is no finite one.
    """
    sizes = [abs(float(p)) for array in point for p in np.ravel(array) if p]
    small, large = min(sizes, default=1.0), max(sizes, default=1.0)
    scale = min(1.0, small)
    digits = DIGITS + math.ceil(-6 * math.log10(scale) + 4 * abs(math.log10(large)))
    with mp.workdps(digits):
        moves = [[exactly(a) for a in arrays] for arrays in (*directions(point), u)]
        step, start = mp.mpf(scale) / 10**STEP, [exactly(p) for p in point]
        values = {}
        for s, t in itertools.product((-1, 0, 1), repeat=2):
            z = [
                p + s * step * v + t * step * w + s * t * step**2 * u
                for p, v, w, u in zip(start, *moves)
            ]
            values[s, t] = _value(reference, z)
        return [_combine(values, term, step) for term in TERMS]


def _value(reference, z):
    try:
        y = reference(*z)
    except (ZeroDivisionError, ValueError, OverflowError, mpmath.libmp.ComplexResult):
        return None
    parts = y if isinstance(y, (tuple, list)) else [y]
    parts = [np.asarray(part, dtype=object) for part in parts]
    return np.concatenate([np.ravel(part * weights(part.shape)) for part in parts])


def _combine(values, term, step):
    total, size = 0, 0
    for (n, f), (m, g) in itertools.product(
        STENCILS[term.count(0)].items(), STENCILS[term.count(1)].items()
    ):
        if values[n, m] is None:
            return MISSING
        total = total + f * g * values[n, m]
        size += sum(map(abs, values[n, m]), mp.mpf(0))
    total = np.asarray(total / step ** len(term))
    if not all(mp.isfinite(x) and not mp.im(x) for x in total):
        return MISSING
    error = size / step ** len(term) * mp.mpf(10) ** (5 - mp.dps)
    return mp.mpf(sum(map(mp.re, total))), mp.mpf(sum(map(abs, total))), error


def composed(jet, point, u):
    """The same from f, f', ... of a function of one number at the point."""
    v, w, u = (float(direction[0]) for direction in (*directions(point), u))
    weight = float(weights(()))
    f = [None if d is None else mp.mpf(d) for d in (*jet, 0, 0, 0, 0)[:5]]
    summands = [
        {0: 1},
        {1: v},
        {2: v * w, 1: u},
        {3: v * v * w, 2: 2 * v * u},
        {4: v * v * w * w, 3: 4 * v * w * u, 2: 2 * u * u},
    ]
    found = []
    for parts in summands:
        used = {n: factor for n, factor in parts.items() if factor}
        if any(f[n] is None for n in used):
            found.append(MISSING)
        else:
            terms = [f[n] * factor * weight for n, factor in used.items()]
            found.append((sum(terms, mp.mpf(0)), sum(map(abs, terms), mp.mpf(0)), mp.mpf(0)))
    return found

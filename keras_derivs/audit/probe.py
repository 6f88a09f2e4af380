"""The rows on which a model is tried: some stay as they are, while all others change."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

LOUD = 1e4  # factor on a row: shows a limit relative to the maximum of a batch
STEP = 0.03  # relative, for differences
UNKNOWN_LENGTH = 4
# What the first rows do. No shift, reversal or grouping of rows maps those that stay to themselves.
ROLES = ("loud", "stays", "stays", "moves", "stays", "changes", "stays", "moves")
# What values are drawn from: both signs, the domain of logarithms and roots, beyond one
MAGNITUDES = ((-1.0, 1.0), (0.1, 0.9), (1.1, 3.0))


@dataclass(frozen=True)
class Probe:
    """Flat inputs, and the same with all rows changed but those that stay."""

    inputs: list
    roles: np.ndarray  # of each row
    changed: Callable  # by roles, and the factor of rows that are loud
    fixed: bool  # the number of rows

    def rows(self, *roles):
        return np.flatnonzero(np.isin(self.roles, roles))

    @cached_property
    def mixed(self):
        return self.changed(self.roles, LOUD)

    @cached_property
    def quiet(self):
        """No row is loud."""
        return self.changed(self.roles, 1.0)

    @property
    def reversed(self):
        """The others stay."""
        roles = np.where(self.roles == "stays", "changes", "stays")
        return Probe(self.inputs, roles, self.changed, self.fixed)


def probe(specs, wrt, num_rows, magnitude, whole=1, rows_of=None):
    """A `Probe` of inputs of these shapes; `whole` is the number in integer inputs.

    What moves for a difference moves in the inputs `wrt` alone. Only the inputs `rows_of` have
    these rows; all by default.
    """
    random = np.random.default_rng(0)
    more = random.choice(ROLES[1:], max(0, num_rows - len(ROLES)))
    roles = np.array([*ROLES[:num_rows], *more])
    inputs = [_values(random, spec, num_rows, magnitude, whole) for spec in specs]
    given = [_tensor(x, spec) for x, spec in zip(inputs, specs)]

    @functools.cache
    def others():
        return [_values(random, spec, num_rows, magnitude, whole) for spec in specs]

    def changed(roles, loud):
        scales = np.where(roles == "loud", loud, 1.0)
        return [
            given[n]
            if rows_of is not None and n not in rows_of
            else _tensor(_mixed(x, other, roles, scales, STEP * (n in wrt)), spec)
            for n, (x, other, spec) in enumerate(zip(inputs, others(), specs))
        ]

    return Probe(given, roles, changed, any(spec.shape[0] is not None for spec in specs))


def _values(random, spec, num_rows, magnitude, whole):
    shape = [UNKNOWN_LENGTH if n is None else n for n in spec.shape]
    shape[0] = num_rows if spec.shape[0] is None else spec.shape[0]
    if not keras.backend.is_float_dtype(spec.dtype):
        return np.full(shape, whole)
    return random.uniform(*magnitude, shape)


def _mixed(x, other, roles, scales, step):
    if len(x) != len(roles) or not np.issubdtype(x.dtype, np.floating):
        return x  # constant beside the batch
    shape = (-1, *[1] * (x.ndim - 1))
    stays, moves = ((roles == role).reshape(shape) for role in ("stays", "moves"))
    small = x * (1 + step * np.sign(other))
    scales = scales.reshape(shape)
    large = np.where(scales > 1, scales * np.abs(other), other)  # a sum over rows is positive, too
    return np.where(stays, x, np.where(moves, small, large))


def _tensor(values, spec):
    return keras.ops.convert_to_tensor(values, dtype=spec.dtype)

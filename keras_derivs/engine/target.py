"""What is differentiated: one output of a model as a function of some of its inputs."""

import math
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_derivs.engine.terms import single_terms

ARGMAX = "argmax"  # the entry of an output that is the largest


@dataclass(frozen=True)
class Chosen:
    """One index for each row of the batch."""

    index: Any


@dataclass(frozen=True)
class Target:
    """A model at a point.

    `inputs` are the flat inputs of `model`, `masks` their masks, `structure` how the model
    takes them; `wrt` counts the inputs that are differentiated, `output` the flat outputs.
    """

    model: keras.layers.Layer
    structure: Any
    inputs: list
    wrt: tuple
    output: int = 0
    training: bool = False
    masks: tuple = ()
    alone: bool = False  # the batch must not be repeated: it is random, or its rows are coupled
    fold: Any = None  # where two leading axes are those of rows; see `Fold`
    cancels: bool = False  # it has kinks that may cancel each other; see `neighbours`
    entry: Any = None  # the one output that is asked for: `ARGMAX`, or its index for each row

    @property
    def xs(self):
        return [self.inputs[position] for position in self.wrt]

    @property
    def given_to_model(self):
        """The flat inputs as the model takes them."""
        return self.inputs if self.fold is None else self.fold.unfolded(self.inputs)

    def seen(self, y):
        """An output of the model as the engine takes it."""
        return y if self.fold is None else self.fold.output(y)

    def at(self, xs):
        """The same function at other values of the inputs that are differentiated."""
        inputs = list(self.inputs)
        for position, x in zip(self.wrt, xs):
            inputs[position] = x
        return self.given(inputs)

    def given(self, inputs):
        """The same function at other inputs."""
        return replace(self, inputs=inputs)

    @property
    def by_data(self):
        """Whether a tensor has the index of the one output that is asked for."""
        return self.entry is not None and not isinstance(self.entry, str)

    def index(self, y, row):
        """The index of the output that `row` stands for: an int, or one for each row of `y`."""
        if self.entry is None:
            return row
        return self.entry if self.by_data else ops.argmax(flatten(y), axis=-1)

    def rows(self, y, rows):
        """What `take` selects of the outputs for the `rows` of a request."""
        return rows if self.entry is None else Chosen(self.index(y, None))

    def repeat(self, times):
        """The same function on the whole batch, `times` times over."""
        batch = self.xs[0].shape[0] if self.fold is None else self.fold.batch[0]
        return replace(
            self,
            fold=self.fold and self.fold.repeat(times),
            inputs=[_repeat(x, times, batch) for x in self.inputs],
            masks=[_repeat(mask, times, batch) for mask in self.masks],
            entry=_repeat(self.entry, times, batch) if self.by_data else self.entry,
        )


def _repeat(x, times, batch):
    if x is None or (x.shape[0] == 1 and batch != 1):  # one row stands beside every sample
        return x
    tiled = ops.broadcast_to(x[None], (times, *ops.shape(x)))
    return ops.reshape(tiled, (-1, *ops.shape(x)[1:]))


@dataclass(frozen=True)
class Request:
    """Which derivatives, for an engine.

    `rows` are the flat indices of the outputs and `columns` pairs (number of x, flat indices)
    of the inputs that are asked for; `None` means all of them, and a `range` stands for an array
    until the request is `listed`. `terms` are tuples of (number of x, flat index), or `Sum`s of
    those, `vectors` what a product multiplies with. `directions` has a row for each direction and
    a column for each entry selected by `columns`; it takes their place in a sum of second
    derivatives, and `weights` are its coefficients. `num_samples` is the number of random vectors
    of projections.
    """

    kind: str
    rows: Any = None
    columns: Any = None
    terms: tuple = ()
    vectors: tuple = ()
    directions: Any = None
    weights: Any = None
    chunk_size: int | None = None
    num_samples: int | None = None
    shared: bool = False  # whether functions share the places: rows are then as many as those
    single: bool = False  # whether results need no axis for the rows where there is one

    def listed(self):
        """The same request, in which ranges of indices are arrays."""
        columns = self.columns and [(k, _listed(indices)) for k, indices in self.columns]
        return replace(self, rows=_listed(self.rows), columns=columns)

    @property
    def order(self):
        """The highest order of derivative that is asked for."""
        if self.kind == "partials":
            return max(map(len, single_terms(self.terms)), default=0)
        return 1 if self.kind in ("jacobian", "projections", "jvp", "vjp") else 2


def _listed(indices):
    return np.asarray(indices) if isinstance(indices, range) else indices


def lengths(x):
    """The shape of a tensor: numbers where they are known, at no cost, else tensors."""
    shape = tuple(x.shape)
    return shape if None not in shape else tuple(ops.shape(x))


def size(x):
    """Entries per sample: a number where the shape is known, else a tensor."""
    shape = lengths(x)[1:]
    return math.prod(shape) if None not in x.shape[1:] else ops.prod(ops.stack(shape))


def flatten(x):
    """`x` with all axes but the batch in one."""
    return ops.reshape(x, (-1, size(x)))


def side_by_side(x):
    """(samples, B, *shape) as (B, samples, entries)."""
    samples, batch, *shape = ops.shape(x)
    known = all(isinstance(n, int) for n in shape)
    entries = math.prod(shape) if known else ops.prod(ops.stack(shape))
    return ops.swapaxes(ops.reshape(x, (samples, batch, entries)), 0, 1)


def take(block, rows, axis=1):
    """The selected entries along an axis: all for `None`; one in each row of a `Chosen`."""
    if rows is None:
        return block
    if not isinstance(rows, Chosen):
        return ops.take(block, rows, axis=axis)
    index = ops.reshape(rows.index, (-1, *[1] * (len(block.shape) - 1)))
    return ops.take_along_axis(block, index, axis=axis)


def per_sample(x, shape):
    """`x` with this shape per sample; only known lengths are counted, so that no batch is empty."""
    if tuple(x.shape[1:]) == tuple(shape):
        return x
    known = all(isinstance(n, int) and n > 0 for n in shape)
    return ops.reshape(x, (-1 if known else lengths(x)[0], *shape))


def scatter(v, indices, entries):
    """The columns of `v` at their `indices` among as many `entries`, zero elsewhere.

    By a gather, so that no matrix of `entries` squared is made; repeated indices add up.
    """
    indices = np.asarray(indices)
    if np.array_equal(indices, np.arange(entries)):
        return v
    parts = [_gathered(v, indices, group, entries) for group in _without_repeats(indices)]
    return sum(parts[1:], start=parts[0])


def _gathered(v, indices, group, entries):
    source, there = np.zeros(entries, "int32"), np.zeros(entries, bool)
    source[indices[group]], there[indices[group]] = group, True
    return ops.where(there, ops.take(v, source, axis=-1), ops.zeros((), v.dtype))


def _without_repeats(indices):
    """Groups of positions in `indices`, in each of which no index is repeated."""
    order = np.argsort(indices, kind="stable")
    occurrence = np.arange(len(order)) - np.searchsorted(indices[order], indices[order])
    return [np.sort(order[occurrence == n]) for n in range(occurrence.max(initial=0) + 1)]

"""Plain calls of a model: many at once where it can take them, as a graph where it is slow."""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.verify.clock import Clock, OutOfTime

SLOW, VERY_SLOW = 0.05, 0.4  # seconds of a call that is worth a graph, of it or of derivatives
MOST_NUMBERS = 2_000_000  # in the inputs or outputs of one call
SAME = {"float64": 1e-9, "float32": 1e-4}


@dataclass(frozen=True)
class Plain:
    """One output of a model as a function of its flat inputs, which are like those of `sample`."""

    model: Any
    structure: Any
    sample: list
    output: int
    training: bool
    clock: Clock

    def __call__(self, inputs):
        """The output of a plain call, leaving the state of the model alone."""
        self.clock.check()
        call = self._compiled or self._eager
        return ops.convert_to_numpy(call(_tensors(inputs))).astype("float64")

    def _eager(self, inputs):
        given = keras.tree.pack_sequence_as(self.structure, inputs)
        with keras.StatelessScope():
            return keras.tree.flatten(self.model(given, training=self.training))[self.output]

    @cached_property
    def _timed(self):
        """(the seconds that a call takes eagerly, once all is loaded; its result)."""
        for _ in range(2):
            start = time.process_time()
            y = ops.convert_to_numpy(self._eager(_tensors(self.sample)))
            seconds = time.process_time() - start
            if seconds < SLOW:
                break
        return seconds, y

    @cached_property
    def _compiled(self):
        """The call as a graph, where it is slow and gives the same so; else `None`."""
        seconds, y = self._timed
        if seconds < SLOW:
            return None
        compiled = backend.compiled(self._eager)
        try:
            same = np.allclose(compiled(_tensors(self.sample)), y, 1e-6, 0, equal_nan=True)
        except Exception:  # code that needs numbers
            return None
        return compiled if same else None

    @cached_property
    def in_graphs(self):
        """Whether derivatives are found in graphs, too."""
        return self._timed[0] > VERY_SLOW and self._compiled is not None

    @cached_property
    def copies(self):
        """How many copies of the batch may stand in the batch axis of one call."""
        others = [_moved(x) for x in self.sample]
        try:
            y = self([np.concatenate(three) for three in zip(others, self.sample, others)])
        except OutOfTime:
            raise
        except Exception:  # a model for batches of one size
            return 1
        alone, count = self.value, len(self.value)
        if len(y) != 3 * count or not _close(y[count : 2 * count], alone, self.sample):
            return 1
        largest = max(x.size for x in [*self.sample, alone])
        return int(np.clip(MOST_NUMBERS // max(largest, 1), 1, 128))

    @cached_property
    def value(self):
        """The output at the sample."""
        return self(self.sample)

    def along(self, inputs, moves, places, keep=lambda y: y):
        """What `keep` leaves of the outputs at x + s moves for each s in `places`, stacked."""
        values, per_call = [], self.copies
        for start in range(0, len(places), per_call):
            part = np.asarray(places[start : start + per_call])
            if start:
                part = np.resize(part, per_call)  # a graph is traced for each new shape
            y = self(_shifted(inputs, moves, part))
            values.extend(keep(rows) for rows in np.split(y, len(part)))
        return np.stack(values[: len(places)])


def _shifted(inputs, moves, places):
    """A copy of the batch for each of `places`, moved by so much."""
    shifted = [np.concatenate([x] * len(places)) for x in inputs]
    for k, change in moves.items():
        steps = [s * np.broadcast_to(change, inputs[k].shape) for s in places]
        shifted[k] = (shifted[k] + np.concatenate(steps)).astype(inputs[k].dtype)
    return shifted


def _moved(x):
    if not np.issubdtype(x.dtype, np.floating):
        return x
    return (x + 0.1 * np.random.default_rng(0).normal(size=x.shape) * np.std(x)).astype(x.dtype)


def _close(found, expected, inputs):
    """Whether the numbers are the same but for rounding, each output by its own size."""
    floats = [x.dtype.name for x in inputs if x.dtype.name in SAME]
    bound = max(SAME[name] for name in floats or ["float32"])
    finite = np.isfinite(expected)
    largest = np.max(np.abs(expected), axis=0, initial=0, where=finite)
    off = np.abs(np.where(finite, found - expected, 0))
    return bool(np.all(off <= bound * largest))


def _tensors(inputs):
    return [ops.convert_to_tensor(x) for x in inputs]

"""A model along random directions: what the checks of a model work on."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.verify import differences
from keras_derivs.verify.clock import Clock
from keras_derivs.verify.plain import Plain

MOST_OUTPUTS = 6  # of a sample; more are mixed at random into as many
EPS = {"float64": np.finfo("float64").eps, "float32": 4 * float(np.finfo("float32").eps)}


@dataclass(frozen=True)
class Problem:
    """One output of a model at given inputs, which move along pairs of random directions.

    `inputs` are flat, `wrt` counts those that move, `output` the flat outputs. A pair is a dict
    number of input -> (batch, 2, *shape), of the size of the input.
    """

    model: Any
    structure: Any
    inputs: list
    wrt: tuple
    output: int = 0
    training: bool = False
    num_pairs: int = 2
    seed: int = 0
    clock: Clock = field(default_factory=Clock)
    directions: list | None = None  # the pairs, where they are given
    calls: Plain | None = None  # what `plain` is, where it is known
    among: np.ndarray | None = None  # flat outputs of a sample to look at; all by default
    zoom: np.ndarray | None = None  # by how much steps are shorter than the inputs, where they are

    @cached_property
    def pairs(self):
        random = np.random.default_rng(self.seed)
        return self.directions or [
            {k: move(random, self.inputs[k]) for k in self.wrt} for _ in range(self.num_pairs)
        ]

    @cached_property
    def plain(self):
        """Plain calls of the output."""
        return self.calls or Plain(
            self.model, self.structure, self.inputs, self.output, self.training, self.clock
        )

    def at(self, **changes):
        """The same function at other inputs, or in other directions."""
        return replace(self, calls=self.plain, **changes)

    def runner(self, layer):
        """A layer, as a graph where the model is very slow."""
        return backend.compiled(layer) if self.plain.in_graphs else layer

    @property
    def stacks(self):
        """Whether copies of the batch may stand in the batch axis of one call."""
        return self.plain.copies > 1

    def __call__(self, inputs):
        """The output, (batch, outputs), mixed into a few."""
        return self.mixed(self.plain(inputs))

    def mixed(self, y):
        y = y.reshape(len(y), -1)
        if self.mixture is None:
            return y
        return np.where(self.mixture.any(axis=1), y, 0) @ self.mixture

    @cached_property
    def mixture(self):
        """A matrix that mixes the outputs in like parts, whatever their sizes; `None` for a few."""
        size = self.value[0].size
        if size <= MOST_OUTPUTS:
            return None
        if self.among is not None and len(self.among) <= MOST_OUTPUTS:
            return np.eye(size)[:, self.among]
        probes = [self.value] + [self.plain(self.moved(self.pairs[0], s)) for s in PROBES]
        values = np.stack([y.reshape(len(y), -1) for y in probes])
        change = np.max(np.abs(values - values[0]), axis=(0, 1))
        change = np.maximum(change, 1e-6 * np.max(np.abs(values), axis=(0, 1)))
        parts = np.where(np.isfinite(change) & (change > 0), 1 / np.maximum(change, 1e-300), 0)
        random = np.random.default_rng(self.seed).normal(size=(size, MOST_OUTPUTS))
        mixture = random * parts[:, None] / size**0.5
        if self.among is not None:
            mixture[~np.isin(np.arange(size), self.among)] = 0
        return mixture

    @cached_property
    def value(self):
        return self.plain(self.inputs)

    def moved(self, pair, s):
        """The inputs, moved by s times the directions of a pair."""
        inputs = list(self.inputs)
        for k in self.wrt:
            step = np.tensordot(pair[k], s, axes=(1, 0))
            inputs[k] = (inputs[k] + step).astype(inputs[k].dtype)
        return inputs

    def along(self, moves, places, keep=lambda y: y):
        return self.plain.along(self.inputs, moves, places, keep)

    def truths(self, pair, direction, orders):
        """{order: Truth} along a direction of a pair's plane."""
        key = (id(pair), direction)
        if key not in self._lines:
            moves = {k: np.tensordot(pair[k], direction, axes=(1, 0)) for k in self.wrt}
            self._lines[key] = self.along(moves, differences.PLACES, self.mixed)
        return differences.truths(self._lines[key], orders, EPS[self.precision], self._magnitude)

    @cached_property
    def _magnitude(self):
        """The size of the outputs that are mixed."""
        if self.mixture is None:
            return 0.0
        y = np.abs(self.value.reshape(len(self.value), -1))
        return np.where(self.mixture.any(axis=1), y, 0) @ np.abs(self.mixture)

    @cached_property
    def _lines(self):
        return {}

    @cached_property
    def layers(self):
        """The derivative layers that checks have made."""
        return {}

    @cached_property
    def found(self):
        """The derivatives that checks have asked for."""
        return {}

    @cached_property
    def precision(self):
        """The dtype that the model computes in, whatever it was asked for."""
        if self.inputs[self.wrt[0]].dtype != "float64":
            return "float32"
        moves = {k: self.pairs[0][k][:, 0] for k in self.wrt}
        parts = []
        for start in (0.4, -0.3):
            values = self.along(moves, start + np.append(0, differences.FINE), self.mixed)
            with np.errstate(all="ignore"):
                part = differences.noise(values) / np.max(np.abs(values), axis=0)
            parts.append(np.median(part[np.isfinite(part)]) if np.isfinite(part).any() else 0)
        return "float64" if min(parts) < 1e-11 else "float32"

    @cached_property
    def line(self):
        return Line(self)

    def arguments(self, pair, s=(0.0, 0.0)):
        """What `line` is called on."""
        batch, dtype = len(self.inputs[0]), self.inputs[self.wrt[0]].dtype
        place = np.broadcast_to(np.asarray(s, dtype), (batch, 2))
        return [place, *self.inputs, *(pair[k] for k in self.wrt)]


PROBES = [(0.5, 0.0), (0.0, -0.5), (1e-2, 1e-2)]


class Line(keras.layers.Layer):
    """The problem's output as a function of the two numbers s by which its inputs move."""

    def __init__(self, problem):
        super().__init__(autocast=False, dtype=problem.inputs[problem.wrt[0]].dtype.name)
        self.problem, self.model = problem, problem.model

    def build(self, input_shape=None):
        self.built = True

    def call(self, tensors):
        problem, count = self.problem, len(self.problem.inputs)
        problem.clock.check()
        s, inputs, moves = tensors[0], list(tensors[1 : 1 + count]), tensors[1 + count :]
        for k, change in zip(problem.wrt, moves):
            shape = (-1, 2, *[1] * (len(inputs[k].shape) - 1))
            inputs[k] = inputs[k] + ops.sum(ops.reshape(s, shape) * change, axis=1)
        given = keras.tree.pack_sequence_as(problem.structure, inputs)
        y = keras.tree.flatten(self.model(given, training=problem.training))[problem.output]
        y = ops.reshape(y, (-1, problem.value[0].size))
        if problem.mixture is None:
            return y
        used = problem.mixture.any(axis=1)
        y = y if used.all() else ops.where(ops.convert_to_tensor(used), y, ops.zeros_like(y))
        return ops.matmul(y, ops.convert_to_tensor(problem.mixture, y.dtype))


def move(random, x):
    """Two random directions for each sample, (batch, 2, *shape), as large as the input varies."""
    return (random.normal(size=(len(x), 2, *x.shape[1:])) * scale(x)).astype(x.dtype)


def scale(x):
    """How much each entry of a sample varies, or how large it is: (*shape)."""
    size = np.sqrt(np.mean(np.square(x, dtype="float64"), axis=0))
    found = np.maximum(np.std(x, axis=0, dtype="float64"), 0.1 * size)
    overall = np.sqrt(np.mean(np.square(found))) or 1.0
    return np.where(found > 0, found, overall)


def by_row(x, values):
    """A value for each row of `x`, in a shape that multiplies it."""
    return values.reshape(-1, *[1] * (x.ndim - 1))

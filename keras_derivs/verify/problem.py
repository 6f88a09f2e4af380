"""A model along random directions: what the checks of a model work on."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_derivs.verify import differences

MOST_OUTPUTS = 6  # of a sample; more are mixed at random into as many


@dataclass(frozen=True)
class Problem:
    """One output of a model at given inputs, which move along pairs of random directions.

    `inputs` are flat, `wrt` counts those that move, `output` the flat outputs.
    """

    model: Any
    structure: Any
    inputs: list
    wrt: tuple
    output: int = 0
    training: bool = False
    num_pairs: int = 2
    seed: int = 0

    @cached_property
    def pairs(self):
        """For each pair, and each input that moves, (batch, 2, *shape) of the size of the input."""
        random = np.random.default_rng(self.seed)
        return [[_move(random, self.inputs[k]) for k in self.wrt] for _ in range(self.num_pairs)]

    def outputs(self, inputs):
        """The output of a plain call of the model, leaving its state alone."""
        given = keras.tree.pack_sequence_as(self.structure, inputs)
        with keras.StatelessScope():
            y = keras.tree.flatten(self.model(given, training=self.training))[self.output]
        return ops.convert_to_numpy(y).astype("float64")

    def __call__(self, inputs):
        """The output, (batch, outputs), mixed into a few."""
        y = self.outputs(inputs)
        return y.reshape(len(y), -1) @ self.mixture(y[0].size)

    def mixture(self, size):
        """A matrix that keeps all outputs apart, while they are few."""
        if size <= MOST_OUTPUTS:
            return np.eye(size)
        return np.random.default_rng(self.seed).normal(size=(size, MOST_OUTPUTS)) / size**0.5

    def moved(self, pair, s):
        """The inputs, moved by s times the directions of a pair."""
        inputs = list(self.inputs)
        for k, move in zip(self.wrt, pair):
            step = np.tensordot(move, s, axes=(1, 0))
            inputs[k] = inputs[k] + step.astype(inputs[k].dtype)
        return inputs

    def truth(self, pair, direction, order):
        """(values, errors, converged) of a derivative along `direction` of the pair's plane."""
        key = (id(pair), direction, order)
        if key not in self.known:
            at = np.asarray(direction, "float64")
            function = lambda s: self(self.moved(pair, s * at))  # noqa: E731
            self.known[key] = differences.derivative(function, order)
        return self.known[key]

    @cached_property
    def known(self):
        """What `truth` has found."""
        return {}

    @cached_property
    def precision(self):
        """The dtype that the model computes in, whatever it was asked for."""
        noise = differences.noise(lambda s: self(self.moved(self.pairs[0], np.array([s, s]))))
        size = np.max(np.abs(self(self.inputs)), initial=0)
        exact = self.inputs[self.wrt[0]].dtype == "float64" and np.max(noise) < 1e-11 * size
        return "float64" if exact else "float32"

    @cached_property
    def line(self):
        return Line(self)

    def arguments(self, pair, s=(0.0, 0.0)):
        """What `line` is called on."""
        batch, dtype = len(self.inputs[0]), self.inputs[self.wrt[0]].dtype
        place = np.broadcast_to(np.asarray(s, dtype), (batch, 2))
        return [place, *self.inputs, *pair]


class Line(keras.layers.Layer):
    """The problem's output as a function of the two numbers s by which its inputs move."""

    def __init__(self, problem):
        super().__init__(autocast=False, dtype=problem.inputs[problem.wrt[0]].dtype.name)
        self.problem, self.model = problem, problem.model

    def build(self, input_shape=None):
        self.built = True

    def call(self, tensors):
        problem, count = self.problem, len(self.problem.inputs)
        s, inputs, moves = tensors[0], list(tensors[1 : 1 + count]), tensors[1 + count :]
        for k, move in zip(problem.wrt, moves):
            shape = (-1, 2, *[1] * (len(inputs[k].shape) - 1))
            inputs[k] = inputs[k] + ops.sum(ops.reshape(s, shape) * move, axis=1)
        given = keras.tree.pack_sequence_as(problem.structure, inputs)
        y = keras.tree.flatten(self.model(given, training=problem.training))[problem.output]
        size = int(np.prod(y.shape[1:]))
        mixture = ops.convert_to_tensor(problem.mixture(size), y.dtype)
        return ops.matmul(ops.reshape(y, (-1, size)), mixture)


def _move(random, x):
    scale = np.std(x) if np.std(x) > 0 else max(1.0, float(np.max(np.abs(x), initial=0)))
    return (random.normal(size=(len(x), 2, *x.shape[1:])) * scale).astype(x.dtype)

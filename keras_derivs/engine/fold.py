"""Two leading axes of independent rows, (functions, places), which an engine sees as one."""

import math
from dataclasses import dataclass

from keras import ops

from keras_derivs.reloading import lasting


@lasting
@dataclass(frozen=True)
class Fold:
    """How tensors of a model stand to those of an engine.

    `batch` is (functions, places), numbers or tensors; `positions` counts the inputs that are
    differentiated. Where the places are `shared` by all functions, these inputs have the shape
    (places, …), and the engine sees places as rows, and functions as an axis of each output.
    """

    batch: tuple
    positions: tuple
    shared: bool = False

    def repeat(self, times):
        return Fold((times * self.batch[0], self.batch[1]), self.positions, self.shared)

    def folded(self, inputs):
        """The inputs of an engine, from those of the model."""
        return [rows(x) if self._folds(n) else x for n, x in enumerate(inputs)]

    def unfolded(self, inputs):
        """The inputs of the model, from those of an engine."""
        return [self.split_rows(x) if self._folds(n) else x for n, x in enumerate(inputs)]

    def output(self, y):
        """What an engine sees of an output of the model."""
        return ops.swapaxes(y, 0, 1) if self.shared else rows(y)

    def split_rows(self, x):
        """(functions places, …) as (functions, places, …)."""
        return ops.reshape(x, (*self.batch, *ops.shape(x)[1:]))

    def coefficient(self, c, x):
        """The coefficient of a polynomial with the value `x` as one of the model's input."""
        lead = ops.shape(c)[: len(c.shape) - len(x.shape)]
        each, shape = c.shape[len(lead)] != 1, ops.shape(x)[1:]
        if self.shared:
            return ops.broadcast_to(c, (*lead, *ops.shape(x)))
        if each or (isinstance(self.batch[1], int) and self.batch[1] == 1):
            return ops.reshape(c, (*lead, *(self.batch if each else (1, 1)), *shape))
        c = ops.reshape(c, (*lead, 1, 1, *shape))
        return ops.broadcast_to(c, (*lead, 1, self.batch[1], *shape))

    def output_coefficient(self, c, y):
        """The coefficient of an output of the model with the value `y`, for an engine."""
        lead = len(c.shape) - len(y.shape)
        if self.shared:
            return ops.swapaxes(c, lead, lead + 1)
        shape = ops.shape(c)
        return ops.reshape(c, (*shape[:lead], -1, *shape[lead + 2 :]))

    def _folds(self, n):
        return n in self.positions and not self.shared


def rows(x):
    """(functions, places, …) as (functions places, …)."""
    return ops.reshape(x, (-1, *ops.shape(x)[2:]))


def by_row(y, result, tail):
    """(places, functions …, *tail) as (functions places, …, *tail), the last as many axes."""
    places, functions = ops.shape(y)[0], ops.shape(y)[1]
    ends = ops.shape(result)[len(result.shape) - tail :] if tail else ()
    known = all(isinstance(n, int) for n in y.shape[2:])
    outputs = math.prod(y.shape[2:]) if known else ops.prod(ops.stack(ops.shape(y)[2:]))
    result = ops.reshape(result, (places, functions, outputs, *ends))
    return rows(ops.swapaxes(result, 0, 1))

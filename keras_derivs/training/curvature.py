"""The Gauss-Newton matrix of a compiled loss: how it bends with the weights.

It is Jᵀ H J: J is the Jacobian of the model's outputs by the weights, and H holds the second
derivative of the loss by each output. What a regulariser bends by each weight is added.
"""

import keras
import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.training.precision import losses_of

BYTES = 2**28  # of the Jacobian of a block of rows


class Curvature:
    """Called on a vector of weights; returns the matrix (weights, weights) in float64."""

    def __init__(self, objective):
        self.objective, self.model = objective, objective.model
        self.bends = backend.compiled(self._bends, *backend.MODES[:1])
        self.block = backend.compiled(self._block, *backend.MODES[:1])

    def __call__(self, weights):
        values = self.objective.values(weights)
        by_output, by_weight = self.bends(values, *self.objective.data)
        rows, columns = by_output.shape
        size = min(max(BYTES // (8 * columns * len(weights)), 1), rows)
        size = -(-rows // -(-rows // size))  # blocks of one size
        matrix = np.diag(np.concatenate([_array(z).reshape(-1) for z in by_weight]))
        for start in range(0, rows, size):
            x, bends = _rows((self.objective.data[0], by_output), slice(start, start + size))
            matrix += _array(self.block(values, x, bends))
        return matrix

    def _bends(self, values, x, y, sample_weight):
        """Second derivatives of the loss, none of them negative: (rows, columns), by each output
        alone, and by each weight, of regularisers."""
        structure = self._predicted(values, x)
        predicted = keras.tree.flatten(structure)
        differentiable = [k for k, z in enumerate(predicted) if _is_float(z)]

        def loss(xs):
            given = list(predicted)
            for k, z in zip(differentiable, xs):
                given[k] = z
            with self.objective.at(xs[len(differentiable) :]):
                self.model.reset_metrics()
                given = keras.tree.pack_sequence_as(structure, given)
                return [self.model.compute_loss(x, y, given, sample_weight)], None

        def slopes(xs):
            _, _, pull = backend.vjp(loss, xs)
            return [_numbers(pull(0), xs)], None

        xs = [*(predicted[k] for k in differentiable), *values]
        with backend.precise(), losses_of(self.model):
            _, _, pull = backend.vjp(slopes, xs)
            found = _numbers(pull(0, [ops.ones_like(z) for z in xs]), xs)
        found = [ops.where(ops.isfinite(z) & (z > 0), z, ops.zeros_like(z)) for z in found]
        count = len(differentiable)
        return _side_by_side(found[:count], values[0].dtype), found[count:]

    def _block(self, values, x, bends):
        """The part of some rows, by the bends (rows, columns) of their outputs."""

        def outputs(values, x):
            found = [z for z in keras.tree.flatten(self._predicted(values, x)) if _is_float(z)]
            return _side_by_side(found, values[0].dtype)

        with backend.precise():
            jacobians = backend.jacobians_of_rows(outputs, values, x, bends.shape[1])
            steep = jacobians * ops.expand_dims(ops.sqrt(bends), -1)
            steep = ops.reshape(steep, (-1, steep.shape[-1]))
            return ops.matmul(ops.transpose(steep), steep)

    def _predicted(self, values, x):
        with self.objective.at(values):
            return self.model(x, training=True)


def _rows(data, part):
    return keras.tree.map_structure(lambda z: z[part], data)


def _is_float(z):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(z.dtype))


def _numbers(gradients, xs):
    return [ops.zeros_like(x) if g is None else g for g, x in zip(gradients, xs)]


def _side_by_side(outputs, dtype):
    """All outputs as (rows, columns)."""
    parts = [ops.cast(ops.reshape(z, (z.shape[0], -1)), dtype) for z in outputs]
    return ops.concatenate(parts, axis=1)


def _array(z):
    return ops.convert_to_numpy(z).astype("float64")

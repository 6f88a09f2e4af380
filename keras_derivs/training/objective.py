"""The compiled loss of a model, on all data at once, as a function of one vector of weights."""

import keras
import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.training.precision import is_double, losses_of


class Objective:
    """Called on a vector of weights; returns the loss, its gradient, and the logs.

    The loss runs at the weights of a stateless scope, so that nothing in the model changes.
    """

    def __init__(self, model, x, y, sample_weight):
        self.model, self.variables = model, model.trainable_variables
        data = (x, y, sample_weight)
        self.data = keras.tree.map_structure(lambda z: z if z is None else _tensor(z), data)
        self.shapes = [tuple(variable.shape) for variable in self.variables]
        self.evaluate = self._evaluate if model.run_eagerly else self._compiled()

    @property
    def weights(self):
        parts = [ops.convert_to_numpy(variable).reshape(-1) for variable in self.variables]
        return np.concatenate(parts).astype("float64")

    @property
    def eps(self):
        """The rounding of the loss, relative to it."""
        return np.finfo("float64" if is_double(self.model) else "float32").eps

    def assign(self, weights):
        for variable, value in zip(self.variables, self._split(weights)):
            variable.assign(value)

    def values(self, weights):
        """A tensor for each variable."""
        return [
            ops.convert_to_tensor(value, dtype=variable.dtype)
            for variable, value in zip(self.variables, self._split(weights))
        ]

    def at(self, values):
        """The scope in which the weights have these values."""
        mapping = list(zip(self.variables, values))
        return keras.StatelessScope(state_mapping=mapping, collect_losses=True)

    def __call__(self, weights):
        gradients, logs = self.evaluate(self.values(weights), *self.data)
        flat = [ops.convert_to_numpy(gradient).reshape(-1) for gradient in gradients]
        logs = {name: float(ops.convert_to_numpy(value)) for name, value in logs.items()}
        return logs["loss"], np.concatenate(flat).astype("float64"), logs

    def _compiled(self):
        modes = backend.MODES[1:] if self.model.jit_compile and backend.MODES[1:] else backend.MODES
        return backend.compiled(self._evaluate, *modes[:1])

    def _evaluate(self, values, x, y, sample_weight):
        def losses(values):
            loss, logs = self._losses(values, x, y, sample_weight)
            return [loss], {**logs, "loss": loss}

        with backend.precise(), losses_of(self.model):
            _, logs, pull = backend.vjp(losses, values)
            gradients = pull(0)
        given = zip(values, gradients)
        return [ops.zeros_like(v) if g is None else g for v, g in given], logs

    def _losses(self, values, x, y, sample_weight):
        """The loss and the metrics at these weights; the model itself does not change."""
        with self.at(values):
            self.model.reset_metrics()
            predicted = self.model(x, training=True)
            loss = self.model.compute_loss(x, y, predicted, sample_weight)
            return loss, self.model.compute_metrics(x, y, predicted, sample_weight)

    def _split(self, weights):
        sizes = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        parts = np.split(weights, sizes)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes)]


def _tensor(z):
    return ops.convert_to_tensor(z)

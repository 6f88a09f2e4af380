"""One strategy of a derivative layer, run in one mode: alone, or in a training step."""

import keras
from keras import ops

from keras_derivs import backend


def with_strategy(layer, strategy):
    """The same layer of the same model, by another strategy."""
    config = {**layer.get_config(), "model": layer.model, "strategy": strategy}
    config.pop("tied", None)
    return type(layer).from_config(config)


class Call:
    """A layer, or a training step of it, as a function of weights and inputs."""

    def __init__(self, layer, mode, training):
        self.layer, self.weights = layer, layer.trainable_variables if training else []
        function = self._step if training else lambda weights, inputs: self.layer(inputs)
        self.function = function if mode is None else backend.compiled(function, mode)

    def __call__(self, inputs):
        """Run it to the end: the results arrive as numbers."""
        found = self.function([ops.convert_to_tensor(w) for w in self.weights], inputs)
        for tensor in keras.tree.flatten(found):
            ops.convert_to_numpy(tensor)

    def _step(self, weights, inputs):
        """The gradient of the mean square of all results, for each weight."""

        def loss(values):
            mapping = list(zip(self.weights, values))
            with keras.StatelessScope(state_mapping=mapping):
                results = keras.tree.flatten(self.layer(inputs))
            return [sum(ops.mean(ops.square(result)) for result in results)], None

        with backend.precise():
            (value,), _, pull = backend.vjp(loss, weights)
            return value, [g for g in pull(0) if g is not None]

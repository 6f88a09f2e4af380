import math

from keras import ops

from keras_derivs.engine.determinant import log_determinant
from keras_derivs.layers.base import DerivativeLayer, register
from keras_derivs.typing import Any, Layer, Which, Wrt


@register
class LogDeterminant(DerivativeLayer):
    """The logarithm of the volume that a model makes of a unit of volume around its input.

    `log |det dy/dx|` per sample, for an output of as many entries as the inputs `wrt` together: the
    term by which densities change, `log p(x) = log p(y) + log |det dy/dx|`. A pass for each of the
    entries.

    Where the Jacobian is singular the result is -inf and has no derivative. A training step with
    such a row fails: TensorFlow raises "Input is not invertible"; compiled by XLA, and on JAX, the
    gradients are not finite. Add `keras.callbacks.TerminateOnNaN` where that may happen.

    Args:
        model: A `keras.Model` or layer with as many outputs as inputs.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        **kwargs: As for `Jacobian`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, 1)`.

    Raises:
        ValueError: The Jacobian is not square.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> flow = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0)])
    >>> print(f"{kd.LogDeterminant(flow)(np.ones((1, 3)))[0, 0]:.4f}")
    2.0794
    """

    kind = "jacobian"
    of_all_inputs = True
    linear = False

    def __init__(self, model: Layer, wrt: Wrt = None, output: Which = None, **kwargs: Any) -> None:
        super().__init__(model, wrt, output, **kwargs)
        self.check()

    def shapes(self, rows, columns):
        sizes = [_size(rows), *map(_size, columns)]
        if None not in sizes and sizes[0] != sum(sizes[1:]):
            raise ValueError(
                f"'{self.name}' needs as many outputs as inputs, for a square Jacobian. Received: "
                f"an output of shape {(None, *rows)} and inputs of shape "
                f"{[(None, *shape) for shape in columns]}. Choose inputs with `wrt=`, or use "
                f"`Jacobian`."
            )
        return [(1,)]

    def select(self, plan, results):
        jacobian = ops.concatenate(results, axis=2) if results[1:] else results[0]
        return [log_determinant(jacobian)]


def _size(shape):
    """How many entries there are, or `None` where an axis is unknown."""
    return math.prod(shape) if all(isinstance(n, int) for n in shape) else None

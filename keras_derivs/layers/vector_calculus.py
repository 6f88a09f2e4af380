from keras import ops

from keras_derivs.layers.base import DerivativeLayer, register
from keras_derivs.layers.sampling import ProjectedLayer
from keras_derivs.typing import Any, Layer, Which, Wrt


@register
class Divergence(ProjectedLayer):
    """The divergence of a vector field.

    sum_i dy_i/dx_i per sample, in units of [y]/[x].

    With `num_samples=` n it is a random estimate for fields of many entries, at the cost of n
    passes instead of one for each entry: the mean of v·(J v) over vectors v of random signs;
    unbiased. Every row of the batch has vectors of its own, and every call draws new ones. The
    square of an estimate is not an unbiased estimate of the square.

    Args:
        model: A `keras.Model` or layer whose output has the shape of its input, or, for several
            inputs that are vectors, as many entries as they have together.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        num_samples: Estimate from as many random vectors; exact by default.
        seed: Seed of the random vectors.
        **kwargs: As for `Jacobian`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, 1)`.

    Raises:
        ValueError: The model has not as many outputs as inputs, or rows of the batch depend on
            each other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> field = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0)])
    >>> print(f"{kd.Divergence(field)(np.ones((1, 3)))[0, 0]:.1f}")
    6.0

    Reference:
        Hutchinson, "A stochastic estimator of the trace of the influence matrix" (1989); Song et
        al., "Sliced Score Matching" (2019).
    """

    def shapes(self, rows, columns):
        if [rows] != columns:
            _check_field(self, rows, columns, "d")
        return [(1,)]

    def select(self, plan, results):
        if self.num_samples is None:
            return [ops.trace(_joined(results), axis1=1, axis2=2)]
        *products, vectors = results
        return [ops.sum(_joined(products) * vectors, axis=(1, 2)) / self.num_samples]


@register
class Curl(DerivativeLayer):
    """The curl of a vector field in two or three dimensions.

    (dy_3/dx_2 - dy_2/dx_3, dy_1/dx_3 - dy_3/dx_1, dy_2/dx_1 - dy_1/dx_2) per sample, in two
    dimensions the last of these, in units of [y]/[x].

    Args:
        model: A `keras.Model` or layer with two outputs of two inputs, or three of three.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        **kwargs: As for `Jacobian`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, 3)`, in two dimensions `(batch, 1)`.

    Raises:
        ValueError: The model has not two or three outputs of as many inputs, or rows of the batch
            depend on each other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> x = keras.Input((2,))
    >>> turn = keras.Model(x, keras.ops.stack([-x[:, 1], x[:, 0]], axis=1))
    >>> print(f"{kd.Curl(turn)(np.ones((1, 2)))[0, 0]:.1f}")
    2.0
    """

    kind = "jacobian"
    of_all_inputs = True

    def __init__(self, model: Layer, wrt: Wrt = None, output: Which = None, **kwargs: Any) -> None:
        super().__init__(model, wrt, output, **kwargs)
        self.check()

    def shapes(self, rows, columns):
        num_inputs = _check_field(self, rows, columns, "2 or 3", allowed=(2, 3))
        return [(1,) if num_inputs == 2 else (3,)]

    def select(self, plan, results):
        jacobian = _joined(results)
        pairs = [(1, 0)] if jacobian.shape[2] == 2 else [(2, 1), (0, 2), (1, 0)]
        return [ops.stack([jacobian[:, i, j] - jacobian[:, j, i] for i, j in pairs], axis=-1)]


def _check_field(layer, rows, columns, sizes, allowed=None):
    """The number of inputs, which is that of the outputs."""
    num_inputs = sum(shape[0] if shape else 1 for shape in columns)
    flat = all(len(shape) < 2 for shape in columns)
    if not flat or rows != (num_inputs,) or num_inputs not in (allowed or (num_inputs,)):
        raise ValueError(
            f"'{layer.name}' needs a vector field: {sizes} outputs of as many inputs. Received: "
            f"an output of shape {(None, *rows)} and inputs of shape "
            f"{[(None, *shape) for shape in columns]}. Choose inputs with `wrt=`, or use "
            f"`Jacobian`."
        )
    return num_inputs


def _joined(results):
    """The blocks of several inputs side by side."""
    return ops.concatenate(results, axis=2) if results[1:] else results[0]

from keras_derivs.layers import arguments
from keras_derivs.layers.base import register
from keras_derivs.layers.one_entry import OneEntry
from keras_derivs.typing import Any, Component, Layer, Which, Wrt


class _OfSecondOrder(OneEntry):
    """Abstract: of every output, or of one entry."""

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        component: Component = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, component, **kwargs)
        self.check()

    def rows(self, shape):
        if self.component is None and not arguments.is_scalar(shape):
            return arguments.every_entry(shape), tuple(shape)
        return super().rows(shape)


@register
class Hessian(_OfSecondOrder):
    """The matrix of second derivatives of a model, sample by sample.

    H[b, j, k] = d2y[b]/dx[b, j]dx[b, k], in units of [y]/[x]^2; exact through layer, group and
    batch normalisation too.

    Args:
        model: A `keras.Model` or layer.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        component: The entry of a vector output to differentiate: an int, or a tuple with one
            int for each axis; `"argmax"`, the largest; or `"labels"`: the layer is called on
            `[x, labels]`, integers of shape `(batch,)` or `(batch, 1)`. The choice is a constant.
            A label out of range is an error, in a graph its derivative is NaN.
        strategy: `"taylor"` (one pass forward with polynomials; taken where every operation has a
            Taylor rule and it needs fewer passes), `"reverse"` (nested backward passes) or
            `"auto"` (default), the cheaper of them.
        **kwargs: As for `Gradient`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, *input shape, *input shape)` for a scalar output,
        `(batch, *output shape, *input shape, *input shape)` for a vector. For several inputs a
        list of lists (dict of dicts) of the blocks.

    Raises:
        ValueError: The output does not depend on the input, or rows of the batch depend on each
            other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> cube = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x * x * x)])
    >>> float(kd.Hessian(cube)(np.array([[2.0]]))[0, 0, 0])
    12.0
    """

    kind = "hessian"

    def shapes(self, rows, columns):
        return [[rows + first + second for second in columns] for first in columns]

    def pack(self, results, structure):
        count = round(len(results) ** 0.5)
        blocks = [results[n * count : (n + 1) * count] for n in range(count)]
        pack = super().pack
        return pack([pack(block, structure) for block in blocks], structure)


@register
class HessianDiagonal(_OfSecondOrder):
    """The second derivative of a model by each of its inputs, without the Hessian.

    d2y/dx_j^2 per sample, in units of [y]/[x]^2.

    Args:
        model: A `keras.Model` or layer.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        component: The entry of a vector output to differentiate: an int, or a tuple with one
            int for each axis; `"argmax"`, the largest; or `"labels"`: the layer is called on
            `[x, labels]`, integers of shape `(batch,)` or `(batch, 1)`. The choice is a constant.
            A label out of range is an error, in a graph its derivative is NaN.
        strategy: `"taylor"` (one pass forward with polynomials; taken where every operation has a
            Taylor rule and it needs fewer passes), `"reverse"` (nested backward passes) or
            `"auto"` (default), the cheaper of them.
        **kwargs: As for `Gradient`.

    Input shape:
        That of the model.

    Output shape:
        That of the input for a scalar output, `(batch, *output shape, *input shape)` for a
        vector; for several inputs a list or dict of those.

    Raises:
        ValueError: The output does not depend on the input, or rows of the batch depend on each
            other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "tanh")])
    >>> tuple(kd.HessianDiagonal(model)(np.ones((8, 4))).shape)
    (8, 4)
    """

    kind = "hessian_diagonal"

from keras_derivs.layers.base import register
from keras_derivs.layers.one_entry import OneEntry
from keras_derivs.layers.vectors import Cotangent, Product, Tangent
from keras_derivs.typing import Any, Component, Layer, Which, Wrt


class _OfEveryOutput(Product):
    """Abstract: of every output."""

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        vectors: Any = None,
        coupled: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, vectors, coupled, **kwargs)
        self.check()


@register
class JVP(_OfEveryOutput, Tangent):
    """The Jacobian-vector product: the derivative of the output along a direction of the input.

    (J v)[b, i] = sum_j dy[b, i]/dx[b, j] v[b, j], in units of [y]/[x] [v], without the Jacobian.

    Args:
        model: A `keras.Model` or layer.
        wrt: Name or position of the input that `v` stands beside, or a list of those. Every
            input by default.
        output: Name or position of the output, for a model with several.
        vectors: A constant vector (or a list, one for each of `wrt`), the same for every row.
        coupled: Accept a model whose rows depend on each other: the product is with the
            derivative of the whole batch, of every row along all of v.
        strategy: `"taylor"` (one pass forward; taken where every operation has a rule),
            `"forward"` (two backward passes) or `"auto"` (default).
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor (or a list) of the shape of the inputs `wrt`,
        or of one sample of them, for every row. With `vectors=`, the model's inputs alone.

    Output shape:
        That of the output.

    Raises:
        ValueError: v does not have the shape of x, or rows of the batch depend on each other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    >>> tuple(kd.JVP(model)([np.ones((8, 5)), np.ones((8, 5))]).shape)
    (8, 3)
    """

    kind = "jvp"
    of_all_inputs = True

    def shapes(self, rows, columns):
        return [rows]


@register
class VJP(_OfEveryOutput, Cotangent):
    """The vector-Jacobian product: the gradient of a weighted sum of the outputs.

    (v J)[b, j] = sum_i v[b, i] dy[b, i]/dx[b, j], in units of [v] [y]/[x], without the Jacobian.

    Args:
        model: A `keras.Model` or layer.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        vectors: A constant vector (or a list, one for each of `wrt`), the same for every row.
        coupled: Accept a model whose rows depend on each other: the product is with the
            derivative of the whole batch, that of the weighted sum over all rows.
        strategy: `"reverse"`, one backward pass, which `"auto"` takes.
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor of the shape of the output, or of one sample of
        it, for every row. With `vectors=`, the model's inputs alone.

    Output shape:
        That of the input; for several inputs a list or dict of those.

    Raises:
        ValueError: v does not have the shape of the output, or rows of the batch depend on each
            other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    >>> tuple(kd.VJP(model)([np.ones((8, 5)), np.ones((8, 3))]).shape)
    (8, 5)
    """

    kind = "vjp"

    def beside(self, plan):
        return "the output", [(tuple(plan.y.shape[1:]), plan.y.dtype)]

    def with_products(self, plan, target, vectors):
        return tuple(vectors)

    def shapes(self, rows, columns):
        return list(columns)


@register
class HVP(OneEntry, Cotangent, Tangent):
    """The Hessian-vector product of a scalar output, without the Hessian.

    (H v)[b, j] = sum_k d2y[b]/dx[b, j]dx[b, k] v[b, k], in units of [y]/[x]^2 [v].

    Args:
        model: A `keras.Model` or layer whose output is one number per sample.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        component: The entry of a vector output to differentiate, as for `Gradient`; with
            `"labels"` the layer is called on `[x, v, labels]`.
        vectors: A constant vector (or a list, one for each of `wrt`), the same for every row.
        coupled: Accept a model whose rows depend on each other: the product is with the
            derivative of the whole batch, the second one of the sum of y over all rows.
        strategy: `"reverse"`, two nested backward passes, which `"auto"` takes.
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor (or a list) of the shape of the inputs `wrt`,
        or of one sample of them, for every row. With `vectors=`, the model's inputs alone.

    Output shape:
        That of the input; for several inputs a list or dict of those.

    Raises:
        ValueError: The output is not scalar, or v does not have the shape of x, or rows of the
            batch depend on each other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, "tanh")])
    >>> tuple(kd.HVP(model)([np.ones((8, 5)), np.ones((8, 5))]).shape)
    (8, 5)
    """

    kind = "hvp"

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        component: Component = None,
        vectors: Any = None,
        coupled: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, component, vectors=vectors, coupled=coupled, **kwargs)
        self.check()

    def shapes(self, rows, columns):
        return list(columns)

from keras_derivs.layers import arguments
from keras_derivs.layers.base import register
from keras_derivs.layers.one_entry import OneEntry
from keras_derivs.typing import Any, Component, Layer, Which, Wrt


@register
class Gradient(OneEntry):
    """The gradient of a scalar output of a model, beside or instead of its value.

    dy/dx per sample, in units of [y]/[x].

    Args:
        model: A `keras.Model` or layer whose output is one number per sample.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        component: The entry of a vector output to differentiate: an int, or a tuple with one
            int for each axis; `"argmax"`, the largest; or `"labels"`: the layer is called on
            `[x, labels]`, integers of shape `(batch,)` or `(batch, 1)`. The choice is a constant.
            A label out of range is an error, in a graph its derivative is NaN.
        strategy: `"reverse"`, one backward pass, which `"auto"` takes; `"forward"` or
            `"taylor"`, a pass for each entry of the input, where that is asked for.
        chunk_size: How many derivatives to compute at once. All by default.
        return_value: Return `(y, derivative)`, both from one pass.
        training: `False` (default): the derivative of the model in inference, which changes
            nothing in the model. `True`: in training mode; value and derivative share one draw
            of dropout and noise, and statistics are updated once. `None`: the mode of each call.
        coupled: Accept a model whose rows depend on each other, such as one with batch
            statistics, and return the derivative of the sum of y over the batch by each row.
        audit: Try the model on random rows at construction. Without that it is not checked that
            rows are independent, or that no part of the derivative is lost.
        batch_dims: 2 for a model of (batch, places, d), whose output (batch, places, …) at a place
            depends on the input there alone: the result has (batch, places) for (batch). An input
            of shape (places, d) is shared by all rows of the batch.
        **kwargs: `name`, `dtype` and the like, for `keras.layers.Layer`.

    Input shape:
        That of the model.

    Output shape:
        That of the input; for several inputs a list or dict of gradients, like `wrt` or the
        inputs.

    Raises:
        ValueError: The output is not scalar, or does not depend on the input, or rows of the
            batch depend on each other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> square = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x * x)])
    >>> slope = kd.Gradient(square)
    >>> print(f"{slope(np.array([[3.0]]))[0, 0]:.1f}")
    6.0
    """

    kind = "jacobian"
    single = True

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        component: Component = None,
        coupled: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, component, **kwargs)
        self.coupled = arguments.check_flag(coupled, "coupled")
        self.check()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "coupled": self.coupled}

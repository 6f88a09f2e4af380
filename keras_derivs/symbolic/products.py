"""Products of derivatives with vectors, between symbolic tensors of a Keras graph."""

from keras_derivs.layers.products import HVP, JVP, VJP
from keras_derivs.symbolic.derive import product
from keras_derivs.typing import Any, Component, Tensor


def jvp(y: Tensor, x: Tensor, v: Tensor, **options: Any) -> Tensor:
    """dy/dx v, the derivative of `y` along `v`; in units of [y][v]/[x].

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        v: A symbolic tensor of the shape of `x`, or numbers of the shape of one sample, the
            same for every row. A list of those where `x` is a list.
        strategy: `"taylor"` (one pass forward; taken where every operation has a rule),
            `"forward"` (two backward passes) or `"auto"`.
        **options: `return_value`, `training`, `coupled`, `batch_dims`, `audit` and `name`,
            as for the layer.

    Returns:
        A symbolic tensor of the shape of `y`.

    Raises:
        ValueError: `v` is not of the shape of `x`, or `y` does not depend on `x`, or rows
            of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(2, "tanh")(x)
    >>> kd.jvp(y, x, np.array([1.0, 0.0, 0.0])).shape
    (None, 2)
    """
    return product(JVP, y, x, v, **options)


def vjp(y: Tensor, x: Tensor, v: Tensor, **options: Any) -> Tensor:
    """v dy/dx, without the Jacobian; in units of [v][y]/[x].

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        v: A symbolic tensor of the shape of `y`, or numbers of the shape of one sample, the
            same for every row.
        strategy: `"reverse"`, one backward pass, which `"auto"` takes.
        **options: `return_value`, `training`, `coupled`, `batch_dims`, `audit` and `name`,
            as for the layer.

    Returns:
        A symbolic tensor of the shape of `x`. A list of those where `x` is a list.

    Raises:
        ValueError: `v` is not of the shape of `y`, or `y` does not depend on `x`, or rows
            of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(2, "tanh")(x)
    >>> kd.vjp(y, x, np.array([1.0, -1.0])).shape
    (None, 3)
    """
    return product(VJP, y, x, v, **options)


def hvp(y: Tensor, x: Tensor, v: Tensor, component: Component = None, **options: Any) -> Tensor:
    """d2y/dx2 v, without the Hessian; in units of [y][v]/[x]^2.

    Args:
        y: A symbolic tensor with one number per sample, computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        v: A symbolic tensor of the shape of `x`, or numbers of the shape of one sample, the
            same for every row. A list of those where `x` is a list.
        component: The entry of a vector `y` to differentiate: an int, or a tuple of those;
            `"argmax"`, the largest; or an integer tensor of shape `(batch,)` or
            `(batch, 1)` with the entry of each row. A constant: the choice itself is not
            differentiated.
        strategy: `"reverse"`, two nested backward passes, which `"auto"` takes.
        **options: `return_value`, `training`, `coupled`, `batch_dims`, `audit` and `name`,
            as for the layer.

    Returns:
        A symbolic tensor of the shape of `x`. A list of those where `x` is a list.

    Raises:
        ValueError: `v` is not of the shape of `x`, or `y` does not depend on `x`, or is not
            scalar, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(x))
    >>> kd.hvp(y, x, np.array([1.0, 0.0, 0.0])).shape
    (None, 3)
    """
    return product(HVP, y, x, v, component=component, **options)

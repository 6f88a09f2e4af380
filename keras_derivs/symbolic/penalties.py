"""Numbers made of the Jacobian between two symbolic tensors of a Keras graph."""

from keras_derivs.layers.determinant import LogDeterminant
from keras_derivs.layers.penalties import GradientPenalty, JacobianPenalty
from keras_derivs.symbolic.derive import derive
from keras_derivs.typing import Any, Component, Tensor


def gradient_penalty(
    y: Tensor, x: Tensor, target: float = 0.0, component: Component = None, **options: Any
) -> Tensor:
    """`(|dy/dx| - target)^2` of a scalar `y`, in units of ([y]/[x])^2.

    The penalty of critics and of smooth networks.

    Args:
        y: A symbolic tensor computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor. For a list the norm is over
            all of them.
        target: The length that the gradient should have, in units of [y]/[x]: 0, the default,
            for flat functions, 1 for the critic of a Wasserstein GAN.
        component: The entry of a vector `y` to differentiate: an int, or a tuple of those;
            `"argmax"`, the largest; or an integer tensor of shape `(batch,)` or
            `(batch, 1)` with the entry of each row. A constant: the choice itself is not
            differentiated.
        strategy: `"reverse"`, one backward pass, which `"auto"` takes; `"forward"` or
            `"taylor"`, a pass for each entry of `x`, where that is asked for.
        **options: `return_value`, `training`, `coupled`, `batch_dims`, `audit` and `name`,
            as for the layer.

    Returns:
        A symbolic tensor of shape `(batch, 1)`, whose own gradient is finite where dy/dx is
        zero.

    Raises:
        ValueError: `y` does not depend on `x`, or is not scalar, or rows of the batch
            depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(x))
    >>> kd.gradient_penalty(y, x, target=1.0).shape
    (None, 1)
    """
    return derive(GradientPenalty, y, x, target=target, component=component, **options)


def jacobian_penalty(
    y: Tensor, x: Tensor, num_samples: int | None = None, **options: Any
) -> Tensor:
    """sum_ij (dy_i/dx_j)^2, the squared norm of the Jacobian, in units of ([y]/[x])^2.

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor. For a list the sum is over all
            of them.
        num_samples: Estimate it by so many random projections, drawn anew at each call;
            unbiased. Exact by default.
        strategy: `"reverse"` (a backward pass for each entry of `y`; taken where `y` has
            few entries), `"forward"` (a pass for each entry of `x`), `"taylor"` (one pass
            forward with polynomials, for few entries of `x`), `"tape"` (the better of the
            first two) or `"auto"`, the cheapest of them.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of shape `(batch, 1)`.

    Raises:
        ValueError: `y` does not depend on `x`, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(2, "tanh")(x)
    >>> kd.jacobian_penalty(y, x).shape
    (None, 1)
    """
    return derive(JacobianPenalty, y, x, num_samples=num_samples, **options)


def log_determinant(y: Tensor, x: Tensor, **options: Any) -> Tensor:
    """`log |det dy/dx|`, by which a map changes volumes; without a unit where y has that of x.

    Args:
        y: A symbolic tensor of as many entries as `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        strategy: `"reverse"` (a backward pass for each entry of `y`; taken where `y` has
            few entries), `"forward"` (a pass for each entry of `x`), `"taylor"` (one pass
            forward with polynomials, for few entries of `x`), `"tape"` (the better of the
            first two) or `"auto"`, the cheapest of them.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of shape `(batch, 1)`; minus infinity where the Jacobian is
        singular.

    Raises:
        ValueError: `y` and `x` have different numbers of entries, or `y` does not depend on
            `x`, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = x + keras.layers.Dense(3, "tanh")(x)
    >>> kd.log_determinant(y, x).shape
    (None, 1)
    """
    return derive(LogDeterminant, y, x, **options)

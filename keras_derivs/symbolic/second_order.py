"""Second derivatives between two symbolic tensors of a Keras graph."""

from keras_derivs.layers.hessian import Hessian, HessianDiagonal
from keras_derivs.layers.laplacian import Laplacian, as_lists
from keras_derivs.symbolic.derive import derive
from keras_derivs.typing import Any, ArrayLike, Component, Tensor


def hessian(y: Tensor, x: Tensor, component: Component = None, **options: Any) -> Tensor:
    """d2y/dx2, in units of [y]/[x]^2.

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        component: The entry of a vector `y` to differentiate: an int, or a tuple of those;
            `"argmax"`, the largest; or an integer tensor of shape `(batch,)` or
            `(batch, 1)` with the entry of each row. A constant: the choice itself is not
            differentiated.
        strategy: `"taylor"` (one pass forward with polynomials; taken where every operation
            has a Taylor rule and it needs fewer passes), `"reverse"` (nested backward
            passes) or `"auto"`, the cheaper of them.
        chunk_size: How many derivatives to compute at once; all by default. Bounds the
            memory of the tapes.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of shape `(batch, *x, *x)` for a scalar `y`, else
        `(batch, *y, *x, *x)`. For a list `[q, v]` the blocks
        `[[H_qq, H_qv], [H_vq, H_vv]]`, as of a Lagrangian.

    Raises:
        ValueError: `y` does not depend on `x`, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(x))
    >>> kd.hessian(y, x).shape
    (None, 3, 3)
    """
    return derive(Hessian, y, x, component=component, **options)


def hessian_diagonal(y: Tensor, x: Tensor, component: Component = None, **options: Any) -> Tensor:
    """d2y/dx_j2 for every entry x_j, without the Hessian; in units of [y]/[x]^2.

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        component: The entry of a vector `y` to differentiate: an int, or a tuple of those;
            `"argmax"`, the largest; or an integer tensor of shape `(batch,)` or
            `(batch, 1)` with the entry of each row. A constant: the choice itself is not
            differentiated.
        strategy: `"taylor"` (one pass forward with polynomials; taken where every operation
            has a Taylor rule and it needs fewer passes), `"reverse"` (nested backward
            passes) or `"auto"`, the cheaper of them.
        chunk_size: How many derivatives to compute at once; all by default. Bounds the
            memory of the tapes.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of the shape of `x` for a scalar `y`, else `(batch, *y, *x)`. A
        list of those where `x` is a list.

    Raises:
        ValueError: `y` does not depend on `x`, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(x))
    >>> kd.hessian_diagonal(y, x).shape
    (None, 3)
    """
    return derive(HessianDiagonal, y, x, component=component, **options)


def laplacian(
    y: Tensor,
    x: Tensor,
    coefficients: ArrayLike | None = None,
    directions: ArrayLike | None = None,
    **options: Any,
) -> Tensor:
    """sum_j d2y/dx_j2, without the Hessian; in units of [y]/[x]^2.

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor. For a list the sum is over all
            of them.
        coefficients: A factor for each entry of `x`, or for each direction. 1 by default.
        directions: Vectors v_k, each of the size of one sample of `x`, for the sum of
            second derivatives along them.
        num_samples: Estimate it from so many random samples, drawn anew at each call;
            unbiased. Exact by default.
        sampling: What is drawn: `"directions"` or `"coordinates"`.
        strategy: `"taylor"` (one pass forward with polynomials; taken where every operation
            has a Taylor rule and it needs fewer passes), `"reverse"` (nested backward
            passes) or `"auto"`, the cheaper of them.
        chunk_size: How many derivatives to compute at once; all by default. Bounds the
            memory of the tapes.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of y's own shape.

    Raises:
        ValueError: `y` does not depend on `x`, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(x))
    >>> kd.laplacian(y, x).shape
    (None, 1)
    """
    operator = {"coefficients": as_lists(coefficients), "directions": as_lists(directions)}
    return derive(Laplacian, y, x, **operator, **options)

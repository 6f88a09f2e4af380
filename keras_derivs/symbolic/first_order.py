"""First derivatives between two symbolic tensors of a Keras graph."""

from keras_derivs.layers.gradient import Gradient
from keras_derivs.layers.jacobian import Jacobian, SubJacobian
from keras_derivs.layers.vector_calculus import Curl, Divergence
from keras_derivs.symbolic.derive import derive
from keras_derivs.typing import Any, Component, Selection, Tensor


def gradient(y: Tensor, x: Tensor, component: Component = None, **options: Any) -> Tensor:
    """dy/dx of a scalar `y`, in units of [y]/[x].

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        component: The entry of a vector `y` to differentiate: an int, or a tuple of those;
            `"argmax"`, the largest; or an integer tensor of shape `(batch,)` or
            `(batch, 1)` with the entry of each row. A constant: the choice itself is not
            differentiated.
        strategy: `"reverse"`, one backward pass, which `"auto"` takes; `"forward"` or
            `"taylor"`, a pass for each entry of `x`, where that is asked for.
        **options: `return_value`, `training`, `coupled`, `batch_dims`, `audit` and `name`,
            as for the layer.

    Returns:
        A symbolic tensor of the shape of `x`. A list of those where `x` is a list.

    Raises:
        ValueError: `y` does not depend on `x`, or is not scalar, or rows of the batch
            depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(x))
    >>> kd.gradient(y, x).shape
    (None, 3)
    """
    return derive(Gradient, y, x, component=component, **options)


def jacobian(y: Tensor, x: Tensor, **options: Any) -> Tensor:
    """dy/dx, every entry of `y` by every entry of `x`, in units of [y]/[x].

    Args:
        y: A symbolic tensor that is computed from `x`, or a list or dict of those.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        strategy: `"reverse"` (a backward pass for each entry of `y`; taken where `y` has
            few entries), `"forward"` (a pass for each entry of `x`), `"taylor"` (one pass
            forward with polynomials, for few entries of `x`), `"tape"` (the better of the
            first two) or `"auto"`, the cheapest of them.
        chunk_size: How many derivatives to compute at once; all by default. Bounds the
            memory of the tapes.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of shape `(batch, *y, *x)`. A list of those where `x` is a list; a
        list, or dict, of results where `y` is one: with both, the blocks of all pairs.

    Raises:
        ValueError: `y` does not depend on `x`, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(2, "tanh")(x)
    >>> kd.jacobian(y, x).shape
    (None, 2, 3)
    """
    if not isinstance(y, (list, tuple, dict)):
        return derive(Jacobian, y, x, **options)
    if not y:
        raise ValueError(
            "`jacobian` needs at least one tensor y. Received: none. Give the tensor to "
            "differentiate, or a list of those."
        )
    names = y if isinstance(y, dict) else range(len(y))
    given = options.pop("name", None)
    found = [derive(Jacobian, y[n], x, name=given and f"{given}_{n}", **options) for n in names]
    return dict(zip(y, found)) if isinstance(y, dict) else found


def sub_jacobian(
    y: Tensor, x: Tensor, outputs: Selection = None, inputs: Selection = None, **options: Any
) -> Tensor:
    """A block dy[outputs]/dx[inputs] of the Jacobian, in units of [y]/[x]; no more is computed.

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        outputs: Entries of `y`: an int, a list, a range or a slice, or a tuple with one of
            those for each axis. All by default. An int drops its axis.
        inputs: Entries of `x`, likewise.
        strategy: `"reverse"` (a backward pass for each entry of `y`; taken where `y` has
            few entries), `"forward"` (a pass for each entry of `x`), `"taylor"` (one pass
            forward with polynomials, for few entries of `x`), `"tape"` (the better of the
            first two) or `"auto"`, the cheapest of them.
        chunk_size: How many derivatives to compute at once; all by default. Bounds the
            memory of the tapes.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of shape `(batch, *selected y, *selected x)`.

    Raises:
        ValueError: `y` does not depend on `x`, an index is out of range or repeated, or
            rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(2, "tanh")(x)
    >>> kd.sub_jacobian(y, x, outputs=1, inputs=[0, 2]).shape
    (None, 2)
    """
    return derive(SubJacobian, y, x, outputs=outputs, inputs=inputs, **options)


def divergence(y: Tensor, x: Tensor, **options: Any) -> Tensor:
    """sum_i dy_i/dx_i of a vector field, in units of [y]/[x].

    Args:
        y: A symbolic tensor of as many entries as `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        num_samples: Estimate it from so many random directions, drawn anew at each call;
            unbiased, for thousands of entries. Exact by default.
        strategy: `"reverse"` (a backward pass for each entry of `y`; taken where `y` has
            few entries), `"forward"` (a pass for each entry of `x`), `"taylor"` (one pass
            forward with polynomials, for few entries of `x`), `"tape"` (the better of the
            first two) or `"auto"`, the cheapest of them.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of shape `(batch, 1)`.

    Raises:
        ValueError: `y` and `x` have different numbers of entries, or `y` does not depend on
            `x`, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(3, "tanh")(x)
    >>> kd.divergence(y, x).shape
    (None, 1)
    """
    return derive(Divergence, y, x, **options)


def curl(y: Tensor, x: Tensor, **options: Any) -> Tensor:
    """The curl of a vector field in two or three dimensions, in units of [y]/[x].

    Args:
        y: A symbolic tensor of two or three entries, as many as `x`.
        x: A symbolic tensor, or a list of those. A slice of a tensor that `y` is computed
            from stands for the matching part of that tensor.
        strategy: `"reverse"` (a backward pass for each entry of `y`; taken where `y` has
            few entries), `"forward"` (a pass for each entry of `x`), `"taylor"` (one pass
            forward with polynomials, for few entries of `x`), `"tape"` (the better of the
            first two) or `"auto"`, the cheapest of them.
        **options: `return_value`, `training`, `batch_dims`, `audit` and `name`, as for the
            layer.

    Returns:
        A symbolic tensor of shape `(batch, 3)`, in two dimensions `(batch, 1)`.

    Raises:
        ValueError: `y` and `x` do not have two, or three, entries each, or `y` does not
            depend on `x`, or rows of the batch depend on each other.
        TypeError: `y` or `x` is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(3, "tanh")(x)
    >>> kd.curl(y, x).shape
    (None, 3)
    """
    return derive(Curl, y, x, **options)

"""Derivatives between two symbolic tensors of a Keras graph."""

import keras

from keras_derivs import graph
from keras_derivs.graph import private
from keras_derivs.layers import arguments
from keras_derivs.layers.determinant import LogDeterminant
from keras_derivs.layers.gradient import Gradient
from keras_derivs.layers.hessian import Hessian, HessianDiagonal
from keras_derivs.layers.jacobian import Jacobian, SubJacobian
from keras_derivs.layers.laplacian import Laplacian, as_lists
from keras_derivs.layers.one_entry import LABELS
from keras_derivs.layers.partials import Partials, check_names, named
from keras_derivs.layers.penalties import GradientPenalty, JacobianPenalty
from keras_derivs.layers.products import HVP, JVP, VJP
from keras_derivs.layers.vector_calculus import Curl, Divergence
from keras_derivs.symbolic.between import Between, check_symbolic, snake_case
from keras_derivs.symbolic.plain import is_plain
from keras_derivs.typing import Any, ArrayLike, Component, Selection, Tensor


def gradient(y: Tensor, x: Tensor, component: Component = None, **options: Any) -> Tensor:
    """dy/dx of a scalar `y`, of the shape of `x`: see `Gradient`.

    Args:
        y: A symbolic tensor that is computed from `x`.
        x: A symbolic tensor, or a list of those; a slice of a tensor that `y` is computed from
            stands for the matching part of that tensor.
        component: The entry of a vector `y` to differentiate: an int, or a tuple of those;
            `"argmax"`, the largest; or an integer tensor of shape `(batch,)` or `(batch, 1)` with
            the entry of each row. A constant: the choice itself is not differentiated.
        **options: `strategy`, `chunk_size`, `return_value`, `training`, `batch_dims` and `name`,
            as for the layer.

    Returns:
        A symbolic tensor, or a list of those where `x` is a list.

    Raises:
        ValueError: `y` does not depend on `x`, or is not scalar.
        TypeError: `y` or `x` is not a symbolic tensor.
    """
    return _derive(Gradient, y, x, component=component, **options)


def jacobian(y: Tensor, x: Tensor, **options: Any) -> Tensor:
    """dy/dx, of shape `(batch, *y, *x)`: see `Jacobian`. Arguments as for `gradient`.

    Of a list, or dict, of tensors `y` a list, or dict, with that of each: with a list of `x`, the
    blocks of all pairs.
    """
    if not isinstance(y, (list, tuple, dict)):
        return _derive(Jacobian, y, x, **options)
    if not y:
        raise ValueError(
            "`jacobian` needs at least one tensor y. Received: none. Give the tensor to "
            "differentiate, or a list of those."
        )
    names = y if isinstance(y, dict) else range(len(y))
    given = options.pop("name", None)
    found = [_derive(Jacobian, y[n], x, name=given and f"{given}_{n}", **options) for n in names]
    return dict(zip(y, found)) if isinstance(y, dict) else found


def sub_jacobian(
    y: Tensor, x: Tensor, outputs: Selection = None, inputs: Selection = None, **options: Any
) -> Tensor:
    """The block dy[outputs]/dx[inputs]: see `SubJacobian`. Arguments as for `gradient`."""
    return _derive(SubJacobian, y, x, outputs=outputs, inputs=inputs, **options)


def hessian(y: Tensor, x: Tensor, component: Component = None, **options: Any) -> Tensor:
    """d2y/dx2, of shape `(batch, *x, *x)`: see `Hessian`. Arguments as for `gradient`.

    For a list `[q, v]` the blocks `[[H_qq, H_qv], [H_vq, H_vv]]`, as of a Lagrangian.
    """
    return _derive(Hessian, y, x, component=component, **options)


def hessian_diagonal(y: Tensor, x: Tensor, component: Component = None, **options: Any) -> Tensor:
    """d2y/dx_j2, of the shape of `x`: see `HessianDiagonal`. Arguments as for `gradient`."""
    return _derive(HessianDiagonal, y, x, component=component, **options)


def laplacian(
    y: Tensor,
    x: Tensor,
    coefficients: ArrayLike | None = None,
    directions: ArrayLike | None = None,
    **options: Any,
) -> Tensor:
    """sum_j d2y/dx_j2, of y's own shape: see `Laplacian`, also for coefficients and directions.

    Arguments as for `gradient`; for a list `x` the sum over all of them.
    """
    operator = {"coefficients": as_lists(coefficients), "directions": as_lists(directions)}
    return _derive(Laplacian, y, x, **operator, **options)


def divergence(y: Tensor, x: Tensor, **options: Any) -> Tensor:
    """sum_i dy_i/dx_i, of shape `(batch, 1)`: see `Divergence`, also for random estimates.

    Arguments as for `gradient`.
    """
    return _derive(Divergence, y, x, **options)


def curl(y: Tensor, x: Tensor, **options: Any) -> Tensor:
    """The curl of `y` in two or three dimensions: see `Curl`. Arguments as for `gradient`."""
    return _derive(Curl, y, x, **options)


def gradient_penalty(
    y: Tensor, x: Tensor, target: float = 0.0, component: Component = None, **options: Any
) -> Tensor:
    """`(|dy/dx| - target)^2` of a scalar `y`, of shape `(batch, 1)`: see `GradientPenalty`.

    Arguments as for `gradient`; for a list `x` the norm over all of them.
    """
    return _derive(GradientPenalty, y, x, target=target, component=component, **options)


def jacobian_penalty(
    y: Tensor, x: Tensor, num_samples: int | None = None, **options: Any
) -> Tensor:
    """sum_ij (dy_i/dx_j)^2, of shape `(batch, 1)`: see `JacobianPenalty`.

    Arguments as for `gradient`; for a list `x` the sum over all of them.
    """
    return _derive(JacobianPenalty, y, x, num_samples=num_samples, **options)


def log_determinant(y: Tensor, x: Tensor, **options: Any) -> Tensor:
    """`log |det dy/dx|`, of shape `(batch, 1)`: see `LogDeterminant`.

    Arguments as for `gradient`.
    """
    return _derive(LogDeterminant, y, x, **options)


def jvp(y: Tensor, x: Tensor, v: Tensor, **options: Any) -> Tensor:
    """dy/dx v, of the shape of `y`: see `JVP`.

    `v` has the shape of `x`; numbers, of the shape of one sample, stand for every row.
    """
    return _product(JVP, y, x, v, **options)


def vjp(y: Tensor, x: Tensor, v: Tensor, **options: Any) -> Tensor:
    """v dy/dx, of the shape of `x`: see `VJP`.

    `v` has the shape of `y`; numbers, of the shape of one sample, stand for every row.
    """
    return _product(VJP, y, x, v, **options)


def hvp(y: Tensor, x: Tensor, v: Tensor, component: Component = None, **options: Any) -> Tensor:
    """d2y/dx2 v, of the shape of `x`: see `HVP`. `v` as for `jvp`."""
    return _product(HVP, y, x, v, component=component, **options)


def partials(y: Tensor, *terms: Any, **options: Any) -> Tensor:
    """Partial derivatives of `y`, each of y's own shape, all from one shared pass.

    Args:
        y: A symbolic tensor.
        *terms: A tuple of scalar coordinates for each derivative: `(t,)`, `(x, x)`; `()` is `y`
            itself. A coordinate is a symbolic tensor with one number per sample. Or one dict of
            those by name, `{"u_t": (t,), "u_xx": (x, x)}`.
        **options: `strategy`, `chunk_size`, `training`, `batch_dims` and `name`, as for
            `Partials`.

    Returns:
        A list with one symbolic tensor for each term; for a dict of terms a dict, and outputs of
        a model that are made so have these names. Without names of their own, derivatives of a
        tensor `u` by inputs `t`, `x`, called so by `name=`, are `u_t`, `u_xx`.

    Raises:
        ValueError: `y` does not depend on a coordinate, or a coordinate is not scalar.
        TypeError: A term is not a tuple of symbolic tensors.
    """
    if len(terms) == 1 and isinstance(terms[0], dict):
        return _named_partials(y, check_names(terms[0]), options)
    _check_terms(terms, y, options)
    names = [graph.speaking_name(y, term) if term else None for term in terms]
    if len(terms) == 1 and names[0] and "name" not in options:
        options["name"], names = graph.free(names[0], y, sideways=True), [None]
    return [
        graph.named(tensor, graph.free(name, tensor, sideways=True)) if name else tensor
        for tensor, name in zip(_partials(y, terms, options), names)
    ]


def _named_partials(y, terms, options):
    _check_terms(terms.values(), y, options)
    results = dict(zip(terms, _partials(y, list(terms.values()), options)))
    own = {name: y for name in terms if not terms[name] and _is_itself(y, name, results[name])}
    others = named({name: results[name] for name in terms if name not in own})
    return {name: own.get(name, others.get(name)) for name in terms}


def _is_itself(y, name, value):
    """Whether the name is that of `y` already, and its value by `Partials` never another one."""
    if private.source_of(y).operation.name != name:
        return False
    return value is y or is_plain(y, private.source_of(value).operation.derivative.model)


def _partials(y, terms, options):
    coordinates = list({id(x): x for term in terms for x in term}.values())
    if not coordinates:
        return [y for _ in terms]
    count = {id(x): number for number, x in enumerate(coordinates)}
    numbers = [[count[id(x)] for x in term] for term in terms]
    return _derive(Partials, y, coordinates, terms=numbers, **options)


def diff(y: Tensor, *coordinates: Tensor, **options: Any) -> Tensor:
    """One partial derivative of `y`, of y's own shape: `diff(u, x, x)` is u_xx.

    Arguments as for `partials`, which computes several at less cost.
    """
    if not coordinates:
        raise ValueError(
            "`diff` needs at least one coordinate. Received: none. Write diff(u, x) for u_x."
        )
    return partials(y, tuple(coordinates), **options)[0]


def _check_terms(terms, y, options):
    for term in terms:
        if not isinstance(term, tuple):
            raise TypeError(
                f"`partials` needs a tuple of coordinates for each term. Received: {term!r}. "
                f"Write partials(u, (t,), (x, x))."
            )
        for x in term:
            check_symbolic(x, "partials")
            if any(n != 1 for n in graph.shape_of_coordinate(x, y, options.get("batch_dims", 1))):
                raise ValueError(
                    f"A coordinate needs to be one number per sample. Received: "
                    f"{graph.describe(x)}. Take a slice of it, such as x[:, 0:1], give "
                    f"`batch_dims=2` where its second axis is one of rows, too, or use "
                    f"`gradient` or `jacobian`."
                )


def _product(layer, y, x, v, **options):
    """With symbolic vectors, or with constant ones."""
    if any(map(keras.backend.is_keras_tensor, keras.tree.flatten(v))):
        return _derive(layer, y, x, v, **options)
    vectors = arguments.vectors_config(arguments.check_vectors(v))
    return _derive(layer, y, x, vectors=vectors, **options)


def _derive(layer, y, x, v=(), name=None, **options):
    """Put a derivative layer between `y` and `x` into their graph."""
    wrt = list(x) if isinstance(x, (list, tuple)) else [x]
    if not wrt:
        raise ValueError(
            f"`{snake_case(layer)}` needs at least one tensor x. Received: an empty list. Give the "
            f"tensor to differentiate with respect to."
        )
    vectors = list(v) if isinstance(v, (list, tuple)) else [v]
    labels = [options["component"]] if hasattr(options.get("component"), "dtype") else []
    options = {**options, "component": LABELS} if labels else options
    function = snake_case(layer)
    for tensor in (y, *wrt, *vectors, *labels):
        check_symbolic(tensor, function)
    between = Between(
        layer.__name__,
        options,
        len(wrt),
        len(vectors),
        listed=isinstance(x, (list, tuple)),
        name=name or f"{function}_{keras.backend.get_uid(function)}",
    )
    return between([y, *wrt, *between.cut(y, wrt), *vectors, *labels])

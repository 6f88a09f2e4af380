import itertools
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from keras_derivs.engine.target import flatten, scatter, size
from keras_derivs.layers import arguments, folding
from keras_derivs.layers.base import DerivativeLayer, register
from keras_derivs.layers.one_entry import OneEntry
from keras_derivs.reloading import lasting
from keras_derivs.typing import Any, Component, Layer, Tensor, Which, Wrt


@lasting
class Product(DerivativeLayer):
    """Abstract: a derivative times a vector, called on `[x, v]`, or on x with `vectors=`.

    A subclass says what the vectors stand beside (`beside`) and how they enter the request
    (`with_products`).
    """

    def __init__(self, model, wrt=None, output=None, vectors=None, coupled=False, **kwargs):
        super().__init__(model, wrt, output, **kwargs)
        self.coupled = arguments.check_flag(coupled, "coupled")
        self.vectors = None if vectors is None else arguments.check_vectors(vectors)

    def check(self):
        super().check()
        if self.plan is not None and self.vectors is not None:
            self._pairs(self.plan, [])

    def compute_output_spec(
        self, inputs: Tensor, mask: Tensor = None, training: bool | None = None
    ) -> Tensor:
        spec = super().compute_output_spec(inputs, mask, training)
        inputs, vectors, _ = self.split(inputs)
        self._pairs(self._plan_for(inputs, bool(self.training)), vectors)
        return spec

    def rows(self, shape):
        return None, tuple(shape)  # a product does not tell them apart

    def split(self, inputs):
        if self.vectors is not None:
            return inputs, [], None
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
            raise ValueError(
                f"'{self.name}' needs to be called on [x, v], a point and a vector. Received: "
                f"{type(inputs).__name__} of {len(keras.tree.flatten(inputs))} tensors. Put the "
                f"model's inputs first and the vector second, or give `vectors=` at construction."
            )
        return inputs[0], keras.tree.flatten(inputs[1]), None

    def with_vectors(self, plan, target, vectors):
        batch = ops.shape(target.xs[0])[0]
        pairs = self._pairs(plan, vectors, target.xs[0].shape[0])
        tensors = [_for_every_row(v, shape, dtype, batch) for v, (shape, dtype) in pairs]
        return replace(plan.request, vectors=self.with_products(plan, target, tensors))

    def get_config(self) -> dict[str, Any]:
        vectors = arguments.vectors_config(self.vectors)
        return {**super().get_config(), "vectors": vectors, "coupled": self.coupled}

    def _pairs(self, plan, vectors, batch=None):
        """Each vector with the (shape per sample, dtype) of what it stands beside."""
        of, specs = self.beside(plan)
        if self.vectors is not None:
            vectors = [self.vectors] if len(specs) == 1 else list(self.vectors)
        ndims = itertools.chain((len(shape) for shape, _ in specs), itertools.repeat(0))
        vectors = [folding.vector(v, ndim, plan) for v, ndim in zip(vectors, ndims)]
        shapes, found = [shape for shape, _ in specs], [tuple(v.shape) for v in vectors]
        rows = [(batch, *shape) for shape in shapes]
        if len(found) != len(shapes) or not all(map(_fits, found, rows)):
            raise ValueError(
                f"'{self.name}' needs v of the shape of {of}, {rows}, or of one sample, {shapes}, "
                f"for every row. Received: {found}. Give v the shape of what it multiplies."
            )
        for v in vectors:
            arguments.check_real(v, self.name)
        return list(zip(vectors, specs))


def _fits(v, rows):
    """Whether a vector of shape `v` is one for each of the rows, or one for all."""
    given = (None, *v) if len(v) == len(rows) - 1 else (None, *v[1:]) if v[:1] == (1,) else v
    return len(given) == len(rows) and all(None in (m, n) or m == n for m, n in zip(given, rows))


def _for_every_row(v, shape, dtype, batch):
    """A vector as one for each row, in the dtype of what it stands beside."""
    v = ops.cast(ops.convert_to_tensor(v) if isinstance(v, np.ndarray) else v, dtype)
    if len(v.shape) > len(shape) and v.shape[0] != 1:
        return v
    return ops.broadcast_to(v, (batch, *ops.shape(v)[len(v.shape) - len(shape) :]))


class _Tangent(Product):
    """Abstract: v has the shape of x."""

    def beside(self, plan):
        dtypes = dict(zip(plan.wrt, (x.dtype for x in plan.xs)))
        return "x", [(at.shape, dtypes[at.position]) for at in plan.coordinates]

    def with_products(self, plan, target, vectors):
        tangents = [0.0] * len(plan.wrt)
        for at, v in zip(plan.coordinates, vectors):
            k = plan.wrt.index(at.position)
            tangents[k] = tangents[k] + _embed(v, at, target.xs[k])
        return tuple(tangents)


class _Cotangent(Product):
    """Abstract: the result has the shape of x."""

    def select(self, plan, results):
        chosen = [(at, results[plan.wrt.index(at.position)]) for at in plan.coordinates]
        return [
            result if at.indices is None else ops.take(flatten(result), at.indices, axis=1)
            for at, result in chosen
        ]


def _embed(v, at, x):
    """A vector of the shape of a slice of `x` as one of the shape of `x`: zero elsewhere."""
    if at.indices is None:
        return v
    return ops.reshape(scatter(flatten(v), at.indices, size(x)), ops.shape(x))


@register
class JVP(_Tangent):
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
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor (or a list) of the shape of the inputs `wrt`,
        or of one sample of them, for every row. With `vectors=`, the model's inputs alone.

    Output shape:
        That of the output.

    Raises:
        ValueError: v does not have the shape of x.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    >>> tuple(kd.JVP(model)([np.ones((8, 5)), np.ones((8, 5))]).shape)
    (8, 3)
    """

    kind = "jvp"

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

    def shapes(self, rows, columns):
        return [rows]

    def pack(self, results, structure):
        return results[0]


@register
class VJP(_Cotangent):
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
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor of the shape of the output, or of one sample of
        it, for every row. With `vectors=`, the model's inputs alone.

    Output shape:
        That of the input; for several inputs a list or dict of those.

    Raises:
        ValueError: v does not have the shape of the output.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    >>> tuple(kd.VJP(model)([np.ones((8, 5)), np.ones((8, 3))]).shape)
    (8, 5)
    """

    kind = "vjp"

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

    def beside(self, plan):
        return "the output", [(tuple(plan.y.shape[1:]), plan.y.dtype)]

    def with_products(self, plan, target, vectors):
        return tuple(vectors)

    def shapes(self, rows, columns):
        return list(columns)


@register
class HVP(OneEntry, _Cotangent, _Tangent):
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
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor (or a list) of the shape of the inputs `wrt`,
        or of one sample of them, for every row. With `vectors=`, the model's inputs alone.

    Output shape:
        That of the input; for several inputs a list or dict of those.

    Raises:
        ValueError: The output is not scalar, or v does not have the shape of x.

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

"""What layers share that multiply by vectors: which vectors fit, and where they go."""

import itertools
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from keras_derivs.engine.target import flatten, scatter, size
from keras_derivs.layers import arguments, calls, folding
from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.reloading import lasting
from keras_derivs.typing import Any, Tensor


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
            calls.check_real(v, self.name)
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


class Tangent(Product):
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


class Cotangent(Product):
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

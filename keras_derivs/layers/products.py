from dataclasses import replace

import keras
import numpy as np
from keras import ops

from keras_derivs.engine.target import flatten
from keras_derivs.layers import arguments
from keras_derivs.layers.base import DerivativeLayer, register


class Product(DerivativeLayer):
    """Abstract: a derivative times a vector, called on `[x, v]`."""

    def split(self, inputs):
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
            raise ValueError(
                f"'{self.name}' needs to be called on [x, v], a point and a vector. Received: "
                f"{type(inputs).__name__} of {len(keras.tree.flatten(inputs))} tensors. Put the "
                f"model's inputs first and the vector second."
            )
        return inputs[0], keras.tree.flatten(inputs[1])

    def check_vectors(self, vectors, shapes, of):
        """One vector for each tensor it stands beside, of the same shape and dtype."""
        found = [tuple(v.shape) for v in vectors]
        fits = len(found) == len(shapes) and all(
            len(v) == len(shape) and all(None in (m, n) or m == n for m, n in zip(v, shape))
            for v, shape in zip(found, shapes)
        )
        if not fits:
            raise ValueError(
                f"'{self.name}' needs v of the shape of {of}, {shapes}. Received: {found}. Give v "
                f"the shape of what it multiplies."
            )


class _Tangent(Product):
    """Abstract: v has the shape of x."""

    def with_vectors(self, plan, target, vectors):
        shapes = [(None, *at.shape) for at in plan.coordinates]
        self.check_vectors(vectors, shapes, "x")
        tangents = [0.0] * len(plan.wrt)
        for at, v in zip(plan.coordinates, vectors):
            k = plan.wrt.index(at.position)
            v = ops.cast(v, target.xs[k].dtype)
            tangents[k] = tangents[k] + _embed(v, at, target.xs[k])
        return replace(plan.request, vectors=tuple(tangents))


class _Cotangent(Product):
    """Abstract: the result has the shape of x."""

    def select(self, plan, results):
        chosen = [(at, results[plan.wrt.index(at.position)]) for at in plan.coordinates]
        return [
            result if at.indices is None else ops.take(flatten(result), at.indices, axis=1)
            for at, result in chosen
        ]


def _embed(v, at, x):
    """A vector of the shape of a slice of `x` as one of the shape of `x`."""
    if at.indices is None:
        return v
    places = np.zeros((len(at.indices), int(np.prod(x.shape[1:]))))
    places[np.arange(len(at.indices)), at.indices] = 1
    return ops.reshape(ops.matmul(flatten(v), ops.cast(places, v.dtype)), ops.shape(x))


@register
class JVP(_Tangent):
    """The Jacobian-vector product: the derivative of the output along a direction of the input.

    (J v)[b, i] = sum_j dy[b, i]/dx[b, j] v[b, j], in units of [y]/[x] [v], without the Jacobian.

    Args:
        model: A `keras.Model` or layer.
        wrt: Name or position of the input that `v` stands beside, or a list of those. Every
            input by default.
        output: Name or position of the output, for a model with several.
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor (or a list) of the shape of the inputs `wrt`.

    Output shape:
        That of the output.

    Raises:
        ValueError: v does not have the shape of x.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    >>> kd.JVP(model)([np.ones((8, 5)), np.ones((8, 5))]).shape
    TensorShape([8, 3])
    """

    kind = "jvp"

    def __init__(self, model, wrt=None, output=None, **kwargs):
        super().__init__(model, wrt, output, **kwargs)
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
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor of the shape of the output.

    Output shape:
        That of the input; for several inputs a list or dict of those.

    Raises:
        ValueError: v does not have the shape of the output.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    >>> kd.VJP(model)([np.ones((8, 5)), np.ones((8, 3))]).shape
    TensorShape([8, 5])
    """

    kind = "vjp"

    def __init__(self, model, wrt=None, output=None, **kwargs):
        super().__init__(model, wrt, output, **kwargs)
        self.check()

    def with_vectors(self, plan, target, vectors):
        self.check_vectors(vectors, [tuple(plan.y.shape)], "the output")
        return replace(plan.request, vectors=(ops.cast(vectors[0], plan.y.dtype),))

    def shapes(self, rows, columns):
        return list(columns)


@register
class HVP(_Cotangent, _Tangent):
    """The Hessian-vector product of a scalar output, without the Hessian.

    (H v)[b, j] = sum_k d2y[b]/dx[b, j]dx[b, k] v[b, k], in units of [y]/[x]^2 [v].

    Args:
        model: A `keras.Model` or layer whose output is one number per sample.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        component: The entry of a vector output to differentiate: an int, or a tuple with one
            int for each axis.
        **kwargs: As for `Gradient`.

    Input shape:
        `[x, v]`: the model's inputs, and a tensor (or a list) of the shape of the inputs `wrt`.

    Output shape:
        That of the input; for several inputs a list or dict of those.

    Raises:
        ValueError: The output is not scalar, or v does not have the shape of x.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, "tanh")])
    >>> kd.HVP(model)([np.ones((8, 5)), np.ones((8, 5))]).shape
    TensorShape([8, 5])
    """

    kind = "hvp"

    def __init__(self, model, wrt=None, output=None, component=None, **kwargs):
        super().__init__(model, wrt, output, **kwargs)
        self.component = arguments.check_component(component)
        self.check()

    def rows(self, shape):
        return arguments.single_row(shape, self.component, self)

    def shapes(self, rows, columns):
        return list(columns)

    def get_config(self):
        return {**super().get_config(), "component": self.component}

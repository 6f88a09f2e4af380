from dataclasses import replace

import keras
import numpy as np
from keras import ops

from keras_derivs import limits
from keras_derivs.layers import arguments
from keras_derivs.layers.base import register
from keras_derivs.layers.sampling import SampledLayer
from keras_derivs.layers.second_order_operator import operator
from keras_derivs.typing import Any, ArrayLike, Layer, Which, Wrt


@register
class Laplacian(SampledLayer):
    """The Laplacian of every output, or another second-order operator, without the Hessian.

    sum_j d2y/dx_j^2 per sample, in units of [y]/[x]^2. With `coefficients=` a vector w,
    sum_j w_j d2y/dx_j^2; with a matrix a, sum_jk a_jk d2y/dx_j dx_k; with `directions=` v,
    sum_k w_k d2y/dv_k^2, where d/dv is the derivative v·d/dx. Coefficients are constants.

    With `num_samples=` n it is a random estimate for inputs of thousands of dimensions, from the
    curvatures along n directions instead of all; unbiased. All samples of a batch share the
    directions; every call draws new ones. The square of an estimate is not an unbiased estimate
    of the square. Along directions of random signs its standard deviation is sqrt(2/n) times the
    root of the sum of the squared off-diagonal entries of the Hessian. Along n of the d
    coordinates (or of the given directions), drawn without replacement, it depends on the
    diagonal alone: d sqrt((1/n - 1/d) d/(d - 1)) times the standard deviation of its entries;
    better where the Hessian is nearly diagonal, or its diagonal nearly constant. Coefficients of
    both signs take n samples for each sign.

    Args:
        model: A `keras.Model` or layer.
        wrt: Name or position of the input to differentiate with respect to, or a list of those,
            summed over all. Every input by default.
        output: Name or position of the output, for a model with several.
        coefficients: A number for each entry of the inputs, `(d,)`; a matrix
            `(d, d)`, of which the symmetric part counts; or a number for each direction.
        directions: Vectors to differentiate along, `(directions, d)`.
        num_samples: Estimate from as many random directions; exact by default.
        sampling: `"directions"` of random signs, or `"coordinates"`, some of the entries of the
            inputs.
        seed: Seed of the random directions.
        strategy: `"taylor"` (one pass forward with polynomials; taken where every operation has a
            Taylor rule and it needs fewer passes), `"reverse"` (nested backward passes) or
            `"auto"` (default), the cheaper of them.
        **kwargs: As for `Gradient`.

    Input shape:
        That of the model.

    Output shape:
        That of the output.

    Raises:
        ValueError: The output does not depend on the input, or rows of the batch depend on each
            other, or coefficients or directions do not fit the inputs.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> norm = keras.layers.Lambda(lambda x: keras.ops.sum(x * x, axis=-1, keepdims=True))
    >>> model = keras.Sequential([keras.Input((3,)), norm])
    >>> float(kd.Laplacian(model)(np.ones((1, 3)))[0, 0])
    6.0
    >>> float(kd.Laplacian(model, coefficients=[1, 0, -3])(np.ones((1, 3)))[0, 0])
    -4.0

    Reference:
        Hutchinson, "A stochastic estimator of the trace of the influence matrix" (1989); Dangel
        et al., "Collapsing Taylor Mode Automatic Differentiation" (2025). Coordinates: Hu et al.,
        "Tackling the Curse of Dimensionality with Physics-Informed Neural Networks" (2023).
    """

    kind = "laplacian"
    drawn = "directions"

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        coefficients: ArrayLike | None = None,
        directions: ArrayLike | None = None,
        num_samples: int | None = None,
        seed: int | None = None,
        sampling: str = "directions",
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, num_samples, seed, **kwargs)
        self.operator = operator(coefficients, directions)
        self.coefficients, self.directions = as_lists(coefficients), as_lists(directions)
        self.sampling = arguments.check_option(sampling, "sampling", DRAWS)
        if num_samples is None and sampling != "directions":
            raise ValueError(
                f"`sampling=` needs a number of samples. Received: {sampling!r}, and no "
                f"`num_samples=`. Give both, or leave both out for the exact sum."
            )
        self.check()

    def shapes(self, rows, columns):
        return [rows]

    def with_directions(self, request, xs):
        if self.random is None and self.operator.num_inputs is None:
            return request
        request = replace(request, columns=_every_entry(request.columns, xs))
        num_inputs = self._count(request, xs)
        if self.random is not None:
            weights = self._weights(num_inputs)
            placeholder = np.broadcast_to(0.0, (len(weights), num_inputs))
            return replace(request, directions=placeholder, weights=weights)
        if self.operator.directions is not None:
            directions, weights = self.operator.directions, self.operator.weights
            return replace(request, directions=directions, weights=weights)
        return _weighted_entries(request, self.operator.weights)

    def with_vectors(self, plan, target, vectors):
        if self.random is None:
            return plan.request
        num_inputs, dtype = plan.request.directions.shape[1], plan.xs[0].dtype
        draw = DRAWS[self.sampling]
        drawn = [draw(self, factor, dtype) for factor in self._factors(num_inputs)]
        return replace(plan.request, directions=ops.concatenate(drawn, axis=0))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "coefficients": self.coefficients,
            "directions": self.directions,
            "sampling": self.sampling,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        return super().from_config(renamed(config))

    def _count(self, request, xs):
        counts = [None if columns is None else len(columns) for _, columns in request.columns]
        expected = self.operator.num_inputs
        if None in counts or expected not in (None, sum(counts)):
            raise ValueError(
                f"'{self.name}' needs coefficients and directions for as many entries as the "
                f"inputs have. Received: {expected} for inputs of shape "
                f"{[tuple(x.shape) for x in xs]}. Give one number for each entry, or choose inputs "
                f"with `wrt=`."
            )
        limits.check(sum(counts), limits.MAX_NUMBERS, self.name, "entries of the inputs")
        return sum(counts)

    def _factors(self, num_inputs):
        return [factor for factor in self.operator.factors(num_inputs) if factor.any()]

    def _weights(self, num_inputs):
        """One for each random direction: of the positive part of the operator, the negative."""
        parts = zip(self.operator.factors(num_inputs), (1.0, -1.0))
        counts = [(self._count_of(part), sign) for part, sign in parts if part.any()]
        return np.concatenate([np.full(count, sign / count) for count, sign in counts])

    def _count_of(self, factor):
        """How many directions are drawn: of coordinates, not more than there are."""
        there = np.count_nonzero(factor) if factor.ndim == 1 else len(factor)
        return min(self.num_samples, there) if self.sampling == "coordinates" else self.num_samples

    def _mixed(self, factor, dtype):
        """Random directions v with the mean of vv' equal to P'P: random signs times P."""
        signs = self.signs((self.num_samples,), len(factor), dtype)
        factor = ops.convert_to_tensor(factor, dtype)
        return signs * factor if factor.ndim == 1 else ops.matmul(signs, factor)

    def _chosen(self, factor, dtype):
        """As many of the rows of P, scaled so that the mean of vv' is P'P."""
        rows, count = np.flatnonzero(factor) if factor.ndim == 1 else None, self._count_of(factor)
        there = len(factor) if rows is None else len(rows)
        chosen = keras.random.shuffle(np.arange(there), seed=self.random)[:count]
        if rows is None:
            return ops.take(ops.convert_to_tensor(factor * there**0.5, dtype), chosen, axis=0)
        entries = ops.take(ops.convert_to_tensor(rows, "int32"), chosen)
        return ops.one_hot(entries, len(factor), dtype=dtype) * ops.convert_to_tensor(
            factor * there**0.5, dtype
        )


DRAWS = {"directions": Laplacian._mixed, "coordinates": Laplacian._chosen}


def _every_entry(columns, xs):
    every = [arguments.every_entry(x.shape[1:]) for x in xs]
    return [(k, all_ if given is None else given) for (k, given), all_ in zip(columns, every)]


def _weighted_entries(request, weights):
    """The request for the entries whose weight is not zero."""
    columns, start = [], 0
    for k, entries in request.columns:
        kept = weights[start : start + len(entries)] != 0
        start += len(entries)
        columns.append((k, np.asarray(entries)[kept]))
    columns = [(k, entries) for k, entries in columns if len(entries)]
    return replace(request, columns=columns, weights=weights[weights != 0])


def renamed(config):
    """The config of a Laplacian by today's names; `coefficients` was `weights` before."""
    config = dict(config)
    if "weights" in config:
        config["coefficients"] = config.pop("weights")
    return config


def as_lists(values):
    """Numbers as a config takes them; what is none is left for the layer to refuse."""
    try:
        return None if values is None else np.asarray(values).tolist()
    except (TypeError, ValueError, OverflowError):
        return values

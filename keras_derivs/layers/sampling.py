"""Layers that are exact, or estimates from random vectors."""

import math
from dataclasses import replace

import keras
from keras import ops

from keras_derivs import limits
from keras_derivs.engine.target import size
from keras_derivs.layers import arguments
from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.reloading import lasting
from keras_derivs.typing import Any, Layer, Which, Wrt

BITS = 30  # that are drawn at once


@lasting
class SampledLayer(DerivativeLayer):
    """Abstract: with `num_samples=` an unbiased estimate from random vectors, else exact.

    Every call draws new vectors, from the layer's own seed generator.
    """

    of_all_inputs = True
    drawn = "vectors"  # what `explain()` calls them

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        num_samples: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, **kwargs)
        self.num_samples = arguments.check_count(num_samples, "num_samples", limits.MAX_SAMPLES)
        self.seed = arguments.check_seed(seed)
        self.random = None if num_samples is None else arguments.generator(self.seed)

    def signs(self, lead, entries, dtype):
        """Independent random numbers 1 and -1, of shape (*lead, entries) (Hutchinson, 1989).

        Many from each integer: XLA takes a microsecond to draw one.
        """
        words = keras.random.randint((*lead, -(-entries // BITS)), 0, 2**BITS, seed=self.random)
        places = ops.arange(min(entries, BITS), dtype=words.dtype)
        bits = ops.bitwise_and(ops.right_shift(words[..., None], places), 1)
        bits = ops.reshape(bits, (*lead, -1))[..., :entries]
        return ops.cast(2 * bits - 1, dtype)

    def remarks(self):
        estimate = f"An estimate from {self.num_samples} random {self.drawn}"
        return [estimate] if self.num_samples else []

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_samples": self.num_samples, "seed": self.seed}


@lasting
class ProjectedLayer(SampledLayer):
    """Abstract: made of the Jacobian, or of its products with random vectors, one set a row.

    A product is taken from the side of the output by the tape, of the inputs by polynomials.
    """

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        num_samples: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, num_samples, seed, **kwargs)
        self.kind = "jacobian" if self.num_samples is None else "projections"
        self.check()

    def rows(self, shape):
        if self.num_samples is not None and not all(isinstance(n, int) for n in shape):
            raise ValueError(
                f"`num_samples=` needs an output whose axes are known. Received: shape "
                f"{(None, *shape)} from '{self.model.name}'. Give the unknown axis a length, or "
                f"leave `num_samples=` out."
            )
        return super().rows(shape)

    def with_directions(self, request, xs):
        return replace(request, num_samples=self.num_samples)

    def with_vectors(self, plan, target, vectors):
        if self.num_samples is None:
            return plan.request
        x, shape = target.xs[0], self._side(plan, target)
        lead = (self.num_samples, ops.shape(x)[0])
        vectors = self.signs(lead, math.prod(shape), x.dtype)
        return replace(plan.request, vectors=(ops.reshape(vectors, (*lead, *shape)),))

    def _side(self, plan, target):
        """The shape, for one sample, of what the vectors stand beside."""
        if plan.choice.strategy == "reverse":
            return plan.y.shape[1:]
        blocks = ((target.xs[k], entries) for k, entries in plan.request.columns)
        return (sum(size(x) if entries is None else len(entries) for x, entries in blocks),)

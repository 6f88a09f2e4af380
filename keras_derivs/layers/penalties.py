from keras import ops

from keras_derivs.layers import arguments
from keras_derivs.layers.base import register
from keras_derivs.layers.one_entry import OneEntry
from keras_derivs.layers.sampling import ProjectedLayer
from keras_derivs.typing import Any, Component, Layer, Which, Wrt

SMALLEST = 1e-37  # of a squared norm: below it, float32 has few digits left, or none


@register
class GradientPenalty(OneEntry):
    """How far the norm of the gradient of a scalar output is from a target, squared.

    `(|dy/dx| - target)^2` per sample, in units of ([y]/[x])^2, with the norm over all inputs `wrt`.
    Where the gradient is zero, the norm has no derivative; it is taken as zero there, so that the
    penalty and its gradient by the weights stay finite.

    Args:
        model: A `keras.Model` or layer whose output is one number per sample.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        target: The norm that costs nothing: 0, the default, for flat functions, 1 for the critic
            of a Wasserstein GAN.
        component: The entry of a vector output to differentiate, as for `Gradient`.
        coupled: Accept a model whose rows depend on each other, such as a critic with batch
            statistics: the gradient is that of the sum of y over the batch by each row.
        strategy: `"reverse"`, one backward pass, which `"auto"` takes; `"forward"` or
            `"taylor"`, a pass for each entry of the input, where that is asked for.
        **kwargs: As for `Gradient`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, 1)`.

    Raises:
        ValueError: The output is not scalar, or does not depend on the input, or rows of the
            batch depend on each other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> critic = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x * x)])
    >>> print(f"{kd.GradientPenalty(critic, target=1.0)(np.array([[2.0]]))[0, 0]:.1f}")
    9.0

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs" (2017).
    """

    kind = "jacobian"
    of_all_inputs = True
    linear = False

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        target: float = 0.0,
        component: Component = None,
        coupled: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, component, **kwargs)
        self.target = arguments.check_real_number(target, "target", least=0)
        self.coupled = arguments.check_flag(coupled, "coupled")
        self.check()

    def shapes(self, rows, columns):
        return [(1,)]

    def select(self, plan, results):
        squared = _sum_of_squares(results)
        return [ops.square(_root(squared) - self.target) if self.target else squared]

    def get_config(self) -> dict[str, Any]:
        own = {"target": self.target, "coupled": self.coupled}
        return {**super().get_config(), **own}


@register
class JacobianPenalty(ProjectedLayer):
    """The squared Frobenius norm of the Jacobian: the sum of its squared entries.

    sum_ij (dy_i/dx_j)^2 per sample, in units of ([y]/[x])^2.

    With `num_samples=` n it is a random estimate at the cost of n passes, for models of many
    outputs: the mean of `|vJ|^2` over vectors v of random signs; unbiased. Every row of the batch
    has vectors of its own, and every call draws new ones.

    Args:
        model: A `keras.Model` or layer.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several.
        num_samples: Estimate from as many random vectors; exact by default.
        seed: Seed of the random vectors.
        **kwargs: As for `Jacobian`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, 1)`.

    Raises:
        ValueError: The output does not depend on the input, or rows of the batch depend on each
            other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0)])
    >>> print(f"{kd.JacobianPenalty(model)(np.ones((1, 3)))[0, 0]:.1f}")
    12.0

    Reference:
        Hoffman, Roberts and Yaida, "Robust Learning with Jacobian Regularization" (2019).
    """

    linear = False

    def shapes(self, rows, columns):
        return [(1,)]

    def select(self, plan, results):
        if self.num_samples is None:
            return [_sum_of_squares(results)]
        *products, _ = results
        return [_sum_of_squares(products) / self.num_samples]


def _sum_of_squares(results):
    """Over all but the batch: (B,)."""
    squares = [ops.sum(ops.square(result), axis=(1, 2)) for result in results]
    return sum(squares[1:], start=squares[0])


def _root(squared):
    """The square root, with derivatives of zero where it is zero."""
    positive = squared > SMALLEST
    return ops.where(positive, ops.sqrt(ops.where(positive, squared, 1.0)), 0.0)

"""Full-batch training by damped Gauss-Newton steps (Levenberg and Marquardt)."""

import keras
import numpy as np

from keras_derivs.training.curvature import Curvature
from keras_derivs.training.run import NotFinite, Run
from keras_derivs.typing import Any, Model

BYTES = 2**29  # of the matrix of all pairs of weights, some of which are held at once
DAMPING = 1e-3  # at the start, of the largest entry of the diagonal


def gauss_newton(
    model: Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    max_steps: int = 100,
    *,
    callbacks: Any = None,
    verbose: int | str = "auto",
    tolerance: float | None = None,
) -> keras.callbacks.History:
    """Train a compiled model of some thousand weights by Gauss-Newton steps on all data at once.

    As `lbfgs`, with fewer and larger steps, that come further on losses of physics: each step
    solves (JᵀHJ + μ) s = -g with the Jacobian J of the outputs by the weights, the second
    derivatives H of the loss by each output, and its gradient g. μ is raised until the loss falls.
    Any loss may be compiled; mean squares suit it best. Losses that layers add in a call, and
    rows that depend on each other, count in the gradient alone, which makes steps shorter. The
    matrix takes 8 bytes for each pair of weights, and a step the time of as many gradients as
    outputs have columns, and of solving for all weights. It fits the samples closely: give
    several times as many numbers in `y` as there are weights.

    Args:
        model: A compiled `keras.Model` with at most 8,000 weights to train.
        x: Inputs, as for `fit`: arrays or tensors, or lists or dicts of those.
        y: Targets, as for `fit`.
        sample_weight: Weights of the samples, as for `fit`.
        max_steps: The largest number of steps.
        callbacks: Callbacks, as for `fit`; one may stop the training.
        verbose: 0 is silent, 1 (or `"auto"`) shows a progress bar, 2 a line at the end.
        tolerance: Stop at a step that reduces the loss by less than this part of it. The
            rounding error of the model's dtype by default.

    Returns:
        A `keras.callbacks.History` with the loss and the metrics after each step.

    Raises:
        ValueError: The model is not compiled, or has nothing to train or too many weights, or
            the loss is not finite at the start.
        TypeError: `model` is not a `keras.Model`, or the data are no arrays.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> x = np.random.default_rng(0).normal(size=(32, 2))
    >>> history = kd.gauss_newton(model, x, x @ [[1.0], [2.0]], verbose=0)
    >>> history.history["loss"][-1] < 1e-8
    True

    Reference:
        Nielsen, "Damping Parameter in Marquardt's Method" (1999); Schraudolph, "Fast Curvature
        Matrix-Vector Products for Second-Order Gradient Descent" (2002).
    """
    return GaussNewton(
        model, x, y, sample_weight, max_steps,
        callbacks=callbacks, verbose=verbose, tolerance=tolerance,
    ).run()  # fmt: skip


class GaussNewton(Run):
    """Damped steps, each of which reduces the loss."""

    name = "gauss_newton"

    def __init__(self, model, *args, **kwargs):
        super().__init__(model, *args, **kwargs)
        count = len(self.best[1])
        if 8 * count**2 > BYTES:
            raise ValueError(
                f"`gauss_newton` needs a model of at most {int((BYTES / 8) ** 0.5)} weights to "
                f"train, whose pairs fit into memory. Received: '{model.name}' with {count}. "
                f"Take a narrower network, or `lbfgs`."
            )
        self.curvature = Curvature(self.objective)

    def _steps(self):
        self.weights, self.damping = self.best[1], None
        self.loss, self.gradient = self._value(self.weights)
        while self.going_on:
            before = self.loss
            if not self._lower():
                return self._check_slope()
            self._step(self.weights)
            if before - self.loss <= self.tolerance * before:
                return

    def _lower(self):
        """Take the step of the least damping that reduces the loss; whether there is one."""
        matrix = self.curvature(self.weights)
        if not np.isfinite(matrix).all():
            self._warn(
                f"the derivatives of '{self.model.name}' by its weights are not finite. Look for "
                f"the cause with `verify`, or train by `lbfgs`.",
                stacklevel=6,
            )
            return False
        if self.damping is None:
            self.damping = DAMPING * np.max(np.diag(matrix)) or 1.0
        growth = 2
        while True:
            step = self._solve(matrix)
            if np.linalg.norm(step) <= self.objective.eps * np.linalg.norm(self.weights):
                return False
            gain = self._gain(step)
            if gain > 0:
                self.damping *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
                return True
            self.damping *= growth
            growth *= 2

    def _solve(self, matrix):
        damped = matrix + self.damping * np.eye(len(matrix))
        try:
            return np.linalg.solve(damped, -self.gradient)
        except np.linalg.LinAlgError:  # by rounding
            return np.linalg.lstsq(damped, -self.gradient, rcond=None)[0]

    def _gain(self, step):
        """By how much the loss falls, of what the matrix tells; the step is taken where it does."""
        expected = step @ (self.damping * step - self.gradient) / 2
        weights = self.weights + step
        try:
            loss, gradient = self._value(weights)
        except NotFinite:
            return -1.0
        gain = (self.loss - loss) / expected if expected > 0 else -1.0
        if gain > 0:
            self.weights, self.loss, self.gradient = weights, loss, gradient
        return gain

"""Full-batch second-order training by L-BFGS."""

import warnings

import keras
import numpy as np

from keras_derivs.training import arguments
from keras_derivs.training.objective import Objective
from keras_derivs.typing import Any, Model

# Steps that are kept: losses of physics need many (of Burgers' equation, 1,000 steps with 150 come
# as far as 4,000 with 50), but not more bytes than this.
STEPS_KEPT, BYTES = (10, 150), 2**29
LINE_SEARCH = 50  # evaluations of a line search


def lbfgs(
    model: Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    max_steps: int = 1000,
    *,
    callbacks: Any = None,
    verbose: int | str = "auto",
    tolerance: float | None = None,
) -> keras.callbacks.History:
    """Train a compiled model by L-BFGS on all data at once, as `fit` does by its optimizer.

    The loss is that of `compile`, with loss weights, sample weights, `add_loss` and
    regularisers, in the dtype of the model: build it in float64 to get below 1e-6. Every step is
    one epoch for callbacks, `History` and the progress bar. Calling it again goes on from the
    weights that are there. The model runs in training mode, with the same random numbers at every
    step; seeds and moving averages stay as they are. SciPy's L-BFGS-B does the steps.

    Args:
        model: A compiled `keras.Model`.
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
        ValueError: The model is not compiled, or has nothing to train, or the loss is not finite
            at the start.
        TypeError: `model` is not a `keras.Model`, or the data are no arrays.
        ImportError: SciPy is not installed.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> x = np.random.default_rng(0).normal(size=(32, 2))
    >>> history = kd.lbfgs(model, x, x @ [[1.0], [2.0]], verbose=0)
    >>> history.history["loss"][-1] < 1e-8
    True

    Reference:
        Byrd, Lu, Nocedal and Zhu, "A Limited Memory Algorithm for Bound Constrained
        Optimization" (1995).
    """
    optimize = arguments.scipy_optimize()
    arguments.check_model(model)
    arguments.check_data(x, y, sample_weight)
    arguments.check_steps(max_steps)
    tolerance = arguments.check_tolerance(tolerance)
    arguments.build(model, x, y, sample_weight)
    training = Training(model, Objective(model, x, y, sample_weight), max_steps, verbose)
    return training.run(optimize.minimize, callbacks, tolerance)


def steps_kept(num_weights):
    """Two vectors in float64 for each."""
    return int(np.clip(BYTES // (16 * max(num_weights, 1)), *STEPS_KEPT))


class NotFinite(Exception):
    """The loss or its gradient is not finite."""


class Training:
    """One run: the steps so far, and the best weights."""

    def __init__(self, model, objective, max_steps, verbose):
        self.model, self.objective, self.max_steps = model, objective, max_steps
        self.steps, self.known, self.best = 0, {}, (np.inf, objective.weights)
        verbose = 1 if verbose == "auto" else verbose
        self.bar = keras.utils.Progbar(max_steps, verbose=verbose, stateless_metrics=())

    def run(self, minimize, callbacks, tolerance):
        self.watched = bool(callbacks)  # by callbacks that may look at the model
        self.callbacks = keras.callbacks.CallbackList(
            callbacks, add_history=True, model=self.model, epochs=self.max_steps, steps=1, verbose=0
        )
        self.model.stop_training = False
        try:
            self._value(self.objective.weights)
        except NotFinite:
            raise ValueError(
                f"`lbfgs` needs a finite loss to start from. Received: '{self.model.name}' with "
                f"weights at which the loss or its gradient is not. Look at the data and at "
                f"`verify`, or train by `fit` first."
            ) from None
        self.callbacks.on_train_begin()
        self._steps(minimize, tolerance)
        self.objective.assign(self.best[1])
        self.callbacks.on_train_end(self.logs)
        return self.model.history

    def _steps(self, minimize, tolerance):
        """A line search that fails, in float32 by rounding, begins anew from where it was."""
        options = {
            "maxcor": steps_kept(len(self.best[1])), "maxls": LINE_SEARCH,
            "maxfun": np.inf, "gtol": 0.0,
            "ftol": self.objective.eps if tolerance is None else tolerance,
        }  # fmt: skip
        failed, before = True, -1
        while failed and before < self.steps < self.max_steps and not self.model.stop_training:
            before, options["maxiter"] = self.steps, self.max_steps - self.steps
            try:
                found = minimize(
                    self._value, self.best[1], jac=True, method="L-BFGS-B",
                    callback=self._step, options=options,
                )  # fmt: skip
            except NotFinite:
                self._warn()
                break
            failed = found.status == 2
        else:
            if self.steps < self.max_steps and not self.model.stop_training:
                self._check_slope()
        self.bar.update(self.steps, self._values(), finalize=True)

    def _value(self, weights):
        loss, gradient, logs = self.objective(weights)
        if not np.isfinite(loss) or not np.isfinite(gradient).all():
            raise NotFinite
        if loss < self.best[0]:
            self.best, self.logs = (loss, weights.copy()), logs
        self.known = {weights.tobytes(): logs}
        return loss, gradient

    def _step(self, intermediate_result):
        weights = intermediate_result.x
        self.callbacks.on_epoch_begin(self.steps)
        self.logs = self.known.get(weights.tobytes()) or self.objective(weights)[2]
        if self.watched:
            self.objective.assign(weights)
        self.callbacks.on_epoch_end(self.steps, self.logs)
        self.steps += 1
        self.bar.update(self.steps, self._values(), finalize=False)
        if self.model.stop_training:
            raise StopIteration

    def _values(self):
        return list(self.logs.items())

    def _check_slope(self):
        """Say where it ended because the gradient is not the slope of the loss."""
        weights, gradient = self.best[1], self.objective(self.best[1])[1]
        size = np.linalg.norm(gradient)
        if not size:
            return
        h = self.objective.eps ** (1 / 3) * max(np.linalg.norm(weights), 1)
        near, far = (self._slope(weights, step * gradient / size) / step for step in (h, 2 * h))
        largest = max(size, abs(near))
        heard = largest * h > 1e3 * self.objective.eps * abs(self.best[0])  # above rounding
        if heard and abs(near - far) < 0.01 * abs(far) and abs(near - size) > 0.05 * largest:
            warnings.warn(
                f"`lbfgs` stopped after {self.steps} steps: the gradient of '{self.model.name}' "
                f"is not the slope of its loss ({size:.3g} instead of {near:.3g} along it), as "
                f"with `stop_gradient` in a weight of the loss. Train by `fit`, or leave it out.",
                stacklevel=5,
            )

    def _slope(self, weights, step):
        """Half the difference of the loss at both ends of a step."""
        return (self.objective(weights + step)[0] - self.objective(weights - step)[0]) / 2

    def _warn(self):
        warnings.warn(
            f"`lbfgs` stopped after {self.steps} steps: the loss of '{self.model.name}' is not "
            f"finite at the next weights. The model has the best ones so far, of loss "
            f"{self.best[0]:.3g}. Call `lbfgs` again to go on from them, or look for the cause "
            f"with `verify`.",
            stacklevel=5,
        )

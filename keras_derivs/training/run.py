"""One training on all data at once: its steps, callbacks, progress, and the best weights."""

import warnings

import keras
import numpy as np

from keras_derivs.training import arguments
from keras_derivs.training.objective import Objective


class NotFinite(Exception):
    """The loss or its gradient is not finite."""


class Run:
    """The steps so far, and the best weights. `name` is the public function, in messages."""

    name = ""

    def __init__(
        self, model, x, y, sample_weight, max_steps, *, callbacks, verbose, tolerance
    ):  # fmt: skip
        arguments.check_model(model, self.name)
        arguments.check_data(x, y, sample_weight, self.name)
        arguments.check_steps(max_steps)
        tolerance = arguments.check_tolerance(tolerance)
        arguments.build(model, x, y, sample_weight, self.name)
        self.model, self.max_steps = model, max_steps
        self.objective = Objective(model, x, y, sample_weight)
        self.tolerance = self.objective.eps if tolerance is None else tolerance
        self.steps, self.known, self.best = 0, {}, (np.inf, self.objective.weights)
        verbose = 1 if verbose == "auto" else verbose
        self.bar = keras.utils.Progbar(max_steps, verbose=verbose, stateless_metrics=())
        self.watched = bool(callbacks)  # by callbacks that may look at the model
        self.callbacks = keras.callbacks.CallbackList(
            callbacks, add_history=True, model=model, epochs=max_steps, steps=1, verbose=0
        )

    def run(self):
        self.model.stop_training = False
        try:
            self._value(self.objective.weights)
        except NotFinite:
            raise ValueError(
                f"`{self.name}` needs a finite loss to start from. Received: '{self.model.name}' "
                f"with weights at which the loss or its gradient is not. Look at the data and at "
                f"`verify`, or train by `fit` first."
            ) from None
        self.callbacks.on_train_begin()
        self._steps()
        self.bar.update(self.steps, self._values(), finalize=True)
        self.objective.assign(self.best[1])
        self.callbacks.on_train_end(self.logs)
        return self.model.history

    @property
    def going_on(self):
        return self.steps < self.max_steps and not self.model.stop_training

    def _value(self, weights):
        loss, gradient, logs = self.objective(weights)
        if not np.isfinite(loss) or not np.isfinite(gradient).all():
            raise NotFinite
        if loss < self.best[0]:
            self.best, self.logs = (loss, weights.copy()), logs
        self.known = {weights.tobytes(): logs}
        return loss, gradient

    def _step(self, weights):
        """These are the weights after one step more."""
        self.callbacks.on_epoch_begin(self.steps)
        self.logs = self.known.get(weights.tobytes()) or self.objective(weights)[2]
        if self.watched:
            self.objective.assign(weights)
        self.callbacks.on_epoch_end(self.steps, self.logs)
        self.steps += 1
        self.bar.update(self.steps, self._values(), finalize=False)

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
            self._warn(
                f"the gradient of '{self.model.name}' is not the slope of its loss ({size:.3g} "
                f"instead of {near:.3g} along it), as with `stop_gradient` in a weight of the "
                f"loss. Train by `fit`, or leave it out.",
                stacklevel=6,
            )

    def _slope(self, weights, step):
        """Half the difference of the loss at both ends of a step."""
        return (self.objective(weights + step)[0] - self.objective(weights - step)[0]) / 2

    def _warn(self, reason, stacklevel=5):
        after = f"`{self.name}` stopped after {self.steps} steps: "
        warnings.warn(after + reason, stacklevel=stacklevel)

"""Full-batch second-order training by L-BFGS."""

import keras
import numpy as np

from keras_derivs.training import arguments
from keras_derivs.training.run import NotFinite, Run
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
    training = Lbfgs(
        model, x, y, sample_weight, max_steps,
        callbacks=callbacks, verbose=verbose, tolerance=tolerance,
    )  # fmt: skip
    training.minimize = optimize.minimize
    return training.run()


def steps_kept(num_weights):
    """Two vectors in float64 for each."""
    return int(np.clip(BYTES // (16 * max(num_weights, 1)), *STEPS_KEPT))


class Lbfgs(Run):
    """The steps of SciPy's L-BFGS-B."""

    name = "lbfgs"

    def _steps(self):
        """A line search that fails, in float32 by rounding, begins anew from where it was."""
        options = {
            "maxcor": steps_kept(len(self.best[1])), "maxls": LINE_SEARCH,
            "maxfun": np.inf, "gtol": 0.0, "ftol": self.tolerance,
        }  # fmt: skip
        failed, before = True, -1
        while failed and before < self.steps and self.going_on:
            before, options["maxiter"] = self.steps, self.max_steps - self.steps
            try:
                found = self.minimize(
                    self._value, self.best[1], jac=True, method="L-BFGS-B",
                    callback=self._callback, options=options,
                )  # fmt: skip
            except NotFinite:
                self._warn(
                    f"the loss of '{self.model.name}' is not finite at the next weights. The "
                    f"model has the best ones so far, of loss {self.best[0]:.3g}. Call `lbfgs` "
                    f"again to go on from them, or look for the cause with `verify`."
                )
                return
            failed = found.status == 2
        if self.going_on:
            self._check_slope()

    def _callback(self, intermediate_result):
        self._step(intermediate_result.x)
        if self.model.stop_training:
            raise StopIteration

"""What full-batch training is called on: check it, and build the model.

`name` is the public function, in messages.
"""

import contextlib

import keras
import numpy as np

from keras_derivs import limits
from keras_derivs.training.precision import losses_of


def scipy_optimize():
    try:
        from scipy import optimize
    except ImportError as error:
        raise ImportError(
            "`lbfgs` needs SciPy. Received: an environment without it. Install it with "
            "`pip install keras_derivs[lbfgs]`."
        ) from error
    return optimize


def check_model(model, name):
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`{name}` needs a `keras.Model`. Received: {type(model).__name__}. Put the layer into "
            f"a model, and compile that."
        )
    if not model.compiled:
        raise ValueError(
            f"`{name}` needs a compiled model. Received: '{model.name}', without a loss. Call "
            f"`compile(loss=…)` first, as for `fit`."
        )


def check_data(x, y, sample_weight, name):
    given = {"x": x, "y": y, "sample_weight": sample_weight}
    arrays = [(key, z) for key, data in given.items() for z in keras.tree.flatten(data)]
    for key, z in arrays:
        if z is not None and (not hasattr(z, "shape") or not hasattr(z, "dtype") or not z.shape):
            raise TypeError(
                f"`{name}` needs arrays or tensors with all samples in `{key}=`. Received: "
                f"{type(z).__name__}. It takes all samples at once: collect those of a dataset."
            )
    rows = {key: z.shape[0] for key, z in arrays if z is not None}
    if len({z.shape[0] for _, z in arrays if z is not None}) != 1 or 0 in rows.values():
        raise ValueError(
            f"`{name}` needs as many samples in all arrays, one at least. Received: "
            f"{[(key, tuple(z.shape)) for key, z in arrays if z is not None]}. Give each sample "
            f"its targets."
        )


def check_steps(steps):
    if not limits.is_whole(steps) or steps < 1:
        raise ValueError(
            f"`max_steps=` needs a positive integer. Received: {steps!r}. Leave it out for 1000."
        )


def check_tolerance(tolerance):
    real = limits.is_real(tolerance)
    if tolerance is not None and not (real and 0 <= tolerance < 1):
        raise ValueError(
            f"`tolerance=` needs a number from 0 to 1. Received: {tolerance!r}. Leave it out to "
            f"go on until rounding ends it."
        )
    return tolerance


def build(model, x, y, sample_weight, name):
    """Create the weights, and the variables of losses and metrics, on two rows."""
    x, y, sample_weight = keras.tree.map_structure(
        lambda z: z if z is None else np.asarray(keras.ops.convert_to_numpy(z[:2])),
        (x, y, sample_weight),
    )
    predicted = model(x, training=False)
    _check_loss(model, name)
    with losses_of(model), _targets_of(model, y, predicted, name):
        model.compute_loss(x, y, predicted, sample_weight)
        model.compute_metrics(x, y, predicted, sample_weight)
    model.reset_metrics()
    if not model.trainable_variables:
        raise ValueError(
            f"`{name}` needs weights to train. Received: '{model.name}', which has none. Set "
            f"`trainable = True` on the layers to train."
        )


def _check_loss(model, name):
    overridden = type(model).compute_loss is not keras.Model.compute_loss
    if model.loss is None and not model.losses and not overridden:
        raise ValueError(
            f"`{name}` needs a loss. Received: '{model.name}', compiled without one. Give "
            f"`compile(loss=…)`, or add one with `add_loss`."
        )


@contextlib.contextmanager
def _targets_of(model, y, predicted, name):
    """What Keras says of targets that do not match the outputs, in a sentence of ours."""
    try:
        if len(keras.tree.flatten(predicted)) > 1 and hasattr(y, "shape"):
            raise ValueError("one array for several outputs")
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` needs a target, in `y=`, for each output of '{model.name}' that has a loss, "
            f"and sample weights alike. Received: y={_shapes(y)} for outputs "
            f"{_shapes(predicted)} ({_first_line(error)}). Give both in the structure of the "
            f"outputs, as for `fit`."
        ) from error


def _shapes(data):
    """The shapes, all samples as None, in the structure of the data."""
    return keras.tree.map_structure(lambda z: z if z is None else (None, *z.shape[1:]), data)


def _first_line(error):
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")

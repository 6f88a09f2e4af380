"""Check derivatives against central differences."""

import warnings
from dataclasses import replace
from functools import partial

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.engine import choose
from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.verify import of_layer
from keras_derivs.verify.bisect import culprit
from keras_derivs.verify.checks import compiled_alike, first_words, of_model, rounding, run
from keras_derivs.verify.double import double
from keras_derivs.verify.problem import Problem
from keras_derivs.verify.report import Check, Report


def verify(layer, x, order=None, seed=0, verbose=False):
    """Check the derivatives of a model, or a derivative layer, against central differences.

    Differences come from plain calls of a float64 copy of the model, extrapolated with an
    estimate of their own error, which sets the tolerance. Of a model, derivatives of all float
    outputs up to `order` are taken along random directions of all float inputs, by every
    strategy; of a derivative layer every entry is compared. It also tests that rows of the batch
    are independent, that derivatives are finite, show all that the function does (no jumps) and
    are the same eagerly, in a graph and by XLA, and that Hessians are symmetric. Where something
    fails, the first layer at fault is looked for. The model is left as it was.

    Args:
        layer: A `keras.Model` or layer, or a derivative layer such as `Hessian(model)`.
        x: What it is called on, a few samples: costs are some thousand calls.
        order: The highest order to check of a model, 1, 2 or 3; 2 by default.
        seed: Seed of the random directions.
        verbose: Print each check when it is done.

    Returns:
        A report that is true if nothing failed and prints as a table. It has `ok`, `checks`,
        `failures` and `culprit`, the name of the first layer at fault.

    Raises:
        ValueError: There is no float input or output, or `order` is not one of those.
        TypeError: `layer` is not a layer.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "tanh")])
    >>> report = kd.verify(model, np.random.default_rng(0).normal(size=(4, 3)), order=1)
    >>> report.ok
    True
    """
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(
            f"`verify` needs a `keras.Model`, a layer, or a derivative layer. Received: {layer!r} "
            f"(of type {type(layer).__name__}). Put a function into a layer's `call`."
        )
    verify_it = _verify_layer if isinstance(layer, DerivativeLayer) else _verify_model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report says it better
        return verify_it(layer, x, order, seed, verbose)


def _verify_model(model, x, order, seed, verbose):
    order = 2 if order is None else order
    if order not in (1, 2, 3):
        raise ValueError(
            f"`order=` needs to be 1, 2 or 3. Received: {order!r}. For higher derivatives verify "
            f"a layer that returns them."
        )
    copy, given = double(model, x)
    inputs = [np.asarray(keras.ops.convert_to_numpy(a)) for a in keras.tree.flatten(given)]
    wrt = tuple(n for n, a in enumerate(inputs) if np.issubdtype(a.dtype, np.floating))
    outputs = keras.tree.flatten(copy(given, training=False))
    chosen = [n for n, y in enumerate(outputs) if keras.backend.is_float_dtype(y.dtype)]
    if not wrt or not chosen:
        raise ValueError(
            f"`verify` needs a float input and a float output. Received: inputs "
            f"{[a.dtype.name for a in inputs]} and outputs "
            f"{[keras.backend.standardize_dtype(y.dtype) for y in outputs]} of '{model.name}'. "
            f"Cut off what turns integers into floats, such as an embedding."
        )
    report = _Run(f"'{model.name}' to order {order}, {inputs[wrt[0]].dtype}", verbose)
    for output in chosen:
        problem = Problem(copy, given, inputs, wrt, output, seed=seed)
        prefix = "" if len(outputs) == 1 else f"output {output}, "
        for name, check in of_model(order).items():
            report.add(run(name, check, problem), problem, check, prefix)
    return report.done()


def _verify_layer(layer, x, order, seed, verbose):
    _check_layer(layer, order)
    inputs, vectors = layer.split(x)
    model, given = double(layer.model, inputs)
    flat = [np.asarray(keras.ops.convert_to_numpy(a)) for a in keras.tree.flatten(given)]
    report = _Run(f"'{layer.name}' of '{layer.model.name}', {flat[0].dtype}", verbose)
    called_on = [given, [np.asarray(v, flat[0].dtype) for v in vectors]] if vectors else given
    copy = partial(_copy, layer, model)
    try:
        auto = copy("auto")
        auto(called_on)
    except Exception as error:  # what a user of the layer would meet
        report.add(Check("it can be called", "FAILED", note=first_words(error)))
        return report.done()
    plan = auto.plan
    problem = Problem(model, given, flat, plan.wrt, plan.output, layer.training, seed=seed)
    checks = of_model(plan.request.order)
    for name in ("rows are independent", "no jumps"):
        report.add(run(name, checks[name], problem), problem, checks[name])
    true = of_layer.true(auto, problem, vectors)
    for strategy in choose.STRATEGIES[layer.kind]:
        check = partial(of_layer.against, lambda name=strategy: copy(name), called_on, true)
        check = run(f"strategy '{strategy}'", check, problem)
        report.add(check, problem, checks[f"order {plan.request.order}, strategy 'reverse'"])
    for mode in backend.MODES:
        name, tolerance = f"the same by {mode}", rounding(problem, plan.request.order)
        alike = partial(_alike, auto, called_on, mode, tolerance)
        report.add(run(name, alike, problem), problem, checks[name])
    return report.done()


def _alike(layer, called_on, mode, tolerance, problem, name):
    return compiled_alike(layer, called_on, name, mode, tolerance)


def _check_layer(layer, order):
    if order is not None:
        raise ValueError(
            f"`order=` is for models; a derivative layer has its own. Received: {order!r} for "
            f"'{layer.name}'. Leave it out."
        )
    if getattr(layer, "num_samples", None):
        raise ValueError(
            f"`verify` needs an exact derivative. Received: '{layer.name}', an estimate from "
            f"{layer.num_samples} random directions. Verify it without `num_samples=`."
        )


def _copy(layer, model, strategy):
    """The same layer of the float64 copy of its model, by another strategy."""
    config = {**layer.get_config(), "model": model, "return_value": False, "strategy": strategy}
    kept = {key: value for key, value in config.items() if key not in ("tied", "dtype")}
    return type(layer).from_config(kept)


class _Run:
    """A report in the making."""

    def __init__(self, subject, verbose):
        self.subject, self.verbose, self.checks, self.culprit = subject, verbose, [], None

    def add(self, check, problem=None, same=None, prefix=""):
        """`same` is the check of a model that would show the same fault in a part of it."""
        if check.status == "FAILED" and problem is not None and self.culprit is None:
            self.culprit = culprit(problem, check.name, same)
        self.checks.append(replace(check, name=prefix + check.name))
        if self.verbose:
            print(self.checks[-1], flush=True)

    def done(self):
        return Report(self.subject, self.checks, self.culprit)

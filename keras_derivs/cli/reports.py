"""`verify`, `explain`, `compare` and `demo`: what a command says of a model."""

import warnings

import keras_derivs
from keras_derivs.cli import models
from keras_derivs.cli.console import show
from keras_derivs.features import features
from keras_derivs.graph import private
from keras_derivs.layers.gradient import Gradient
from keras_derivs.layers.hessian import Hessian
from keras_derivs.layers.jacobian import Jacobian
from keras_derivs.layers.laplacian import Laplacian
from keras_derivs.tables import Problem
from keras_derivs.tables.problem import one_line, reported
from keras_derivs.verify import verify as check


def verify(arguments):
    """Report on a model, or on the derivatives inside it; 1 if something is not right."""
    model = models.load(arguments.model)
    x = models.samples(arguments, model)
    names = arguments.layers.split(",") if arguments.layers else None
    if names is None and arguments.order is None:
        names = [layer.name for layer in private.layers_of(model) if _derives(layer)] or None
    with reported(arguments.model):
        report = check(model, x, arguments.order, layers=names, budget=arguments.budget)
    print(report)
    return 0 if report else 1


def _derives(layer):
    return getattr(type(layer), "is_derivative", False) is True


def explain(arguments):
    """A table of the derivatives of a model: strategy, passes, what is not verified."""
    model = models.load(arguments.model)
    found = models.features_of(model, arguments.model, models.guessed_shapes(model))
    wrt = [part.name for part in found.inputs if part.is_float]
    if not wrt:
        raise Problem(f"{arguments.model}: it has no float input to differentiate by")
    rows = []
    for number, part in enumerate(found.outputs):
        for kind in (Gradient if part.size == 1 else Jacobian, Hessian, Laplacian):
            rows.append([f"{kind.__name__} of {part.name}", *_explained(kind, model, number)])
    for layer in private.layers_of(model, include_self=False):
        if _derives(layer):
            rows.append([f"'{layer.name}' inside of the model", *_told(layer)])
    show(f"Derivatives of '{model.name}'", ["derivative", "strategy", "passes", "notes"], rows)


def _explained(kind, model, output):
    """Strategy, passes and notes of a derivative of a model, or why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the notes say it
            layer = kind(model, output=output if len(model.outputs) > 1 else None)
            if layer.plan is None:
                layer.compute_output_spec(private.tree_of_inputs(model, model.inputs))
    except Exception as error:
        return ["none", "", one_line(error)]
    return _told(layer)


def _told(layer):
    plan = getattr(layer, "derivative", layer).plan
    if plan is None:
        return ["not chosen yet", "", ""]
    return [plan.choice.strategy, plan.choice.passes, " ".join([*plan.notes, *plan.given])]


def compare(arguments):
    """How long the strategies take."""
    if not hasattr(keras_derivs, "compare"):
        raise Problem("this version of keras_derivs cannot compare strategies")
    model = models.load(arguments.model)
    x = models.samples(arguments, model, 256)
    with reported(arguments.model):
        for number, part in enumerate(features(model).outputs):
            kinds = (Gradient if part.size == 1 else Jacobian, Laplacian)
            for kind in kinds:
                layer = kind(model, output=number if len(model.outputs) > 1 else None)
                print(f"{kind.__name__} of {part.name}")
                print(keras_derivs.compare(layer, x, training=arguments.training))


def demo(arguments):
    from keras_derivs import demo

    demo.run(arguments.output, arguments.quick, arguments.seed)

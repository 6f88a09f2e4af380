"""`verify`, `explain`, `compare` and `demo`: what a command says of a model."""

import tempfile
import warnings

import keras

import keras_derivs
from keras_derivs.cli import models
from keras_derivs.cli.console import progress, show
from keras_derivs.export.formats import FORMATS
from keras_derivs.graph import is_derivative, private
from keras_derivs.layers.gradient import Gradient
from keras_derivs.layers.hessian import Hessian
from keras_derivs.layers.jacobian import Jacobian
from keras_derivs.layers.laplacian import Laplacian
from keras_derivs.tables import Problem
from keras_derivs.tables.problem import one_line, reported
from keras_derivs.verify import verify as check


def verify(arguments):
    """Report on a model, or on the derivatives inside it; 1 if a check failed, 3 if none did
    but a derivative could not be compared."""
    model = models.load(arguments.model)
    x = models.samples(arguments, model)
    names = arguments.layers.split(",") if arguments.layers else None
    if names is None and arguments.order is None:
        names = [layer.name for layer in private.layers_of(model) if is_derivative(layer)] or None
    with reported(arguments.model):
        report = check(model, x, arguments.order, layers=names, budget=arguments.budget)
    print(report)
    if report.failures:
        return 1
    return 0 if report.ok else 3


def explain(arguments):
    """A table of the derivatives of a model: strategy, passes, what is not verified."""
    model = models.load(arguments.model)
    found = models.features_of(model, arguments.model, models.guessed_shapes(model))
    wrt = [part.name for part in found.inputs if part.is_float]
    if not wrt:
        raise Problem(f"{arguments.model}: it has no float input to differentiate by")
    rows, layers = [], {"the model itself": model}
    for part in found.outputs:
        for kind in (Gradient if part.size == 1 else Jacobian, Hessian, Laplacian):
            name = f"{kind.__name__} of {part.name}"
            try:
                layers[name] = _planned(kind, model, part)
                rows.append([name, *_told(layers[name])])
            except Exception as error:
                rows.append([name, "none", "", one_line(error)])
    for layer in private.layers_of(model, include_self=False):
        if is_derivative(layer):
            rows.append([f"'{layer.name}' inside of the model", *_told(layer)])
    show(f"Derivatives of '{model.name}'", ["derivative", "strategy", "passes", "notes"], rows)
    show("\nExport, by `keras-derivs export`", ["format", "here"], _formats())
    if arguments.exports:
        _try_exports(layers, models.samples(arguments, model))


def _formats():
    """Each format of a file, and whether it can be written and checked here."""
    return [[form.title, _obstacle(form) or "yes"] for form in FORMATS]


def _obstacle(form):
    """Why files of a format cannot be written or checked here, or `None`."""
    try:
        return form.check_packages()
    except (ImportError, ValueError) as error:
        return one_line(error)


def _try_exports(layers, samples):
    """Show which derivatives `export` writes to which of the formats that are possible here."""
    formats = [form for form in FORMATS if not _obstacle(form)]
    rows, reasons = [], []
    with tempfile.TemporaryDirectory() as folder, progress("exports") as tell:
        for name, layer in layers.items():
            found = [_refusal(layer, form, folder, samples) for form in formats]
            rows.append([name, *("no" if why else "yes" for why in found)])
            reasons += [f"{name}, {f.title}: {why}" for f, why in zip(formats, found) if why]
            tell(len(rows) / len(layers))
    show("\nExports, each tried here", ["", *(form.title for form in formats)], rows)
    for reason in reasons:
        print(reason)


def _refusal(layer, form, folder, samples):
    """Why a derivative cannot be exported to a format, or `None`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            keras_derivs.export(layer, f"{folder}/model{form.suffix}", form.name, samples)
    except Exception as error:
        return one_line(error)
    return None


def _made(kind, model, part):
    return kind(model, output=part.position if _has_several(model) else None)


def _has_several(model):
    return len(keras.tree.flatten(getattr(model, "outputs", None) or [])) > 1


def _planned(kind, model, part):
    """A derivative of a model, with its strategy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notes say it
        layer = _made(kind, model, part)
        if layer.plan is None:
            layer.compute_output_spec(private.tree_of_inputs(model, model.inputs))
    return layer


def _told(layer):
    plan = getattr(layer, "derivative", layer).plan
    if plan is None:
        return ["not chosen yet", "", ""]
    return [plan.choice.strategy, plan.choice.passes, " ".join([*plan.notes, *plan.given])]


def compare(arguments):
    """How long the strategies take."""
    model = models.load(arguments.model)
    x = models.samples(arguments, model, 256)
    found = models.features_of(model, arguments.model, models.guessed_shapes(model))
    with reported(arguments.model):
        for part in found.outputs:
            for kind in (Gradient if part.size == 1 else Jacobian, Laplacian):
                print(f"{kind.__name__} of {part.name}")
                print(keras_derivs.compare(_made(kind, model, part), x, arguments.training))


def demo(arguments):
    from keras_derivs import demo

    demo.run(arguments.output, arguments.quick, arguments.seed)

"""`sensitivities`, `gradient`, `hessian` and `laplacian`: a derivative for every row of a table."""

import itertools
import math
from contextlib import ExitStack, closing

import keras
import numpy as np

from keras_derivs import symbolic
from keras_derivs.cli import models
from keras_derivs.cli.console import progress, show
from keras_derivs.cli.moments import Moments
from keras_derivs.tables import Problem, chosen, results
from keras_derivs.tables.problem import reported
from keras_derivs.tables.writing import beside

FUNCTIONS = {
    "sensitivities": symbolic.jacobian,
    "gradient": symbolic.jacobian,
    "hessian": symbolic.hessian,
    "laplacian": symbolic.laplacian,
}
MOST_ROWS, MOST_NUMBERS = 1024, 2**22  # of a batch


def run(arguments):
    model = models.load(arguments.model)
    source = models.source(arguments, model)
    outputs, inputs = _selected(arguments, source)
    with reported(arguments.model):
        derivative, shape = _derivative(arguments.command, source.found, outputs, inputs)
    names = _names(arguments.command, *_labels(source, outputs, inputs))
    scale = _scale(arguments, source, outputs, inputs, shape)
    size = arguments.batch_size or _batch_size(len(source.columns), shape)
    moments = Moments()
    with ExitStack() as stack:
        file, plot = (
            path and stack.enter_context(beside(path)) for path in (arguments.file, arguments.plot)
        )
        rows = _rows(arguments, source, derivative, shape, scale, size)
        _write(rows, file, names, shape, _labels(source, outputs, inputs), moments)
        if plot:
            _draw(arguments, plot, moments, *_labels(source, outputs, inputs))
    _summary(arguments, moments, names)


def _selected(arguments, source):
    """The numbers of the chosen entries of the outputs, and of the chosen features."""
    found = source.found
    outputs = _outputs(arguments.outputs, source)
    if arguments.command == "gradient" and len(outputs) > 1:
        names = ", ".join(source.outputs[:12])
        raise Problem(f"gradient needs one output: choose with --output among {names}")
    if arguments.inputs is None:
        inputs = found.differentiable
    else:
        inputs = chosen(arguments.inputs, source.names, "--inputs")
    whole = [source.names[number] for number in inputs if number not in found.differentiable]
    if whole or not inputs:
        raise Problem(f"--inputs: {whole or 'all inputs'}: no derivative by an integer input")
    if arguments.command == "hessian" and arguments.plot and len(outputs) > 1:
        raise Problem("--plot of a Hessian needs one output: choose with --output")
    return outputs, inputs


def _outputs(spec, source):
    """All entries of a tensor, by its name, or entries by name, number or range."""
    if spec is None:
        return list(range(len(source.outputs)))
    parts = source.found.outputs
    starts = np.cumsum([0, *(part.size for part in parts)])
    whole = {part.name: list(range(at, at + part.size)) for part, at in zip(parts, starts)}
    return whole[spec] if spec in whole else chosen(spec, source.outputs, "--outputs")


def _derivative(command, found, outputs, inputs):
    """A model of the features that returns the derivative, and the shape of a row of it."""
    x, y, at = found.select(outputs, inputs)
    rows, columns = len(outputs), len(inputs)
    result = FUNCTIONS[command](y, at)
    shapes = {"gradient": (columns,), "hessian": (rows, columns, columns), "laplacian": (rows,)}
    shape = shapes.get(command, (rows, columns))
    shape = shape[1:] if command == "hessian" and rows == 1 else shape
    return keras.Model(x, result), shape


def _labels(source, outputs, inputs):
    ys = [source.outputs[number] for number in outputs]
    return ys, [source.names[number] for number in inputs]


def _names(command, ys, xs):
    """A name for each entry of a row."""
    if command == "laplacian":
        return [f"laplacian({y})" for y in ys]
    if command == "hessian":
        pairs = list(itertools.product(xs, xs))
        return [f"d2({y})/{_below(a, b)}" for y in ys for a, b in pairs]
    return [f"d({y})/d({x})" for y in ys for x in xs]


def _below(a, b):
    return f"d({a})2" if a == b else f"d({a})d({b})"


def _batch_size(features, shape):
    return max(1, min(MOST_ROWS, MOST_NUMBERS // max(features, math.prod(shape))))


def _batches(source, size):
    """Yield (first row, rows, how many of them are real, share that is done); rows are repeated
    to fill the last batch, so that no graph is made for it."""
    for first, numbers, done in source.chunks():
        for start in range(0, len(numbers), size):
            rows = numbers[start : start + size]
            filled = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])
            yield first + start, filled, len(rows), done


def _rows(arguments, source, model, shape, scale, size):
    """Yield the derivative of every row, some rows at a time."""
    with progress(arguments.command) as tell:
        for first, numbers, count, done in _batches(source, size):
            with reported(arguments.model):
                result = np.asarray(model.predict_on_batch(numbers))[:count]
            result = result.reshape(count, *shape) * scale
            _check(result, first, arguments)
            tell(done)
            yield result


def _check(result, first, arguments):
    finite = np.isfinite(result.reshape(len(result), -1)).all(axis=1)
    if not finite.all():
        row = first + int(np.argmin(finite))
        raise Problem(f"{arguments.data}: the {arguments.command} at row {row} is not finite")


def _write(rows, file, names, shape, labels, moments):
    with ExitStack() as stack:
        table = None
        if file:
            texts = dict(zip(("outputs", "inputs"), labels))
            table = stack.enter_context(closing(results(file, names, shape, texts)))
        for row in rows:
            moments.add(row)
            if table:
                table.write(row)


def _scale(arguments, source, outputs, inputs, shape):
    """What turns a derivative into one between standard deviations; ones unless it is asked for."""
    if not getattr(arguments, "standardise", False):
        return np.ones((), "float32")
    x, y, model = Moments(), Moments(), source.found.model
    size = arguments.batch_size or MOST_ROWS
    with progress("scales of the data") as tell:
        for _, numbers, count, done in _batches(source, size):
            with reported(arguments.model):
                values = np.asarray(model.predict_on_batch(numbers))[:count]
            x.add(numbers[:count, inputs])
            y.add(values[:, outputs].astype("float64"))
            tell(done)
    for number, spread in zip(outputs, y.spread):
        if not spread > 0:
            name = source.outputs[number]
            raise Problem(f"{arguments.data}: output {name!r} is constant, it has no scale")
    return (x.spread / y.spread[:, None]).reshape(shape).astype(model.outputs[0].dtype)


def _draw(arguments, path, moments, ys, xs):
    from keras_derivs.plotting.sensitivity import draw

    standardised = getattr(arguments, "standardise", False)
    with reported(arguments.plot):
        if arguments.command == "hessian":
            words = {"heading": f"Hessian of {ys[0]}", "label": f"∂²{ys[0]}/∂x∂z"}
            ax = draw(moments.mean, moments.spread, xs, xs, **words)
        else:
            shape = (len(ys), len(xs))
            mean, spread = moments.mean.reshape(shape), moments.spread.reshape(shape)
            ax = draw(mean, spread, ys, xs, standardised)
        ax.figure.savefig(path, dpi=150)


def _summary(arguments, moments, names):
    written = [str(path) for path in (arguments.file, arguments.plot) if path]
    of = " in standard deviations" if getattr(arguments, "standardise", False) else ""
    values = zip(moments.mean.ravel().tolist(), moments.spread.ravel().tolist())
    rows = [[name, mean, spread] for name, (mean, spread) in zip(names, values)]
    show(f"{arguments.command}{of}: {moments.count} rows", ["", "mean", "spread"], rows)
    if written:
        print(f"Written: {', '.join(written)}")

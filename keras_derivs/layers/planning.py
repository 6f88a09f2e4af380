"""What follows from the shapes of a layer's inputs: what is asked, and how it is computed."""

import warnings
from dataclasses import dataclass, replace

import keras

from keras_derivs import audit
from keras_derivs.audit import doubts
from keras_derivs.audit.kinks import CANCELLING, COMPARED, cancelling
from keras_derivs.audit.notes import notes
from keras_derivs.engine import choose, weights
from keras_derivs.engine.target import Request, Target
from keras_derivs.graph import Coordinates, is_derivative, private
from keras_derivs.layers import calls, folding, model_shapes, modes
from keras_derivs.layers.names import input_names, output_names, position_of


@dataclass(frozen=True)
class Outline:
    """What shapes alone tell of a request."""

    y: keras.KerasTensor
    xs: list  # the inputs that are differentiated, each once
    wrt: tuple  # their positions among the flat inputs
    output: int
    coordinates: list
    folded: folding.Folded | None = None


@dataclass(frozen=True)
class Plan:
    """One request of a layer, for inputs of certain shapes."""

    y: keras.KerasTensor
    xs: list  # the inputs that are differentiated, each once
    wrt: tuple  # their positions among the flat inputs
    output: int
    coordinates: list
    request: Request
    choice: choose.Choice
    target: Target  # the model, at specs
    findings: audit.Findings
    notes: tuple = ()  # what a warning tells, and `explain()` beside the choice
    given: tuple = ()  # what `explain()` alone tells
    final: bool = True  # not while a file is being loaded
    folded: folding.Folded | None = None  # where two leading axes are those of rows
    cancels: bool = False  # there are kinks that may cancel each other

    @property
    def steps(self):
        """The operations of the model; see `traced`."""
        return self.findings.steps


def make(layer, inputs, flat, training):
    """The plan of a derivative layer for inputs of these shapes, and for this mode."""
    specs = [keras.KerasTensor((None, *x.shape[1:]), dtype=x.dtype) for x in flat]
    calls.check_quantised(layer.model, layer.name)
    coordinates = _coordinates(layer, inputs, flat)
    wrt = tuple(dict.fromkeys(at.position for at in coordinates))
    xs = [specs[position] for position in wrt]
    weights.create(layer.model, inputs, specs)
    batches = model_shapes.batches(layer.model, specs, flat)
    output, y = _output(layer, model_shapes.described(layer.model, inputs, specs))
    calls.check_dependence(layer.model, inputs, output, wrt, layer.name)
    folded = None
    if layer.batch_dims == 1:
        calls.check_rows(y, batches[wrt[0]], layer.model)
    else:
        folded = folding.folded(layer, batches, wrt, y)
        batches, xs, y = folded.specs, folded.xs(wrt), folded.y
    request = _request(layer, coordinates, wrt, xs, y, folded)
    structure = keras.tree.pack_sequence_as(inputs, specs)
    fold = folded and folded.fold
    target = Target(layer.model, structure, batches, wrt, output, training, fold=fold)
    final = not audit.postponed()
    findings, told = audit.Findings([]), ()
    if final:
        findings = _examine(layer, target, request, flat)
        told = (*missing_parts(layer, findings.steps, request.order), *findings.notes)

    def obstacle():
        if not final:
            return None
        if findings.large or audit.too_large(target):
            return "a model too large to be tried"
        if findings.effects and modes.leaves_trace(layer, training):
            return "a state that moves, or a penalty that counts, with each call"
        return _taylor_obstacle(target, specs)

    choice = choose.choose(_strategy(layer), request, y, xs, obstacle)
    steps = _outside(layer, findings.steps)
    told += doubts.unverified(layer.model, steps, request.order, choice)
    given = doubts.given(layer.model, steps, choice)
    kinks = cancelling(layer.model, findings.steps, request.order)
    cancels = bool(kinks) and not (training or findings.random)
    if cancels:
        given += (COMPARED.format(places=kinks),)
    elif kinks:
        told += (CANCELLING.format(places=kinks),)
    known = request, choice, target, findings, told, given, final, folded, cancels
    return Plan(y, xs, wrt, output, coordinates, *known)


def warn(layer, plan):
    """Say once what the derivative lacks, and what could not be checked."""
    off = () if layer.audit else plan.findings.notes
    for note in plan.notes:
        if note not in layer.told and note not in off:
            layer.told.add(note)
            warnings.warn(f"'{layer.name}' of '{layer.model.name}': {note}", stacklevel=4)


def outline(layer, inputs, flat):
    """The `Outline` of a derivative layer; a model is not run unless it has to be built first."""
    specs = [keras.KerasTensor((None, *x.shape[1:]), dtype=x.dtype) for x in flat]
    coordinates = _coordinates(layer, inputs, flat)
    wrt = tuple(dict.fromkeys(at.position for at in coordinates))
    output, y = _output(layer, model_shapes.described_or_built(layer.model, inputs, specs))
    if layer.batch_dims == 1:
        return Outline(y, [specs[position] for position in wrt], wrt, output, coordinates)
    folded = folding.folded(layer, model_shapes.batches(layer.model, specs, flat), wrt, y)
    return Outline(folded.y, folded.xs(wrt), wrt, output, coordinates, folded)


def missing_parts(layer, steps, order):
    """What the derivative lacks."""
    return [*notes(layer.model, _outside(layer, steps), order), *calls.quantised(layer.model)]


def _outside(layer, steps):
    """The steps of a model but those of derivatives inside of it, which have told of theirs."""
    parts = private.layers_of(layer.model)
    told = {part.name for part in parts if is_derivative(part)}
    return [step for step in steps if not told & set(step.scopes)]


def _examine(layer, target, request, flat):
    if not layer.audit:
        return audit.Findings([], (audit.OFF,), random=True, effects=True)
    try:
        return audit.check(target, request.order, layer.coupled)
    except ValueError as error:
        if None not in [flat[n].shape[0] for n in model_shapes.beyond_one(layer.model, flat)]:
            raise
        text = f"right for one row alone, which '{layer.model.name}' is made for. {error}"
        single = target.given(model_shapes.batches(layer.model, target.inputs, ()))
        findings = audit.check(single, request.order, layer.coupled)
        return replace(findings, notes=(*findings.notes, text))


def _taylor_obstacle(target, specs):
    return audit.eagerly(
        choose.taylor_obstacle,
        target.model,
        target.structure,
        specs if target.fold is None else target.inputs,
        target.wrt,
        target.output,
        target.training,
        target.fold,
    )


def _strategy(layer):
    """Where rows are coupled, only some strategies give the derivative of the sum."""
    if not layer.coupled:
        return layer.strategy
    possible = {"jacobian": "reverse", "jvp": "forward"}.get(layer.kind, "reverse")
    if layer.strategy not in ("auto", "tape", possible):
        raise ValueError(
            f"`coupled=True` needs strategy '{possible}'. Received: {layer.strategy!r} for "
            f"'{layer.name}'. Use 'auto'."
        )
    return possible


def _coordinates(layer, inputs, flat):
    names = input_names(layer.model, inputs)
    chosen = range(len(flat)) if layer.wrt is None else layer.wrt
    chosen = chosen if isinstance(chosen, (list, range)) else [chosen]
    found = []
    for x in chosen:
        if not isinstance(x, Coordinates):
            position = position_of(x, names, "wrt", layer.model)
            x = Coordinates(position, folding.row_shape(flat[position], layer.batch_dims))
        _check_input(layer, flat, x.position, names)
        found.append(x)
    return found


def _check_input(layer, flat, position, names):
    x = flat[position]
    floats = [
        name
        for name, other in zip(names, flat)
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(other.dtype))
    ]
    if layer.wrt is None and floats and names[position] not in floats:
        raise TypeError(
            f"'{layer.name}' needs to know which inputs to differentiate with respect to, as not "
            f"all are of a float dtype. Received: input '{names[position]}' of dtype {x.dtype}, of "
            f"inputs {names}. Give `wrt={floats if len(floats) > 1 else floats[0]!r}`."
        )
    calls.check_differentiable(x, "input", names[position], layer.name)


def _output(layer, outputs):
    """The position and the spec of the chosen one of a model's outputs."""
    model = layer.model
    flat, names = keras.tree.flatten(outputs), output_names(model, outputs)
    if layer.chosen_output is None and len(flat) > 1:
        raise ValueError(
            f"'{layer.name}' needs to know which of several outputs to differentiate. "
            f"Received: '{model.name}' with outputs {names}. Choose one with `output=`."
        )
    position = position_of(layer.chosen_output or 0, names, "output", model)
    y = flat[position]
    calls.check_differentiable(y, "output", y.name, layer.name)
    return position, y


def _request(layer, coordinates, wrt, xs, y, folded):
    rows, _ = layer.rows(tuple(y.shape[1:]))
    columns = [
        (wrt.index(at.position), indices)
        for at, (indices, _) in zip(coordinates, layer.columns(coordinates))
    ]
    terms = layer.terms(coordinates, wrt)
    shared = folded is not None and folded.fold.shared
    request = Request(layer.kind, rows, columns, terms, chunk_size=layer.chunk_size)
    request = replace(request, shared=shared, single=layer.single and not shared)
    return layer.with_directions(request, [xs[k] for k, _ in columns])

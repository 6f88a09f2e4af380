"""One model, examined: its traced graph, a run on rows, and a run with most of them changed."""

import math
import re
from dataclasses import dataclass, replace

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.audit import rows
from keras_derivs.audit.differences import check_differences
from keras_derivs.audit.graphs import Graphs
from keras_derivs.audit.notes import across, notes, places, without_gradient
from keras_derivs.audit.trial import attempts, nonzero_weights, probe_of, run, sizes_of
from keras_derivs.backend import iterations
from keras_derivs.engine.reverse import passes
from keras_derivs.graph import SubGraph
from keras_derivs.graph.private import get_stateless_scope

MOVED = (
    "'{name}' has a state that moves with each call ({variables}). Its own call moves it first, "
    "so that this derivative, and a value with it, are those of the state after that. Wrap the "
    "model, as in `Gradient(model, training=True, return_value=True)`, for both from one pass"
)
# Of rows, the first that the model runs on: many where that costs nothing, for rows far apart
SIZES = (64, 60, 8, 2, 3, 4, 16, 1)


@dataclass(frozen=True)
class Findings:
    """What is known of a model; `notes` say what could not be checked."""

    steps: list  # see `backend.traced`
    notes: tuple = ()
    random: bool = False
    seeded: bool = False  # by generators of Keras, which an inference leaves where they are
    effects: bool = False  # each call moves a state, or counts a penalty
    inside: list | None = ()  # what counts from the second order on, too; `None`: not known
    large: bool = False  # too large to be run on any number of rows
    placed: str = ""  # why it has no derivatives in copies of a batch, in which rows change places
    num_entries: int = 1  # of a row of its output


def examine(specified, order, coupled):
    """The `Findings` on the model of a target that holds specs."""
    with backend.held(), iterations.few(), nonzero_weights(specified.model):
        graphs, trial, obstacle = Graphs(specified), None, None
        sizes = (n for n in sizes_of(specified, SIZES) if not graphs.too_large(n))
        for num_rows, magnitude, whole in attempts(sizes):
            made = probe_of(specified, specified.wrt, num_rows, magnitude, whole)
            try:
                trial = run(specified.given(made.inputs), made)
            except backend.MISSING:
                raise
            except Exception as error:  # the probe does not fit the model: try another
                obstacle = _first_line(error)
                continue
            if trial.finite:
                break
        if trial is None:
            return _not_run(specified, graphs, obstacle)
        return _judge(trial, graphs, order, coupled)


def _not_run(specified, graphs, obstacle):
    obstacle = graphs.too_large(2) or obstacle
    note = f"not audited: '{specified.model.name}' could not be tried on random rows ({obstacle})"
    steps = [] if graphs.size is None else graphs.steps(graphs.size)
    check_lost(specified.model, steps)
    return Findings(steps, (note,), large=bool(graphs.too_large(1)))


def _judge(trial, graphs, order, coupled):
    model, num_rows = trial.target.model, len(trial.probe.roles)
    _check_shape(trial, num_rows)
    unchecked, mixed, traced = [], None, graphs.traced(num_rows) is not None
    placed = ""
    if not coupled or not traced:
        mixed = _run_mixed(trial, unchecked, slopes=not traced)
    if mixed is not None and not coupled:
        placed = _check_rows(trial, mixed, unchecked)
    steps = graphs.steps(num_rows)
    check_lost(model, steps)
    inside = graphs.inside(num_rows)
    slopes = _slopes(trial, [*steps, *(inside or ())], order)
    if not coupled:
        _check_slopes(trial, slopes)
        unchecked += across(model, steps, num_rows)
    if not traced:
        check_differences(trial, mixed, slopes)
        unchecked.append(
            f"'{model.name}' runs in Python alone and cannot be traced: its operations are not "
            f"known, and only its first derivative was compared with differences"
        )
    _check_state(trial, unchecked)
    drawn = trial.random, trial.seeded, trial.effects
    entries = math.prod(trial.y.shape[1:])
    return Findings(steps, tuple(unchecked), *drawn, inside, placed=placed, num_entries=entries)


def _check_shape(trial, num_rows):
    shape, fold = tuple(trial.y.shape), trial.target.fold
    if fold is not None and (not shape or shape[0] != num_rows):
        xs = [tuple(trial.target.given_to_model[n].shape) for n in fold.positions]
        raise ValueError(
            f"A derivative with `batch_dims=2` needs y of shape (batch, places, …) and x of shape "
            f"(batch, places, d), or (places, d) where all rows of the batch share them. "
            f"Received: '{trial.target.model.name}', which returns another number of places for x "
            f"of shape {xs}. Give x an axis of its own for the coordinates."
        )
    if not shape or shape[0] != num_rows:
        raise ValueError(
            f"A derivative is per sample: it needs an output with one row for each row of the "
            f"input. Received: '{trial.target.model.name}', which returns shape {shape} for "
            f"{num_rows} rows. Keep the batch axis in front: reduce, or reshape, the other axes."
        )


def _run_mixed(trial, unchecked, slopes):
    """The run on changed rows, with slopes or without; not the loud one where that fails.

    The one without has them in another order, as far as they are free to be, and y as before.
    """
    order = None if slopes else _order(trial)
    for name in ("mixed", "quiet"):
        inputs = getattr(trial.probe, name)
        target = trial.target.given(inputs)
        try:
            if slopes:
                return run(target, trial.probe)
            if order is None:
                y = passes.run(target)
            else:
                y = passes.run(trial.target.given(rows.ordered(inputs, order)))
                (y,) = rows.ordered([y], np.argsort(order))
            return replace(trial, target=target, y=y, pull=None)
        except Exception as error:
            obstacle = _first_line(error)
    unchecked.append(f"rows were not compared: '{trial.target.model.name}' fails ({obstacle})")
    return None


def _order(trial):
    """Another order of the rows; `None` where they have fixed places, or numbers drawn for them."""
    num_rows = len(trial.probe.roles)
    lengths = {x.shape[0] for x in trial.probe.inputs if len(x.shape)}
    fixed = trial.target.fold is not None or trial.probe.fixed or lengths != {num_rows}
    if fixed or trial.random or trial.seeded or num_rows == 1:
        return None
    order = np.random.default_rng(0).permutation(num_rows)
    return order if np.any(order != np.arange(num_rows)) else order[::-1]


def _check_rows(trial, mixed, unchecked):
    """Raise if rows depend on others; say so if they depend on their place."""
    stays, model = trial.probe.rows("stays"), trial.target.model
    if not trial.finite:
        unchecked.append(f"'{model.name}' returns numbers that are not finite for random rows")
    if not len(stays) or not rows.changed(trial.y, mixed.y, stays):
        return ""
    if rows.changed(trial.y, passes.run(trial.target), stays):
        unchecked.append(
            f"rows were not compared: '{model.name}' is random in a way that cannot be held"
        )
        return ""
    run_plainly = lambda inputs: passes.run_plainly(trial.target.given(inputs))  # noqa: E731
    order = _order(trial)
    if order is not None and not rows.changed(trial.y, passes.run(mixed.target), stays):
        return rows.placed(model, run_plainly, trial.probe.inputs, order)
    raise rows.coupled(model, run_plainly, trial.probe, trial.target.fold)


def _check_state(trial, unchecked):
    """The nodes of a sub-graph also run in the outer graph, before the derivative."""
    if not isinstance(trial.target.model, SubGraph) or not trial.updates:
        return
    scope = keras.StatelessScope(trial.updates)
    scope.state_mapping = get_stateless_scope().state_mapping | scope.state_mapping
    with scope:
        after = passes.run(trial.target)
    if rows.changed(trial.y, after, ...):
        paths = dict.fromkeys(f"'{variable.path}'" for variable, _ in trial.updates)
        name = trial.target.model.outputs[0].name
        unchecked.append(MOVED.format(name=name, variables=", ".join(paths)))


def _slopes(trial, steps, order):
    """The gradient of the rows that do not stay, by all rows."""
    target, y = trial.target, trial.y
    others = trial.probe.roles != "stays"
    others = others.reshape(-1, *[1] * (len(y.shape) - 1))
    cotangent = keras.ops.ones_like(y) * keras.ops.convert_to_tensor(others, dtype=y.dtype)
    try:
        return trial.pull(cotangent)
    except backend.NO_GRADIENT as error:
        raise without_gradient(error, target.model, steps, 1) from error
    except ValueError as error:
        raise ValueError(" ".join([str(error), *notes(target.model, steps, order)])) from None


def _check_slopes(trial, slopes):
    """The rows that stay have no part in the gradient of the others."""
    stays = trial.probe.rows("stays")
    for slope in map(rows.numpy, slopes):
        if not len(stays) or len(slope) != len(trial.probe.roles) or not np.all(np.isfinite(slope)):
            continue
        if np.max(np.abs(slope[stays])) > rows.tolerance(slope) * np.max(np.abs(slope)):
            run = lambda inputs: passes.run_plainly(trial.target.given(inputs))  # noqa: E731
            raise rows.coupled(trial.target.model, run, trial.probe.reversed, trial.target.fold)


def check_lost(model, steps):
    lost = places(model, steps, backend.LOST)
    if lost:
        raise ValueError(
            f"A derivative needs operations that {backend.FRAMEWORK} can differentiate. Received: "
            f"{lost} on the way from the inputs to the output: what passes there would be missing. "
            f"Write it in `keras.ops`, or give it a gradient with `keras.ops.custom_gradient`."
        )


def _first_line(error):
    """What an error says, without the frame that Keras puts around it."""
    lines = [re.sub(r"\x1b\[\d+m", "", line).strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception encountered")]
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"

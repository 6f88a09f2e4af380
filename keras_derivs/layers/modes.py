"""Training and inference mode of a derivative, and what a pass in training mode leaves behind."""

import contextlib
import warnings
from dataclasses import dataclass, replace

from keras_derivs import audit
from keras_derivs.backend import stateless
from keras_derivs.engine.terms import single_terms
from keras_derivs.graph import SubGraph, losses
from keras_derivs.graph.private import get_global_attribute

SEPARATE = (
    "the value and this derivative are computed in separate passes, with different random "
    "numbers. Take both from one pass with `return_value=True`"
)
OF_INFERENCE = (
    "in a training call, the value that `return_value=True` (or the term `()`) returns is that of "
    "inference, because `training=False`. Give `training=None` for the mode of each call"
)

HELD = (
    "this model draws random numbers in inference, too. With `training=False` a derivative leaves "
    "their generator where it is, and so has the same numbers at each call. Give `training=None` "
    "for new ones, as the model itself draws them"
)


@dataclass(frozen=True)
class Mode:
    """The mode of a derivative, and that of the call (or `None`) that it is computed in."""

    training: bool
    called: bool | None
    explicit: tuple = ()  # layers of the sub-graph that such a call leaves in training mode


def of_call(layer, called):
    """The mode of a derivative layer in a call in training mode, in inference, or without one."""
    explicit = _explicit(layer.model) if called is None else ()
    training = called or bool(explicit) if layer.training is None else layer.training
    return Mode(bool(training), called, explicit)


def _explicit(model):
    nodes = model.nodes if isinstance(model, SubGraph) else ()
    return tuple(node.operation for node in nodes if node.arguments.kwargs.get("training"))


@contextlib.contextmanager
def contained():
    """Layers that are called later in an outer call are in its mode, not in that of a derivative.

    In Keras a mode that a layer is given holds for all that follow.
    """
    context = get_global_attribute("current_call_ctx")
    training = context and context.get_value("training")
    try:
        yield
    finally:
        if context:
            context.set_value("training", training)


def leaves_trace(layer, training, called=None):
    """Whether a pass of the layer moves states and counts penalties, as a call of the model."""
    if isinstance(layer.model, SubGraph):
        return training and not called
    return training or layer.training is None


@contextlib.contextmanager
def applied(layer, mode):
    """Update the state of the model as one pass does, in training mode or in that of the call.

    The nodes of a sub-graph stand in the outer graph, too, where they update it themselves.
    """
    if not leaves_trace(layer, mode.training, mode.called):
        yield
        return
    with losses.without_marks(layer.model), stateless.of_first_pass() as seen:
        yield
    done = [variable for trained in mode.explicit for variable in trained.variables]
    seen.apply(layer, excluded=done)


def warn(layer, plan, mode):
    """Say once where value and derivative are not of one function."""
    value = layer.return_value or () in single_terms(getattr(layer, "chosen_terms", ()))
    if mode.called and value and not mode.training and OF_INFERENCE not in layer.told:
        layer.told.add(OF_INFERENCE)
        if audit.differs_in_training(replace(plan.target, training=False)):
            _warn(layer, OF_INFERENCE)
    held = layer.training is False and not isinstance(layer.model, SubGraph)
    if held and plan.findings.seeded and HELD not in layer.told:
        layer.told.add(HELD)
        if audit.varies_with_seeds(replace(plan.target, training=False)):
            _warn(layer, HELD)
    asked = mode.training or layer.audit  # without an audit, it is not known what is random
    separate = asked and not value and isinstance(layer.model, SubGraph)
    if separate and plan.findings.random and SEPARATE not in layer.told:
        layer.told.add(SEPARATE)
        _warn(layer, SEPARATE)


def _warn(layer, text):
    warnings.warn(f"'{layer.name}' of '{layer.model.name}': {text}.", stacklevel=4)

"""Try a model on a few random rows before its derivatives are trusted."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras

from keras_derivs import backend
from keras_derivs.audit import cache, memory, twice
from keras_derivs.audit.cache import planned
from keras_derivs.audit.examination import (
    Findings,
    check_lost,
    examine,
)
from keras_derivs.audit.second_differences import check_second_differences, may_lack
from keras_derivs.graph import losses, private
from keras_derivs.graph.saving import in_sharing_scope

__all__ = ["OFF", "Findings", "check", "differs_in_training", "eagerly", "planned", "postponed",
           "too_large", "varies_with_seeds"]  # fmt: skip

OFF = (
    "not audited (`audit=False`): it is not checked that rows are independent, that a gradient "
    "reaches the inputs, or that no part of the derivative is lost"
)
NOT_INSIDE = (
    "'{name}' has a gradient of its own that cannot be traced: whether parts of its second "
    "derivative are lost is not known"
)


def check(target, order, coupled=False):
    """The `Findings` on a model, for derivatives up to `order`; `target` holds specs.

    Raises unless rows are independent (or `coupled` allows that they are not) and do not count
    their place where copies of the batch may be used, a gradient reaches each of the inputs `wrt`,
    and no part of the derivative is lost. A model is examined once.
    """
    found = _once(target, (*_key(target), coupled), examine, order, coupled)
    if found.placed and (order > 1 or found.num_entries > 1):
        raise ValueError(found.placed)
    if order == 1:
        return found
    if found.inside is None:
        note = NOT_INSIDE.format(name=target.model.name)
        found = replace(found, notes=(*found.notes, note))
    inside = found.inside or ()
    check_lost(target.model, inside)
    found = replace(found, steps=[*found.steps, *inside])
    if may_lack(found.steps):
        _once(target, (*_key(target), coupled, "second"), check_second_differences, found.steps)
    return found


def postponed():
    """Whether a file is being loaded: its models are audited when they are first used."""
    return in_sharing_scope()


def too_large(target):
    """Whether the model takes too much memory to be tried on two rows."""
    return memory.of_specs(target.model, 2) > memory.MOST_BYTES


def differs_in_training(target):
    """Whether a model computes something else in training mode, or changes its state there."""
    return _once(target, (*_key(target), "modes"), twice.differs_in_training)


def varies_with_seeds(target):
    """Whether the random numbers that a model draws in inference reach its output."""
    return _once(target, (*_key(target), "seeds"), twice.varies_with_seeds)


def _once(target, key, function, *args):
    def find():
        with losses.keeping_losses(target.model):  # of the call that this stands in
            return eagerly(function, target, *args)

    return cache.found(target.model, key, find)


def _key(target):
    paths = tuple(path for path, _ in keras.tree.flatten_with_path(target.structure))
    specs = tuple((tuple(x.shape), str(x.dtype)) for x in target.inputs)
    return paths, specs, target.wrt, target.output, target.training, target.fold


def eagerly(function, *args):
    """Call a function eagerly, also while a graph is being built or differentiated."""
    if not (backend.tracing() or private.in_stateless_scope()):
        return function(*args)
    with ThreadPoolExecutor(1) as thread:  # a thread of its own builds no graph, and has no scope
        return thread.submit(function, *args).result()

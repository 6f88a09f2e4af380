"""What a pass through a model must leave as it was."""

import collections
import contextlib

from keras_derivs.engine.taylor.symbols import Symbol
from keras_derivs.graph import private


@contextlib.contextmanager
def scope(model):
    """Inference mode for the layers inside, and no trace of symbols on them or on Keras's names.

    Names and the context of a call belong to a thread. Attributes do not, so only those are
    restored that a layer set to a symbol.
    """
    names = _names()
    before, call_context = dict(names), private.get_global_attribute("current_call_ctx")
    parts = [(part, dict(vars(part))) for part in private.layers_of(model)]
    inference = private.CallContext(entry_layer=model)
    inference.set_value("training", False)
    private.set_global_attribute("current_call_ctx", inference)
    try:
        yield
    finally:
        private.set_global_attribute("current_call_ctx", call_context)
        names.clear()
        names.update(before)
        for part, attributes in parts:
            _restore(part, attributes)


def _names():
    """Keras's counts of the names it gave, in this thread."""
    default = collections.defaultdict(int)
    return private.get_global_attribute("object_name_uids", default, set_to_default=True)


def _restore(part, attributes):
    for name, value in list(vars(part).items()):
        if not _holds(value):
            continue
        if name in attributes and attributes[name] is not value:
            part.__dict__[name] = attributes[name]
        elif not _empty(value):
            del part.__dict__[name]


def _empty(container):
    """Take the symbols out of a list or a dict that was there before."""
    if isinstance(container, dict):
        for key in [key for key, value in container.items() if _holds(value)]:
            del container[key]
    elif isinstance(container, list):
        container[:] = [value for value in container if not _holds(value)]
    return isinstance(container, (dict, list))


def _holds(value):
    """Whether an attribute is a symbol or a container with one; its keys may be anything."""
    if isinstance(value, dict):
        return any(map(_holds, value.values()))
    if isinstance(value, (list, tuple, set)):
        return any(map(_holds, value))
    return isinstance(value, Symbol)

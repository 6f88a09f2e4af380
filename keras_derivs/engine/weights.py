"""Create the weights of a model that has none yet."""

import contextlib
import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.graph.losses import clear_losses
from keras_derivs.graph.private import in_stateless_scope

UNKNOWN_LENGTH = 4
_plain = keras.Variable.__init__
_plain = getattr(_plain, "__wrapped__", _plain)  # so that the module may be loaded again
_local, _lock, _threads = threading.local(), threading.Lock(), []


def create(model, structure, specs):
    """Call a model that was not built once, on two rows, wherever the caller stands.

    Weights can be made neither while a graph is traced nor in a stateless scope. A thread of its
    own knows of neither, and lets a model that takes derivatives itself do so.
    """
    if model.built:
        return
    if not (backend.tracing() or in_stateless_scope()):
        _call(model, structure, specs)
        return
    policy, scope = keras.config.dtype_policy(), backend.weights_scope()

    def call():
        keras.config.set_dtype_policy(policy)  # of this thread
        with scope():
            _call(model, structure, specs)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(call).result()


def _call(model, structure, specs):
    random = np.random.default_rng(0)
    inputs = [_values(random, spec) for spec in specs]
    before = [(v, keras.ops.convert_to_numpy(v)) for v in _moving(model)]
    with _made() as made:
        model(keras.tree.pack_sequence_as(structure, inputs), training=False)
    kept = {id(variable) for variable in _moving(model)}
    for variable, value in [*before, *made]:
        changed = not np.array_equal(keras.ops.convert_to_numpy(variable), value)
        if changed and id(variable) in kept:
            variable.assign(value)
    clear_losses(model)


def _moving(model):
    """The variables that a call may move: states, counters, metrics."""
    return [*model.non_trainable_variables, *model.metrics_variables]


@contextlib.contextmanager
def _made():
    """The variables that are made meanwhile in this thread, each with its first value."""
    outer, _local.made = getattr(_local, "made", None), []
    try:
        with _recorded():
            yield _local.made
    finally:
        _local.made = outer


@contextlib.contextmanager
def _recorded():
    """New variables go to the lists of their threads, while any thread is in here."""
    with _lock:
        _threads.append(None)
        if len(_threads) == 1:
            keras.Variable.__init__ = _record
    try:
        yield
    finally:
        with _lock:
            _threads.pop()
            if not _threads:
                keras.Variable.__init__ = _plain


@functools.wraps(_plain)
def _record(variable, *args, **kwargs):
    _plain(variable, *args, **kwargs)
    made = getattr(_local, "made", None)
    if made is not None:
        with contextlib.suppress(Exception):  # one that has its value later
            made.append((variable, keras.ops.convert_to_numpy(variable)))


def _values(random, spec):
    """Two rows inside the domain of a logarithm and a root."""
    shape = (2, *(UNKNOWN_LENGTH if n is None else n for n in spec.shape[1:]))
    values = random.uniform(0.1, 0.9, shape)
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(spec.dtype)):
        values = np.zeros(shape)
    return keras.ops.convert_to_tensor(values, dtype=spec.dtype)

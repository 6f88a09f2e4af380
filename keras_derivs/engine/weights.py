"""Create the weights of a model that has none yet."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.graph.private import in_stateless_scope

UNKNOWN_LENGTH = 4


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
    before = [(v, keras.ops.convert_to_numpy(v)) for v in model.non_trainable_variables]
    model(keras.tree.pack_sequence_as(structure, inputs), training=False)
    for variable, value in before:
        if not np.array_equal(keras.ops.convert_to_numpy(variable), value):
            variable.assign(value)


def _values(random, spec):
    """Two rows inside the domain of a logarithm and a root."""
    shape = (2, *(UNKNOWN_LENGTH if n is None else n for n in spec.shape[1:]))
    values = random.uniform(0.1, 0.9, shape)
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(spec.dtype)):
        values = np.zeros(shape)
    return keras.ops.convert_to_tensor(values, dtype=spec.dtype)

"""Whether polynomials can be propagated through a model: one trial on two rows."""

import keras
import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.engine.neighbours import rounding_of
from keras_derivs.engine.target import Target
from keras_derivs.engine.taylor.rules import OtherValues, UnsupportedOperation
from keras_derivs.engine.taylor.space import Space
from keras_derivs.engine.taylor.strategies import propagate
from keras_derivs.graph import private


def supported(model, structure=None, specs=None, wrt=None, output=0, fold=None):
    """`None` if polynomials can be propagated through a model, else what stands in the way.

    Tried on two random rows, with infinitesimals on the inputs `wrt` (all of them by default),
    where the value of the polynomial must be what the model itself returns. `structure` and
    `specs` are the model's inputs, nested and flat, `output` the flat output; of a `fold` they
    have the trial's number of rows.
    """
    specs = keras.tree.flatten(model.inputs) if specs is None else specs
    structure = private.tree_of_inputs(model, specs) if structure is None else structure
    wrt = tuple(n for n, x in enumerate(specs) if _is_float(x)) if wrt is None else tuple(wrt)
    random = np.random.default_rng(0)
    inputs = [_probe(random, spec, 2 if fold is None else spec.shape[0]) for spec in specs]
    target = Target(model, structure, inputs, wrt, output, fold=fold)
    moves = {k: {(0,): ops.ones_like(x)} for k, x in enumerate(target.xs)}
    try:
        found = propagate(target, Space([(0,)]), moves).value
        if not _agree(found, _own_value(target)):
            return OtherValues(f"'{model.name}', which computes otherwise on polynomials")
    except UnsupportedOperation as error:
        return error.told
    except Exception as error:  # whatever it is: the tape is the engine for this model
        return f"'{model.name}', which fails with {type(error).__name__}"
    return None


def _own_value(target):
    inputs = keras.tree.pack_sequence_as(target.structure, target.given_to_model)
    with backend.scope(target.model):
        outputs = target.model(inputs, training=False)
    return target.seen(keras.tree.flatten(outputs)[target.output])


def _agree(found, expected):
    """Whether two values are the same but for rounding."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    rounding = min(1e4 * rounding_of(found.dtype), 0.1)
    found, expected = (ops.convert_to_numpy(y).astype("float64") for y in (found, expected))
    scale = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    return np.allclose(found, expected, rtol=0, atol=rounding * scale, equal_nan=True)


def _probe(random, spec, rows):
    """So many rows inside the domain of a logarithm and a root."""
    values = random.uniform(0.1, 0.9, (rows, *(4 if n is None else n for n in spec.shape[1:])))
    values = values if _is_float(spec) else np.zeros(values.shape)
    return ops.convert_to_tensor(values, dtype=spec.dtype)


def _is_float(spec):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(spec.dtype))

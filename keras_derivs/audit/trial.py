"""A run of a model on a probe: on how many rows, and with which weights."""

import contextlib
from dataclasses import dataclass

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.audit import rows
from keras_derivs.audit.probe import MAGNITUDES, probe
from keras_derivs.backend import stateless
from keras_derivs.engine.reverse import passes
from keras_derivs.graph.private import without_value

_, POSITIVE, _ = MAGNITUDES


@dataclass(frozen=True)
class Trial:
    """A run of the model on a probe, and whether it drew random numbers."""

    target: object
    probe: object
    y: object
    pull: object  # from a cotangent to the gradient for each x
    random: bool
    seeded: bool
    effects: bool  # it moved a state, also of seeds, or counted a penalty
    updates: tuple = ()  # of variables, with their values, but not of seeds

    @property
    def finite(self):
        return np.all(np.isfinite(rows.numpy(self.y)))


def sizes_of(specified, sizes):
    fixed = {specified.inputs[position].shape[0] for position in specified.wrt} - {None}
    return list(fixed) or sizes


def attempts(sizes):
    """(rows, magnitude, number in integer inputs), the likeliest first."""
    for k, num_rows in enumerate(sizes):
        if k == 0:
            yield from ((num_rows, magnitude, 1) for magnitude in MAGNITUDES)
        yield from ((num_rows, POSITIVE, whole) for whole in (0, 1))


def probe_of(specified, wrt, num_rows, magnitude, whole=1):
    shared = specified.fold is not None and specified.fold.shared
    return probe(
        specified.inputs, wrt, num_rows, magnitude, whole, specified.wrt if shared else None
    )


def run(target, made):
    with stateless.of_first_pass() as seen:
        y, pull = passes.value(target)
    updates = tuple(u for u in seen.updates or () if u[0].name != stateless.SEED)
    effects = bool(seen.updates or seen.losses)
    random = seen.random or backend.drawn()
    return Trial(target, made, y, pull, random, seen.random, effects, updates)


@contextlib.contextmanager
def nonzero_weights(model):
    """Weights that are all zero hide what is behind them: give them other values.

    So do weights whose values Keras took away, as on JAX while a model is trained.
    """
    random, scope = np.random.default_rng(0), stateless.going_on(keras.StatelessScope())
    for variable in model.variables:
        with contextlib.suppress(Exception):  # such as one that is not there yet
            if id(variable) not in scope.state_mapping and _hides(variable):
                values = random.uniform(0.05, 0.15, variable.shape)
                values = keras.ops.convert_to_tensor(values, dtype=variable.dtype)
                scope.state_mapping[id(variable)] = values
    with scope:
        yield


def _is_float(variable):
    return keras.backend.is_float_dtype(variable.dtype)


def _hides(variable):
    if without_value(variable):
        return True
    return _is_float(variable) and not np.any(rows.numpy(variable.value))

"""One model, run twice on the same rows: in two modes, or with two seeds."""

import contextlib
import functools
from dataclasses import replace

import keras

from keras_derivs import backend
from keras_derivs.audit import rows
from keras_derivs.audit.trial import attempts, probe_of, sizes_of
from keras_derivs.backend import stateless
from keras_derivs.engine.reverse import passes

SIZES = (2, 8, 3, 4, 16, 1)


def differs_in_training(specified):
    """Whether the model computes something else in training mode, or changes its state."""
    return _differs(specified, (False, contextlib.nullcontext), (True, contextlib.nullcontext))


def varies_with_seeds(specified):
    """Whether the random numbers that the model draws in inference reach its output."""
    other_seeds = functools.partial(_other_seeds, specified)  # entered anew at every attempt
    return _differs(specified, (False, contextlib.nullcontext), (False, other_seeds))


def _differs(specified, *runs):
    for num_rows, magnitude, whole in attempts(sizes_of(specified, SIZES)):
        made = probe_of(specified, (), num_rows, magnitude, whole)
        target = specified.given(made.inputs)
        with contextlib.suppress(Exception), backend.held():
            (y, count), (z, more) = (_run(target, *one) for one in runs)
            return more != count or rows.changed(y, z, ...)
    return False


def _run(target, training, scope):
    with scope(), stateless.of_first_pass() as seen:
        return passes.run(replace(target, training=training)), len(seen.updates)


@contextlib.contextmanager
def _other_seeds(specified):
    scope = stateless.going_on(keras.StatelessScope())
    for variable in specified.model.variables:
        if variable.name == stateless.SEED:
            value = keras.ops.convert_to_tensor(variable.value) + 1
            scope.state_mapping[id(variable)] = value
    with scope:
        yield

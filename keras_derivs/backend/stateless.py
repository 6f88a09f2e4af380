"""Run a model without a trace in its state, or with that of one pass."""

import contextlib
import threading

import keras

from keras_derivs.graph.private import get_stateless_scope, in_stateless_scope

SEED = "seed_generator_state"  # the name of the variable of a `SeedGenerator`
_OF_JAX = keras.backend.backend() == "jax"
_local = threading.local()


class Effects:
    """The updates of variables and the losses of one pass."""

    def __init__(self):
        self.updates, self.losses = None, []

    @property
    def random(self):
        """Whether the pass drew random numbers with a `SeedGenerator`."""
        return any(variable.name == SEED for variable, _ in self.updates or ())

    def apply(self, layer, excluded=()):
        """Update the variables, save the `excluded` ones, and give the losses to a layer."""
        for variable, value in self.updates or ():
            if not any(variable is other for other in excluded):
                variable.assign(value)
        for loss in self.losses:
            layer.add_loss(loss)


class _Scope(keras.StatelessScope):
    """Remembers which variables were assigned."""

    def __init__(self, collect_losses):
        super().__init__(collect_losses=collect_losses)
        self.updates = {}

    def add_update(self, update):
        variable, value = update
        self.updates[id(variable)] = update
        super().add_update((variable, _followed(variable, value)))


def _followed(variable, value):
    """A new value of a weight, whose gradient is one of the weight, as where it is assigned to.

    JAX computes all calls of a model in such a scope, where the gradient is that of the old value.
    """
    if not (variable.trainable and keras.backend.is_float_dtype(variable.dtype)) or _OF_JAX:
        return value
    before = keras.ops.convert_to_tensor(variable.value)
    return before + keras.ops.stop_gradient(keras.ops.cast(value, before.dtype) - before)


def going_on(scope):
    """A new scope with the values that an enclosing one gives."""
    if in_stateless_scope():
        scope.state_mapping.update(get_stateless_scope().state_mapping)
    return scope


@contextlib.contextmanager
def stateless():
    """No update of any variable, seed or loss; values that an enclosing scope gives go on."""
    effects, _local.effects = getattr(_local, "effects", None), None
    scope = going_on(_Scope(effects is not None))
    try:
        with scope:
            yield
    finally:
        _local.effects = effects
    if effects is not None and effects.updates is None:
        effects.updates, effects.losses = list(scope.updates.values()), scope.losses


def new_values():
    """The values that the effects of the first pass hold: updates and losses."""
    effects = getattr(_local, "effects", None)
    if effects is None or effects.updates is None:
        return None
    return [value for _, value in effects.updates], effects.losses


def renew(values):
    """Put what `new_values` returned, and a framework passed on, in the place of what it was."""
    if values is not None:
        updates, _local.effects.losses = values
        pairs = zip(_local.effects.updates, updates)
        _local.effects.updates = [(variable, value) for (variable, _), value in pairs]


@contextlib.contextmanager
def of_first_pass():
    """The `Effects` that the first pass inside would have had."""
    outer, _local.effects = getattr(_local, "effects", None), Effects()
    try:
        yield _local.effects
    finally:
        _local.effects = outer


@contextlib.contextmanager
def unless_it_fails():
    """A pass that fails has had no effects: those that it left would be values of its trace."""
    effects = getattr(_local, "effects", None)
    before = effects and (effects.updates, effects.losses)
    try:
        yield
    except Exception:
        if effects:
            effects.updates, effects.losses = before
        raise


@contextlib.contextmanager
def without_effects():
    """A pass before the one that counts."""
    effects, _local.effects = getattr(_local, "effects", None), None
    try:
        yield
    finally:
        _local.effects = effects

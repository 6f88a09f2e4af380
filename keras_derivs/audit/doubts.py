"""What a derivative rests on that the tests of this package have not compared."""

from keras_derivs import backend
from keras_derivs.audit.notes import place, places
from keras_derivs.backend.verified import VERIFIED
from keras_derivs.engine.choose import TAPE
from keras_derivs.engine.taylor.rules import find
from keras_derivs.graph import private

COMPARED = 4  # the order up to which operations are compared, see docs/operations.md
UNVERIFIED = (
    "Not verified: {places}. No test of this package compares this derivative of the operation "
    "with its true one. Check the model with `keras_derivs.verify`."
)
GIVEN = "Taken as it is: {places}, which the model brings with it. `keras_derivs.verify` checks it."


def unverified(model, steps, order, choice):
    """A sentence on the operations on the way that are in no table, for a warning."""
    if choice.strategy not in TAPE:
        return ()
    least = min(order, COMPARED)
    told = {
        *backend.STOPPED,
        *backend.FLAT,
        *backend.LOST,
        *backend.AT_ZERO,
        *backend.ESTIMATED,
    }  # of these other notes tell
    known = {name for name, order in VERIFIED.items() if order >= least}
    doubtful = [s for s in steps if not (s.own or known.issuperset(s.differentiated))]
    where = places(model, doubtful, {step.type for step in doubtful} - told)
    return (UNVERIFIED.format(places=where),) if where else ()


def given(model, steps, choice):
    """A sentence for `explain()` on gradients and rules of the user's own."""
    if choice.strategy in TAPE:
        own = [step for step in steps if step.own and step.on_the_way]
        found = [place(model, step, "the gradient of ") for step in own]
    else:
        parts = [*private.layers_of(model), *getattr(model, "operations", [])]
        found = [
            f"the Taylor rule of '{part.name}' (of type {type(part).__name__})"
            for part in parts
            if _has_own_rule(part)
        ]
    return (GIVEN.format(places=", ".join(dict.fromkeys(found))),) if found else ()


def _has_own_rule(operation):
    rule = find(operation)
    return rule is not None and not str(rule.__module__).startswith("keras_derivs.")

"""Kinks of a model that may cancel each other, in words."""

import keras

from keras_derivs.audit.notes import places
from keras_derivs.graph import is_derivative, private

CANCELLING = (
    "Kinks at the same inputs: {places}. Where they meet, each has the derivative of one side, or "
    "the mean of both, and the result is wrong if they cancel there, as in `maximum(x, y) * "
    "minimum(x, y)`. Write such a function without kinks, or use inference mode, where they are "
    "compared with neighbours."
)
COMPARED = (
    "Kinks that may cancel: {places}. Derivatives are compared with those at three neighbours, at "
    "four times the cost"
)


def cancelling(model, steps, order):
    """The places of kinks that may make derivatives of this order wrong; nothing if there are none.

    Those of a derivative inside of the model are differentiated at least once more. The kink of
    `PReLU` at zero is by convention.
    """
    layers = private.layers_of(model)
    inner = {part.name for part in layers if is_derivative(part)}
    known = {part.name for part in layers if isinstance(part, keras.layers.PReLU)}
    found = [
        step
        for step in steps
        if step.cancels
        and step.cancels <= order + bool(inner & set(step.scopes))
        and not known & set(step.scopes)
    ]
    return places(model, found, {step.type for step in found})

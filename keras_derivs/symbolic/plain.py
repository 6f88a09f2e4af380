"""Whether a tensor and the value of it that a derivative computes are always the same."""

import keras

from keras_derivs import graph
from keras_derivs.graph import private

# Their `call` takes the mode for float8 alone, of which no derivative is taken.
SAME_IN_TRAINING = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding)


def is_plain(y, sub_graph):
    """Whether a derivative's value of `y` may replace it: as in training, and without a mask."""
    return private.mask_of(y) is None and not any(
        _trains_otherwise(layer) for layer in private.layers_of(sub_graph) if layer is not sub_graph
    )


def _trains_otherwise(layer):
    """Whether a layer may behave otherwise in training, keep a state or add to the loss."""
    if isinstance(layer, (keras.Sequential, graph.SubGraph)) or private.is_functional(layer):
        return False  # its layers tell
    unknown = not type(layer).__module__.startswith("keras.")
    penalty = isinstance(layer, keras.layers.ActivityRegularization)
    penalty = penalty or getattr(layer, "activity_regularizer", None) is not None
    mode = private.may_train_otherwise(layer) and not isinstance(layer, SAME_IN_TRAINING)
    return unknown or penalty or mode or bool(layer.non_trainable_variables)

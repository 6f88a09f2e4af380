"""What a model tells of its shapes, and of the rows that it is made for."""

import itertools

import keras

from keras_derivs.backend.wide import wide
from keras_derivs.engine import weights
from keras_derivs.layers import calls


def specs(model, shapes, dtype):
    """Shapes, in their structure, as specs of the inputs of a model."""
    declared = [x.dtype for x in getattr(model, "inputs", None) or []]
    dtypes = itertools.chain(declared, itertools.repeat(dtype))
    return keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor(shape, dtype=next(dtypes)), shapes
    )


def outputs(layer, inputs):
    """The outputs of a model for inputs of these shapes, as specs in their structure.

    It is not run unless it has to be built first.
    """
    flat = keras.tree.flatten(inputs)
    specs = [keras.KerasTensor((None, *x.shape[1:]), dtype=x.dtype) for x in flat]
    calls.check_shapes(inputs, layer.model, layer.name)
    return described_or_built(layer.model, inputs, specs)


def described_or_built(model, inputs, specs):
    """The specs of the outputs of a model that is built first if it cannot tell them before."""
    try:
        return described(model, inputs, specs)
    except Exception:
        if model.built:
            raise
        weights.create(model, inputs, specs)
        return described(model, inputs, specs)


def described(model, inputs, specs):
    with wide():  # as in the passes
        return model.compute_output_spec(keras.tree.pack_sequence_as(inputs, specs))


def batches(model, specs, flat):
    """The specs with the batches that a model is made for, where it is made for one."""
    beyond = beyond_one(model, flat)
    return [
        spec if n in beyond else keras.KerasTensor((batch, *spec.shape[1:]), dtype=spec.dtype)
        for n, (batch, spec) in enumerate(zip(_declared(model, specs), specs))
    ]


def _declared(model, flat):
    declared = keras.tree.flatten(getattr(model, "inputs", None) or [])
    return [x.shape[0] for x in declared] if len(declared) == len(flat) else [None] * len(flat)


def beyond_one(model, flat):
    """The numbers of the inputs that are made for one row and may get more: Keras allows it."""
    pairs = zip(_declared(model, flat), flat)
    return tuple(n for n, (batch, x) in enumerate(pairs) if batch == 1 != x.shape[0])

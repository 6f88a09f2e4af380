"""A graph once more, in which some tensors are replaced."""

import keras

from keras_derivs.graph import private
from keras_derivs.symbolic.between import BetweenTensors


def run(node, known):
    """Call an operation again if something that it is called on was replaced.

    `known` is {id of a tensor: the one in its place}.
    """
    if not any(id(x) in known for x in node.input_tensors) or id(node.outputs[0]) in known:
        return
    operation = node.operation
    if isinstance(operation, BetweenTensors):
        operation = type(operation).from_config(operation.get_config())
    args, kwargs = node.arguments.fill_in({id(x): known.get(id(x), x) for x in node.input_tensors})
    known.update(zip(map(id, node.outputs), keras.tree.flatten(operation(*args, **kwargs))))


def model_of(model, known):
    """The model with the tensors in their places."""
    outputs = private.tree_of_outputs(model)
    outputs = keras.tree.map_structure(lambda y: known.get(id(y), y), outputs)
    return keras.Model(private.tree_of_inputs(model), outputs, name=model.name)

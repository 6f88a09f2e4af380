"""Rules of cross-entropies, of targets and outputs that may both depend on the inputs."""

import keras
from keras import ops

from keras_derivs.engine.taylor.rules_formulas import formula
from keras_derivs.graph.private import nn


def _clipped(output):
    epsilon = keras.backend.epsilon()
    return ops.clip(output, epsilon, 1 - epsilon)


@formula(nn.CategoricalCrossentropy)
def categorical_crossentropy(operation, target, output):
    axis = operation.axis
    if operation.from_logits:
        logarithm = ops.log_softmax(output, axis=axis)
    else:
        logarithm = ops.log(_clipped(output / ops.sum(output, axis=axis, keepdims=True)))
    return -ops.sum(target * logarithm, axis=axis)


@formula(nn.SparseCategoricalCrossentropy)
def sparse_categorical_crossentropy(operation, target, output):
    """Of probabilities, Keras takes the logarithms for logits."""
    logits = output if operation.from_logits else ops.log(_clipped(output))
    target = ops.convert_to_tensor(target)
    if len(target.shape) == len(output.shape):
        target = ops.squeeze(target, axis=-1)
    chosen = ops.one_hot(target, output.shape[-1], dtype=output.dtype)
    return -ops.sum(chosen * ops.log_softmax(logits, axis=-1), axis=-1)


@formula(nn.BinaryCrossentropy)
def binary_crossentropy(operation, target, output):
    if operation.from_logits:
        return ops.softplus(output) - target * output
    output = _clipped(output)
    return -(target * ops.log(output) + (1 - target) * ops.log(1 - output))

"""Rules of cross-entropies, of targets and outputs that may both depend on the inputs.

On TensorFlow, Keras computes them from what the sigmoid or softmax was given that made the output.
"""

import functools

import keras
from keras import ops

from keras_derivs import backend
from keras_derivs.engine.taylor import (  # noqa: F401 (their rules are taken further)
    rules_elementwise,
    rules_reductions,
)
from keras_derivs.engine.taylor.propagate import call
from keras_derivs.engine.taylor.rules import RULES, taylor_rule, values
from keras_derivs.engine.taylor.shapes import fit
from keras_derivs.graph.private import nn

PROBABILITIES = nn.Sigmoid, nn.Softmax


def _remembering(rule):
    @functools.wraps(rule)
    def remembering(operation, x):
        y = rule(operation, x)
        y.logits = x
        return y

    return remembering


if backend.FRAMEWORK == "TensorFlow":
    RULES.update({cls: _remembering(RULES[cls]) for cls in PROBABILITIES})


def cross_entropy(cls):
    """Register `function(operation, from_logits, target, output)`."""

    def register(function):
        @taylor_rule(cls)
        def rule(operation, target, output):
            logits = getattr(output, "logits", None)
            if logits is not None:
                return call(functools.partial(function, operation, True), target, logits)
            chosen = functools.partial(function, operation, operation.from_logits)
            result = call(chosen, target, output)
            return fit(result, operation.call(*values([target, output])))

        return function

    return register


def _clipped(output):
    epsilon = keras.backend.epsilon()
    return ops.clip(output, epsilon, 1 - epsilon)


@cross_entropy(nn.CategoricalCrossentropy)
def categorical_crossentropy(operation, from_logits, target, output):
    axis = operation.axis
    if from_logits:
        logarithm = ops.log_softmax(output, axis=axis)
    else:
        logarithm = ops.log(_clipped(output / ops.sum(output, axis=axis, keepdims=True)))
    return -ops.sum(target * logarithm, axis=axis)


@cross_entropy(nn.SparseCategoricalCrossentropy)
def sparse_categorical_crossentropy(operation, from_logits, target, output):
    """Of probabilities, Keras takes the logarithms for logits."""
    logits = output if from_logits else ops.log(_clipped(output))
    target = ops.convert_to_tensor(target)
    if len(target.shape) == len(output.shape):
        target = ops.squeeze(target, axis=-1)
    chosen = ops.one_hot(target, output.shape[-1], dtype=output.dtype)
    return -ops.sum(chosen * ops.log_softmax(logits, axis=-1), axis=-1)


@cross_entropy(nn.BinaryCrossentropy)
def binary_crossentropy(operation, from_logits, target, output):
    if from_logits:
        return ops.softplus(output) - target * output
    output = _clipped(output)
    return -(target * ops.log(output) + (1 - target) * ops.log(1 - output))

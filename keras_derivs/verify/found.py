"""Derivatives of a problem by a strategy, each found once."""

import keras

from keras_derivs.engine.taylor.rules import UnsupportedOperation
from keras_derivs.layers.jacobian import Jacobian
from keras_derivs.layers.partials import Partials
from keras_derivs.verify.compare import as_numpy


def possible(problem, *strategies):
    """Those of the strategies that can differentiate the model."""
    those = []
    for strategy in strategies:
        try:
            found(problem, problem.pairs[0], strategy, 1)
            those.append(strategy)
        except UnsupportedOperation:
            continue
    return those


def found(problem, pair, strategy, order):
    """Derivatives by the two numbers s at s = 0 for the terms of that order, each found once."""
    key = (id(pair), strategy, order)
    if key not in problem.found:
        problem.found[key] = _found(problem, pair, strategy, order)
    return problem.found[key]


def terms(order):
    """The pure derivatives along both numbers and, from the second order, a mixed one."""
    mixed = (0,) * (order - 1) + (1,)
    return [(0,) * order, (1,) * order, *([mixed] if order > 1 else [])]


def _found(problem, pair, strategy, order):
    arguments = [keras.ops.convert_to_tensor(x) for x in problem.arguments(pair)]
    if (strategy, order) not in problem.layers:
        if strategy == "forward":
            layer = Jacobian(problem.line, wrt=0, strategy=strategy)
        else:
            layer = Partials(problem.line, terms(order), wrt=0, strategy=strategy)
        problem.layers[strategy, order] = problem.runner(layer)
    y = problem.layers[strategy, order](arguments)
    if strategy == "forward":
        return [as_numpy(y[..., n]).reshape(len(y), -1) for n in range(2)]
    return [as_numpy(part).reshape(len(part), -1) for part in y]

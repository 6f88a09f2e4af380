"""Rows of a Jacobian on JAX, without what other entries of the output would bring into them.

A row is pulled back from a cotangent that is zero for the other entries. JAX multiplies these zeros
by slopes, which may be infinite: the row of sqrt(x_1) would be no number by x_2, where x_2 is 0. So
slopes are exchanged for zeros wherever nothing leads to the selected entries, by the operations of
the linear program that is transposed.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from keras_derivs.backend import reach
from keras_derivs.backend.jax.exact import BILINEAR, SELECTING, passed
from keras_derivs.backend.jax.recorded import Place, Program

NEUTRAL = {"div": 1, "mul": 0}


@dataclass(frozen=True)
class Selection:
    """A cotangent that is zero where nothing of the output is selected."""

    cotangent: Any


def without_others(function, xs, cotangent):
    """The linear `function(*xs)`, as it is pulled back from a cotangent of one tensor."""
    program = Program(function, *xs)
    (y,), slopes = program.outputs, _slopes(program)
    if not slopes or not isinstance(y, Place):
        return function
    plans = reach.plans(program.operations, {y: cotangent != 0}, _passed)
    if slopes.keys().isdisjoint(plans):
        return function

    def compute(number, operation, inputs):
        if number in plans and number in slopes:
            (mask,), factor = plans[number][1], slopes[number]
            neutral = jnp.asarray(NEUTRAL[_name(operation)], inputs[factor].dtype)
            inputs = list(inputs)
            inputs[factor] = jnp.where(mask, inputs[factor], neutral)
        return operation.bind(*inputs)

    return lambda *xs: program.results(program.run(jax.tree.leaves(xs), compute))


def _slopes(program):
    """{number of a product or quotient: position of what multiplies or divides in it}."""
    moving, found = set(program.inputs), {}
    for number, operation in enumerate(program.operations):
        moves = [x in moving for x in operation.keys]
        if any(moves):
            moving.update(operation.outputs)
        if _name(operation) in NEUTRAL and moves.count(True) == 1:
            factor = moves.index(False)
            if jnp.shape(operation.inputs[factor]) or operation.keys[factor] is not None:
                found[number] = factor
    return found


def _passed(operation, masks):
    """For each input where it takes part; a product with a matrix mixes all entries."""
    name, variables = _name(operation), operation.equation.invars
    if name in BILINEAR or (name not in SELECTING and all(mask is True for mask in masks)):
        return [True] * len(variables)
    with _at_once(variables):
        inputs = [
            jnp.zeros(y.aval.shape, y.aval.dtype) if isinstance(x, Place) else x
            for x, y in zip(operation.inputs, variables)
        ]
    return passed(name, operation, inputs, masks)


def _at_once(variables):
    """Compute constants now; not where lengths are unknown, as in a program for a file."""
    known = all(isinstance(n, int) for y in variables for n in y.aval.shape)
    return jax.ensure_compile_time_eval() if known else contextlib.nullcontext()


def _name(operation):
    return operation.equation.primitive.name

"""A function of JAX, taken apart into operations that can be run again."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.extend import core

from keras_derivs.backend.jax.formulas import FORMULAS, FUNCTIONS

INLINED = {"jit", "pjit", "closed_call"}


@dataclass(frozen=True)
class Operation:
    """One operation of a program, whose tensors are numbered; a constant stands for itself."""

    equation: core.JaxprEqn
    inputs: list
    outputs: list
    bind: Callable

    @property
    def keys(self):
        return [x if isinstance(x, Place) else None for x in self.inputs]

    def read(self, values):
        return [values[x] if isinstance(x, Place) else x for x in self.inputs]


class Program:
    """What a function does to its arguments, operation by operation."""

    def __init__(self, function, *arguments):
        closed, self.shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        self.operations, self.count = [], 0
        self.inputs = [self._new() for _ in closed.jaxpr.invars]
        known = dict(zip(closed.jaxpr.invars, self.inputs))
        self.outputs = self._flatten(closed.jaxpr, closed.consts, known)

    def _new(self):
        self.count += 1
        return Place(self.count)

    def _flatten(self, jaxpr, constants, known):
        """The numbers of the results; programs inside are taken apart."""
        known = {**known, **dict(zip(jaxpr.constvars, constants))}
        read = lambda x: x.val if isinstance(x, core.Literal) else known[x]  # noqa: E731
        for equation in jaxpr.eqns:
            inputs = [read(x) for x in equation.invars]
            if equation.primitive.name in INLINED:
                inner = equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"]
                within = dict(zip(inner.jaxpr.invars, inputs))
                outputs = self._flatten(inner.jaxpr, inner.consts, within)
            else:
                outputs = [self._new() for _ in equation.outvars]
                self.operations.append(Operation(equation, inputs, outputs, _bound(equation)))
            known.update(zip(equation.outvars, outputs))
        return [read(y) for y in jaxpr.outvars]

    def run(self, arguments, compute=lambda number, operation, inputs: operation.bind(*inputs)):
        """All numbers by their place; `compute` may do otherwise than an operation does."""
        values = dict(zip(self.inputs, arguments))
        for number, operation in enumerate(self.operations):
            outputs = compute(number, operation, operation.read(values))
            values.update(zip(operation.outputs, outputs))
        return values

    def results(self, values):
        found = [values[y] if isinstance(y, Place) else y for y in self.outputs]
        return jax.tree.unflatten(jax.tree.structure(self.shapes), found)


class Place(int):
    """The number of a tensor in a program."""


def _formula(equation):
    """What takes the place of an operation, or of a function of JAX; `None`: nothing."""
    if equation.primitive.name != "custom_jvp_call":
        return FORMULAS.get(equation.primitive.name)
    source = equation.params["call_jaxpr"].jaxpr.debug_info
    of_jax = (source.func_filename or "").startswith(os.path.dirname(jax.__file__))
    return FUNCTIONS.get(source.func_name) if of_jax else None


def _bound(equation):
    """What computes an operation: a list of results from its inputs."""
    primitive, formula = equation.primitive, _formula(equation)
    dtype = equation.outvars[0].aval.dtype if equation.outvars else None
    if formula and jnp.issubdtype(dtype, jnp.floating) and equation.invars[0].aval.dtype == dtype:
        return lambda *inputs: [formula(*(jnp.asarray(x, dtype) for x in inputs))]
    found = primitive.get_bind_params(equation.params)
    functions, params = found if isinstance(found, tuple) else ((), found)

    def bind(*inputs):
        with equation.ctx.manager:
            results = primitive.bind(*functions, *inputs, **params)
        return list(results) if primitive.multiple_results else [results]

    return bind

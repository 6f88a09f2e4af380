"""Run a program of JAX so that all its derivatives are exact.

What is not selected, by `where` for example, takes no part in a derivative: there the gradient
is zero, and JAX multiplies it by a slope that may be infinite or no number. So the program runs
twice: the first time tells what is selected, and in the second one element-wise operations meet a
harmless number wherever their result is not. A few operations have another derivative at kinks,
or lose digits far out, and are computed by formulas.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.extend import core

HARMLESS = 0.5  # in the domain of every function below
NONLINEAR = {
    "acos", "acosh", "add_any", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e",
    "bessel_i1e", "cbrt", "cos", "cosh", "digamma", "div", "erf", "erf_inv", "erfc", "exp", "exp2",
    "expm1", "igamma", "igammac", "integer_pow", "lgamma", "log", "log1p", "logistic", "mul",
    "pow", "rem", "rsqrt", "sin", "sinh", "sqrt", "square", "tan", "tanh", "elementwise",
}  # fmt: skip
COMPARISONS = {"and", "eq", "ge", "gt", "is_finite", "le", "lt", "ne", "not", "or", "stop_gradient"}
ADDITIVE = {"add", "sub", "neg", "copy", "copy_p", "convert_element_type", "real", "imag"}
ELEMENTWISE = NONLINEAR | ADDITIVE | {"abs", "max", "min", "sign", "select_n"}
PICKING = {
    "broadcast_in_dim", "concatenate", "cumsum", "expand_dims", "gather", "pad", "reduce_sum",
    "reshape", "rev", "slice", "split", "squeeze", "transpose",
}  # fmt: skip
INLINED = {"jit", "pjit", "closed_call"}


@dataclass(frozen=True)
class Operation:
    """One operation of a program, whose tensors are numbered; a constant stands for itself."""

    equation: core.JaxprEqn
    inputs: list
    outputs: list
    bind: Callable

    @property
    def name(self):
        return "elementwise" if _is_elementwise(self.equation) else self.equation.primitive.name

    @property
    def differentiable(self):
        return all(map(_is_float, self.equation.outvars))

    @property
    def decides(self):
        """Whether it has no derivative: a comparison of harmless numbers would select otherwise."""
        return not any(jnp.issubdtype(y.aval.dtype, jnp.inexact) for y in self.equation.outvars)


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

    def run(self, arguments, change=lambda operation, inputs: inputs):
        """All numbers by their place; `change` may exchange what an operation gets."""
        values = dict(zip(self.inputs, arguments))
        for operation in self.operations:
            inputs = [values[x] if isinstance(x, Place) else x for x in operation.inputs]
            outputs = operation.bind(*change(operation, inputs))
            values.update(zip(operation.outputs, outputs))
        return values


class Place(int):
    """The number of a tensor in a program."""


def exact(function, *arguments):
    """`function(*arguments)`, whose derivatives are exact, for floating-point tensors."""
    leaves = jax.tree.leaves(arguments)
    program = Program(function, *arguments)
    change = _guard(program, leaves) if _selects(program) else lambda operation, inputs: inputs
    values = program.run(leaves, change)
    results = [values[y] if isinstance(y, Place) else y for y in program.outputs]
    return jax.tree.unflatten(jax.tree.structure(program.shapes), results)


def _selects(program):
    """Whether something is computed that may not be selected."""
    names = {operation.name for operation in program.operations}
    return bool(names & NONLINEAR) and bool(names & {"select_n", "max", "min"})


def _guard(program, leaves):
    """What exchanges the numbers that are not selected by harmless ones."""
    values = program.run(lax.stop_gradient(leaves))
    used = _used(program, values)

    def change(operation, inputs):
        before = [values[x] if isinstance(x, Place) else x for x in operation.inputs]
        if operation.decides:
            return before
        if operation.name in ("max", "min"):  # what was selected stays so
            parts = SELECTORS[operation.name](before)
            return [jnp.where(part, x, old) for part, x, old in zip(parts, inputs, before)]
        where = used.get(operation.outputs[0], True)
        if where is True or operation.name not in NONLINEAR or not operation.differentiable:
            return inputs
        shape = operation.equation.outvars[0].aval.shape
        return [_filled(x, where) if jnp.shape(x) == shape else x for x in inputs]

    return change


def _is_float(variable):
    return jnp.issubdtype(variable.aval.dtype, jnp.floating)


def _filled(x, where):
    return jnp.where(where, x, jnp.asarray(HARMLESS, jnp.result_type(x)))


def _used(program, values):
    """For each place where its numbers are selected, a mask, or `True` for all of them."""
    used = {y: True for y in program.outputs if isinstance(y, Place)}
    for operation in reversed(program.operations):
        masks = [used.get(y) for y in operation.outputs]
        if all(mask is None for mask in masks) or operation.decides:
            continue
        inputs = [values[x] if isinstance(x, Place) else x for x in operation.inputs]
        for x, mask in zip(operation.inputs, _passed(operation, inputs, masks)):
            if isinstance(x, Place):
                used[x] = _either(used.get(x), mask)
    return {x: True if mask is None else mask for x, mask in used.items()}


def _either(one, other):
    if one is None or other is None:
        return other if one is None else one
    return True if one is True or other is True else one | other


def _passed(operation, inputs, masks):
    """For each input where it takes part in the results that `masks` select."""
    everywhere = [True] * len(inputs)
    if not operation.differentiable:
        return everywhere
    if operation.name in SELECTORS:
        (mask,) = masks
        return [_both(mask, part) for part in SELECTORS[operation.name](inputs)]
    if operation.name in ELEMENTWISE:
        shape = operation.equation.outvars[0].aval.shape
        return [masks[0] if jnp.shape(x) == shape else True for x in inputs]
    if operation.name in PICKING and any(mask is not True for mask in masks):
        return _transposed(operation, inputs, masks)
    return everywhere


def _both(one, other):
    if one is True or other is True:
        return other if one is True else one
    return one & other


def _transposed(operation, inputs, masks):
    """A sum or a choice of entries passes on where any of its results is selected."""
    floats = [n for n, x in enumerate(inputs) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]

    def function(*given):
        values = list(inputs)
        for n, x in zip(floats, given):
            values[n] = x
        return operation.bind(*values)

    given = [jnp.ones_like(inputs[n]) for n in floats]
    outputs, pull = jax.vjp(function, *given)
    arriving = [
        jnp.zeros_like(y) if mask is None else jnp.broadcast_to(jnp.asarray(mask, y.dtype), y.shape)
        for y, mask in zip(outputs, masks)
    ]
    found = dict(zip(floats, pull(arriving)))
    return [found[n] != 0 if n in found else True for n in range(len(inputs))]


def _select(inputs):
    which, *cases = inputs
    return [True, *(which == n for n in range(len(cases)))]


SELECTORS = {
    "select_n": _select,
    "max": lambda inputs: [inputs[0] >= inputs[1], inputs[1] >= inputs[0]],
    "min": lambda inputs: [inputs[0] <= inputs[1], inputs[1] <= inputs[0]],
}


def _is_elementwise(equation):
    """Whether it calls a program, with a derivative of its own, of element-wise operations."""
    inner = equation.params.get("call_jaxpr")
    if equation.primitive.name != "custom_jvp_call" or len(equation.outvars) != 1:
        return False
    parts = [*inner.jaxpr.eqns]
    for part in parts:  # grows
        if part.primitive.name in INLINED:
            parts += part.params["jaxpr" if "jaxpr" in part.params else "call_jaxpr"].jaxpr.eqns
        elif part.primitive.name not in ELEMENTWISE | COMPARISONS:
            return False
    return True


def _bound(equation):
    """What computes an operation: a list of results from its inputs."""
    primitive, formula = equation.primitive, FORMULAS.get(equation.primitive.name)
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


@jax.custom_jvp
def arctangent(x):
    return lax.atan(x)


@arctangent.defjvp
def _of_arctangent(primals, tangents):
    """1 / (1 + x^2), which neither overflows nor loses its derivatives far out."""
    (x,), (move,) = primals, tangents
    large = jnp.abs(x) > 1
    near, inverse = jnp.where(large, 1.0, x), 1 / jnp.where(large, x, 1.0)
    slope = jnp.where(large, inverse**2 / (1 + inverse**2), 1 / (1 + near * near))
    return arctangent(x), slope * move


@jax.custom_jvp
def power(x, y):
    return lax.pow(x, y)


def _of_power(primals, tangents):
    """The exponents 0 and 1 end in a constant, also where x is 0."""
    (x, y), moves, parts = primals, tangents, []
    if not isinstance(moves[0], SymbolicZero):
        zero = y == 0  # an exponent that varies leaves 0 at once
        zero = zero if isinstance(moves[1], SymbolicZero) else zero & (x == 0)
        below = power(x, jnp.where(zero, 1.0, y - 1))
        parts.append(jnp.where(zero, 0.0, y * below) * moves[0])
    if not isinstance(moves[1], SymbolicZero):
        parts.append(jnp.log(jnp.where(x == 0, 1.0, x)) * power(x, y) * moves[1])
    return power(x, y), sum(parts[1:], start=parts[0]) if parts else jnp.zeros_like(x)


power.defjvp(_of_power, symbolic_zeros=True)


FORMULAS = {"abs": lambda x: x * lax.sign(x), "atan": arctangent, "pow": power}

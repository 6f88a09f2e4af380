"""Run a program of JAX so that all its derivatives are exact.

What does not reach the results has no part in them, see `reach`; a few operations are computed by
formulas.
"""

import jax
import jax.numpy as jnp
from jax import lax

from keras_derivs.backend import reach
from keras_derivs.backend.jax.recorded import INLINED, Place, Program

SINGULAR = {  # an infinite slope, or one that overflows
    "acos", "acosh", "asin", "atanh", "cbrt", "cosh", "digamma", "div", "elementwise", "erf_inv",
    "exp", "exp2", "expm1", "integer_pow", "lgamma", "log", "log1p", "pow", "rem", "rsqrt", "sinh",
    "sqrt", "tan",
}  # fmt: skip
NONLINEAR = SINGULAR | {
    "add_any", "asinh", "atan", "atan2", "bessel_i0e", "bessel_i1e", "cos", "erf", "erfc", "igamma",
    "igammac", "logistic", "mul", "sin", "square", "tanh",
}  # fmt: skip
BILINEAR = {"conv_general_dilated", "dot_general"}
SHARING = {"reduce_max", "reduce_min"}  # the slope is divided by the number of those that tie
COMPARISONS = {"and", "eq", "ge", "gt", "is_finite", "le", "lt", "ne", "not", "or", "stop_gradient"}
ADDITIVE = {"add", "sub", "neg", "copy", "copy_p", "convert_element_type", "real", "imag"}
ELEMENTWISE = NONLINEAR | ADDITIVE | {"abs", "sign"}
CHOICES = {"max", "min", "select_n"}
SELECTING = CHOICES | {  # some entries of what they are given, whose slopes are not negative
    "cummax", "cummin", "dynamic_slice", "dynamic_update_slice", "gather", "pad",
    "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "reduce_window_sum",
    "scatter", "slice", "sort", "split", "top_k", "unstack",
}  # fmt: skip
PICKING = SELECTING | {
    "broadcast_in_dim", "concatenate", "cumsum", "expand_dims", "reduce_sum", "reshape", "rev",
    "scatter-add", "squeeze", "stack", "tile", "transpose",
}  # fmt: skip


def exact(function, *arguments):
    """`function(*arguments)`, whose derivatives are exact, for floating-point tensors."""
    leaves = jax.tree.leaves(arguments)
    program = Program(function, *arguments)
    names = {id(operation): _name(operation) for operation in program.operations}
    singular = lambda operation: names[id(operation)] in SINGULAR  # noqa: E731
    selects = lambda operation: names[id(operation)] in SELECTING  # noqa: E731
    if reach.matters(program.operations, singular, selects):
        return program.results(program.run(leaves, _guard(program, names, leaves)))
    return program.results(program.run(leaves))


def _guard(program, names, leaves):
    """What computes an operation away from what does not reach the results."""
    values = program.run(lax.stop_gradient(leaves))

    def read(operation, masks):
        return passed(names[id(operation)], operation, operation.read(values), masks)

    outputs = {y: True for y in program.outputs if isinstance(y, Place)}
    plans = reach.plans(program.operations, outputs, read)

    def compute(number, operation, inputs):
        name, plan = names[id(operation)], plans.get(number)
        if plan is None or name not in NONLINEAR | BILINEAR | SHARING:
            return operation.bind(*inputs)
        before = [values[y] for y in operation.outputs]
        plan = reach.without_nan(plan, inputs) if name in SHARING else plan
        call = lambda inputs: operation.bind(*inputs)  # noqa: E731
        return reach.guarded(jnp.where, call, plan, inputs, before)

    return compute


def passed(name, operation, inputs, masks):
    """For each input where it takes part in the results that `masks` select."""
    everywhere, results = [True] * len(inputs), operation.equation.outvars
    floats = any(jnp.issubdtype(y.aval.dtype, jnp.inexact) for y in results)
    if name == "stop_gradient" or not floats:
        return [None] * len(inputs)  # it decides, as it did before
    if name in ELEMENTWISE:
        return [_narrowed(masks[0], x, results[0].aval.shape) for x in inputs]
    partial = any(mask is not True for mask in masks)
    if name in SELECTING or (name in PICKING | BILINEAR and partial):
        return _transposed(operation, inputs, masks, name in BILINEAR)
    return everywhere


def _narrowed(mask, x, shape):
    """The mask of a result as one of an argument that was repeated along axes of one entry."""
    if mask is True or jnp.shape(x) == shape:
        return mask
    if jnp.ndim(x) != len(shape):
        return True
    axes = tuple(n for n, size in enumerate(jnp.shape(x)) if size != shape[n])
    return jnp.any(jnp.broadcast_to(mask, shape), axes, keepdims=True)


def _transposed(operation, inputs, masks, bilinear):
    """A sum or a choice of entries passes on where any of its results is selected."""
    floats = [n for n, x in enumerate(inputs) if reach.is_float(x)]
    results = [n for n, y in enumerate(operation.equation.outvars) if _is_float(y)]
    if not floats or not results:
        return [True] * len(inputs)

    start = [*map(jnp.ones_like, inputs)] if bilinear else inputs  # constants, too: no signs

    def function(*given):
        values = list(start)
        for n, x in zip(floats, given):
            values[n] = x
        found = operation.bind(*values)
        return [found[n] for n in results]

    outputs, pull = jax.vjp(function, *[start[n] for n in floats])
    arriving = [
        jnp.zeros_like(y) if mask is None else jnp.broadcast_to(jnp.asarray(mask, y.dtype), y.shape)
        for y, mask in zip(outputs, (masks[n] for n in results))
    ]
    found = dict(zip(floats, pull(arriving)))
    return [found[n] > 0 if n in found else True for n in range(len(inputs))]


def _is_float(variable):
    return jnp.issubdtype(variable.aval.dtype, jnp.floating)


def _name(operation):
    equation = operation.equation
    return "elementwise" if _is_elementwise(equation) else equation.primitive.name


def _is_elementwise(equation):
    """Whether it calls a program, with a derivative of its own, of element-wise operations."""
    inner = equation.params.get("call_jaxpr")
    if equation.primitive.name != "custom_jvp_call" or len(equation.outvars) != 1:
        return False
    parts = [*inner.jaxpr.eqns]
    for part in parts:  # grows
        if part.primitive.name in INLINED:
            parts += part.params["jaxpr" if "jaxpr" in part.params else "call_jaxpr"].jaxpr.eqns
        elif part.primitive.name not in ELEMENTWISE | COMPARISONS | CHOICES:
            return False
    return True

"""What the traced program of a model holds, on the way from its inputs to its output.

An operation lies on the way if it depends on an input and the output depends on it, other than
through a stopped gradient.
"""

import os
from dataclasses import replace

import jax
import keras
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from keras_derivs.backend.jax import kinks
from keras_derivs.backend.jax.across import is_across
from keras_derivs.backend.rows import rows_of
from keras_derivs.backend.step import Step

STOPPED = {"stop_gradient"}
LOST = {"pure_callback", "io_callback"}  # JAX has no derivative of a call into Python
# Piecewise constant: the derivative of what passes through them is zero.
FLAT = {
    "round", "floor", "ceil", "sign", "argmax", "argmin", "cast_to_integer",
    "bitcast_convert_type",
}  # fmt: skip
ESTIMATED = {"reduce_precision"}  # it rounds, and its derivative takes that for the identity
OPPOSITE = "larger of x and -x"  # an absolute value
AT_POINTS = {"select_n, at single points"}
KINKED = {"abs", "relu", "relu6", "leaky_relu", OPPOSITE}  # their second derivative is zero
# Functions of JAX with derivatives of their own, or that formulas take the place of: what they are
# made of does not count.
REPLACED = {
    "_det", "hypot", "i0", "ldexp", "norm", "soft_sign", "softplus", "log_sigmoid", "logaddexp",
    "logaddexp2", "logsumexp",
}  # fmt: skip
CUSTOM = {"custom_jvp_call", "custom_vjp_call"}  # functions with derivatives of their own
WRAPPED = "wrapped_fun"  # what `jax.custom_gradient` makes of a function
RULES = ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd")  # what computes these
# Functions that select at single points, and have their own derivatives there.
WHOLE = ("divide_no_nan", "floor_divide", "heaviside", "remainder", "sinc")
# What they return does not vary with the values of what they get, or is no number.
ENDS = {"eq", "ne", "lt", "le", "gt", "ge", "is_finite", "zeros_like", "not", "and", "or"}


def operations(run, inputs, wrt):
    """What `traced` of `keras_derivs.backend` returns."""
    try:
        jaxpr = jax.make_jaxpr(lambda *xs: run(list(xs)))(*inputs).jaxpr
    except Exception:  # code that needs numbers: only eager calls of it are possible
        return None
    starts = {jaxpr.invars[position] for position in wrt}
    results = [y.aval for equation in jaxpr.eqns for y in equation.outvars]
    num_bytes = sum(getattr(y, "size", 0) * y.dtype.itemsize for y in results)
    rows = rows_of(inputs)
    found = kinks.found(jaxpr, starts, _type, REPLACED)
    return _walk(jaxpr, starts, _variables(jaxpr.outvars), "", rows, *found), [], num_bytes


def depending(function, arguments):
    """For each argument whether the results of a function depend on it."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    needed = _backward(jaxpr, _variables(jaxpr.outvars))
    return [x in needed for x in jaxpr.invars]


def _walk(jaxpr, starts, ends, scope, num_rows, cancels, even, bent, chosen):
    reached = _forward(jaxpr, starts)
    needed = _backward(jaxpr, ends)
    found, negated = [], {}
    for equation in jaxpr.eqns:
        sources, results = _variables(equation.invars), set(equation.outvars)
        if equation.primitive.name == "neg" and sources:
            negated[equation.outvars[0]] = equation.invars[0]
        on_the_way = not (reached.isdisjoint(sources) or needed.isdisjoint(results))
        name = "/".join(filter(None, (scope, str(equation.source_info.name_stack))))
        place = f"{name}/{equation.primitive.name}"
        across = is_across(equation, reached, num_rows)
        inside = []
        for inner in _plain(programs(equation)):
            begins = _begins(equation, inner, reached) if on_the_way else set()
            known = num_rows, cancels, even, bent, chosen
            inside += _walk(inner, begins, _variables(inner.outvars), name, *known)
        if _type(equation) in REPLACED:
            across, inside = any(step.across for step in inside), []
        own = _is_own(equation)
        if own:  # its gradient takes the place of theirs
            inside = [step for step in inside if step.type not in FLAT]
        type = OPPOSITE if _is_opposite(equation, negated) else _type(equation)
        order = cancels.get(id(equation))
        if id(equation) in even:
            type, order = f"{type}, in an even function", order or 2
        if id(equation) in chosen:
            type = f"{type}, at single points"
        straight = id(equation) not in bent
        if not straight:
            inside = [replace(step, straight=False) for step in inside]
        known = on_the_way, own, across, straight, order, _parts(equation)
        found += [Step(type, place, *known), *inside]
    return found


def _parts(equation):
    """What has the gradient of an operation; `None`: what it is called by."""
    if equation.primitive.name in CUSTOM or _type(equation) in REPLACED:
        return None
    calls = equation.primitive.name in kinks.INLINED | kinks.LOOPS
    return () if calls else (equation.primitive.name,)  # what it calls is looked at by itself


def _is_opposite(equation, negated):
    """Whether it is the larger, or the smaller, of a variable and its negative."""
    variables = _variables(equation.invars)
    if _type(equation) not in ("max", "min", "maximum", "minimum") or len(variables) != 2:
        return False
    return any(negated.get(x) in variables for x in variables)


def _begins(equation, inner, reached):
    """The inputs of an inner program that depend on what is differentiated.

    Its inputs are the last ones of the equation; a loop passes its results on to its inputs.
    """
    sources = equation.invars[len(equation.invars) - len(inner.invars) :]
    if equation.primitive.name in ("scan", "while") or len(sources) != len(inner.invars):
        return set(inner.invars)
    return {x for x, source in zip(inner.invars, sources) if _variables([source]) & reached}


def _forward(jaxpr, starts):
    """What depends on `starts`."""
    reached = set(starts)
    for equation in jaxpr.eqns:
        if equation.primitive.name not in ENDS and reached & _variables(equation.invars):
            reached |= {y for y in equation.outvars if y.aval.dtype != bool}
    return reached


def _backward(jaxpr, ends):
    """What `ends` depend on, other than through a stopped gradient."""
    needed = set(ends)
    for equation in reversed(jaxpr.eqns):
        if _type(equation) not in STOPPED and needed & set(equation.outvars):
            needed |= _variables(equation.invars)
    return needed


def _variables(atoms):
    return {atom for atom in atoms if not isinstance(atom, Literal)}


def programs(equation):
    """The programs that an equation calls, closed or not."""
    is_program = lambda p: isinstance(p, (Jaxpr, ClosedJaxpr))  # noqa: E731
    leaves = jax.tree.leaves(list(equation.params.values()), is_leaf=is_program)
    return [program for program in leaves if is_program(program)]


def _plain(programs):
    return (p.jaxpr if isinstance(p, ClosedJaxpr) else p for p in programs)


def _type(equation):
    name = equation.primitive.name
    if name in ("jit", "pjit"):  # a function of JAX, such as `relu`
        return equation.params.get("name", name)
    if name in CUSTOM:
        return getattr(_source(equation), "func_name", name)
    if name == "abs" and (_is_complex(equation) or _within(equation, "logsumexp")):
        return "magnitude"  # of a complex number, or of a sum of exponentials
    if name in ("eq", "ne") and any(_within(equation, function, True) for function in WHOLE):
        return f"{name} of a function"
    if name == "convert_element_type":
        kinds = [
            keras.backend.standardize_dtype(x.aval.dtype)
            for x in (equation.invars[0], equation.outvars[0])
        ]
        return "cast_to_integer" if _is_float(kinds[0]) and "int" in kinds[1] else name
    if name == "stop_gradient" and _inside_jax(equation):
        return "shift"  # as of a softmax, whose value does not depend on it
    return name


def _is_own(equation):
    """Whether the model brings the gradient of an operation."""
    if equation.primitive.name not in CUSTOM:
        return False
    rules = [getattr(equation.params.get(name), "debug_info", None) for name in RULES]
    if getattr(_source(equation), "func_name", "") == WRAPPED:
        return True
    files = [getattr(source, "func_filename", None) for source in (_source(equation), *rules)]
    return any(file and not _of_jax(file) for file in files)


def _source(equation):
    """What is known of the function that an operation calls, or `None`."""
    return next((program.debug_info for program in _plain(programs(equation))), None)


def _is_float(dtype):
    return "float" in dtype


def _is_complex(equation):
    return "complex" in str(equation.invars[0].aval.dtype)


def _inside_jax(equation):
    """Whether JAX itself stops the gradient: of what cancels, as the maximum in a softmax."""
    frames = equation.source_info.traceback.frames
    callers = [n for n, frame in enumerate(frames) if frame.function_name == "stop_gradient"]
    return bool(callers) and _of_jax(frames[callers[-1] + 1].file_name)


def _within(equation, function, of_keras=False):
    """Whether a function of JAX, or of Keras, of this name makes an operation."""
    frames = equation.source_info.traceback.frames
    return any(
        frame.function_name == function and _of_jax(frame.file_name, of_keras) for frame in frames
    )


def _of_jax(file_name, or_keras=False):
    places = (jax, keras) if or_keras else (jax,)
    return file_name.startswith(tuple(os.path.dirname(place.__file__) for place in places))

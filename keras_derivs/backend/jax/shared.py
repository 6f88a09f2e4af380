"""Programs of JAX without what is computed twice, and what no result needs.

XLA leaves that out by itself; converters to files do not, and take a time that grows with the
square of a program's length. Derivatives of many coefficients become three times shorter.
"""

import jax
import numpy as np
from jax.extend.core import DropVar, Literal


def shared(program, inputs):
    """The same program on tensors like `inputs`; it must hold no functions."""
    return jax.make_jaxpr(lambda *xs: _run(program.jaxpr, program.consts, xs))(*inputs)


def bound(equation, given):
    """What an equation returns."""
    params = equation.primitive.get_bind_params(equation.params)
    functions, params = params if isinstance(params, tuple) else ((), params)  # of older releases
    found = equation.primitive.bind(*functions, *given, **params)
    return found if equation.primitive.multiple_results else [found]


def _run(jaxpr, constants, inputs):
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs]))
    same = {x: _content(value) for x, value in zip(jaxpr.constvars, constants)}  # names of values
    known = {}
    for equation in _needed(jaxpr):
        meaning = _meaning(equation, same)
        if meaning not in known:
            known[meaning] = equation.outvars, bound(equation, _values(equation.invars, values))
        names, results = known[meaning]
        same.update(zip(equation.outvars, names))
        values.update(zip(equation.outvars, results))
    return _values(jaxpr.outvars, values)


def _values(atoms, values):
    return [x.val if isinstance(x, Literal) else values[x] for x in atoms]


def _needed(jaxpr):
    """The equations that a result depends on, in their order."""
    needed, found = {x for x in jaxpr.outvars if not isinstance(x, Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not needed.isdisjoint(equation.outvars):
            needed.update(x for x in equation.invars if not isinstance(x, Literal))
            found.append(equation)
    return reversed(found)


def _meaning(equation, same):
    """Equal for two equations that return the same, as far as that can be told."""
    given = [_name(x, same) for x in equation.invars]
    meaning = equation.primitive, tuple(given), tuple(sorted(equation.params.items()))
    alone = equation.effects or any(isinstance(x, DropVar) for x in equation.outvars)
    return id(equation) if alone or not _has_hash(meaning) else meaning


def _has_hash(meaning):
    """Whether all parameters are values, and not arrays or the like."""
    try:
        hash(meaning)
    except TypeError:
        return False
    return True


def _name(atom, same):
    if isinstance(atom, Literal):
        return _content(np.asarray(atom.val, atom.aval.dtype))
    return same.get(atom, atom)


def _content(value):
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):  # keys of random numbers
        return id(value)
    return value.dtype, value.shape, np.asarray(value).tobytes()

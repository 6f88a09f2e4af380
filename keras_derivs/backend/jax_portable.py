"""Programs of JAX in operations that the converter to ONNX has."""

import jax
import numpy as np

from keras_derivs.backend.jaxpr import programs

INLINED = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint"}


def portable(program, inputs):
    """The same program on tensors like `inputs`, without functions in it, by the rules below."""
    return jax.make_jaxpr(lambda *xs: _run(program.jaxpr, program.consts, xs))(*inputs)


def _run(jaxpr, constants, inputs):
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs]))

    def value(atom):
        return atom.val if isinstance(atom, jax.extend.core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _computed(equation, list(map(value, equation.invars)))
        values.update(zip(equation.outvars, results))
    return list(map(value, jaxpr.outvars))


def _computed(equation, given):
    """What an equation returns."""
    name = equation.primitive.name
    if name in RULES:
        return [RULES[name](*given, **equation.params)]
    if name in INLINED:
        inner = programs(equation)[0]
        closed = isinstance(inner, jax.extend.core.ClosedJaxpr)
        return _run(*((inner.jaxpr, inner.consts) if closed else (inner, [])), given)
    params = equation.primitive.get_bind_params(equation.params)
    functions, params = params if isinstance(params, tuple) else ((), params)  # of older releases
    found = equation.primitive.bind(*functions, *given, **params)
    return found if equation.primitive.multiple_results else [found]


def _convolution(x, kernel, dimension_numbers, **params):
    """Batch and channels in front, as ONNX has them."""
    of_x, of_kernel, of_y = dimension_numbers
    x, kernel = jax.lax.transpose(x, of_x), jax.lax.transpose(kernel, of_kernel)
    axes = tuple(range(x.ndim))
    numbers = jax.lax.ConvDimensionNumbers(axes, axes, axes)
    y = jax.lax.conv_general_dilated_p.bind(x, kernel, dimension_numbers=numbers, **params)
    return jax.lax.transpose(y, tuple(np.argsort(of_y)))


def _pad(x, value, padding_config):
    """Padding between entries is that behind each one, in an axis of its own."""
    for axis, (*_, between) in enumerate(padding_config):
        if between:
            lengths = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
            x = jax.lax.reshape(x, (*lengths[0], lengths[1], 1, *lengths[2]))
            behind = [(0, between if n == axis + 1 else 0, 0) for n in range(x.ndim)]
            x = jax.lax.pad(x, value, behind)
            x = jax.lax.reshape(x, (*lengths[0], lengths[1] * (between + 1), *lengths[2]))
            x = jax.lax.slice_in_dim(x, 0, x.shape[axis] - between, axis=axis)
    return jax.lax.pad(x, value, [(before, after, 0) for before, after, _ in padding_config])


RULES = {"conv_general_dilated": _convolution, "pad": _pad}

"""Programs of JAX in operations that the converter to ONNX has."""

import functools

import jax
import numpy as np

from keras_derivs.backend.jax.jaxpr import programs
from keras_derivs.backend.jax.shared import bound, shared

INLINED = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint"}
LONGEST = 64  # of loops that are unrolled: the converter has none that run backward


def portable(program, inputs):
    """The same program on tensors like `inputs`, without functions in it, by the rules below."""
    plain = jax.make_jaxpr(lambda *xs: _run(program.jaxpr, program.consts, xs))(*inputs)
    return shared(plain, inputs)


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
        return _called(programs(equation)[0], given)
    if name == "scan" and equation.params["length"] in range(1, LONGEST + 1):
        return _unrolled(given, **equation.params)
    return bound(equation, given)


def _called(program, given):
    closed = isinstance(program, jax.extend.core.ClosedJaxpr)
    return _run(*((program.jaxpr, program.consts) if closed else (program, [])), given)


def _unrolled(given, jaxpr, length, reverse, num_consts, num_carry, **options):
    """What a loop of known length returns: what it carries, and what all steps return, stacked."""
    constants, carried = given[:num_consts], given[num_consts : num_consts + num_carry]
    sequences, steps = given[num_consts + num_carry :], {}
    for n in reversed(range(length)) if reverse else range(length):
        entries = [jax.lax.index_in_dim(x, n, keepdims=False) for x in sequences]
        found = _called(jaxpr, [*constants, *carried, *entries])
        carried, steps[n] = found[:num_carry], found[num_carry:]
    stacked = [
        jax.lax.concatenate([jax.lax.expand_dims(y, [0]) for y in parts], 0)
        for parts in zip(*(steps[n] for n in range(length)))
    ]
    return [*carried, *stacked]


def _convolution(x, kernel, dimension_numbers, **params):
    """Batch and channels in front, as ONNX has them."""
    of_x, of_kernel, of_y = dimension_numbers
    x, kernel = jax.lax.transpose(x, of_x), jax.lax.transpose(kernel, of_kernel)
    axes = tuple(range(x.ndim))
    numbers = jax.lax.ConvDimensionNumbers(axes, axes, axes)
    y = jax.lax.conv_general_dilated_p.bind(x, kernel, dimension_numbers=numbers, **params)
    return jax.lax.transpose(y, tuple(np.argsort(of_y)))


def _pad(x, value, padding_config):
    """By joining; the padding between entries is joined to each one, in an axis of its own."""
    for axis, (before, after, between) in enumerate(padding_config):
        if between:
            lead, length, rest = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
            x = jax.lax.reshape(x, (*lead, length, 1, *rest))
            x = _joined(x, value, axis + 1, 0, between)
            x = jax.lax.reshape(x, (*lead, length * (between + 1), *rest))
            x = jax.lax.slice_in_dim(x, 0, x.shape[axis] - between, axis=axis)
        x = _joined(x, value, axis, max(before, 0), max(after, 0))
        if min(before, after) < 0:
            start, end = -min(before, 0), x.shape[axis] + min(after, 0)
            x = jax.lax.slice_in_dim(x, start, end, axis=axis)
    return x


def _joined(x, value, axis, before, after):
    """A tensor with so many values at both ends of an axis."""

    def ends(length):
        shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
        return [jax.lax.broadcast_in_dim(value, shape, ())] if length else []

    parts = [*ends(before), x, *ends(after)]
    return jax.lax.concatenate(parts, axis) if len(parts) > 1 else x


def _window_sum(x, window_dimensions, window_strides, padding, base_dilation, window_dilation):
    """By slices, axis by axis; as the converter writes it, OpenVINO has not enough axes."""
    padding = [(*ends, between - 1) for ends, between in zip(padding, base_dilation)]
    x = _pad(x, np.zeros((), x.dtype), padding)
    windows = zip(window_dimensions, window_strides, window_dilation)
    for axis, (size, stride, dilation) in enumerate(windows):
        if size == stride == 1:
            continue
        length = x.shape[axis] - (size - 1) * dilation
        starts = [n * dilation for n in range(size)]
        parts = [jax.lax.slice_in_dim(x, n, n + length, stride, axis) for n in starts]
        x = functools.reduce(jax.lax.add, parts)
    return x


def _product(x, y, dimension_numbers, **params):
    """Of axes that stand as those of matrices do; OpenVINO computes some others wrongly."""
    (of_x, of_y), (rows_x, rows_y) = dimension_numbers
    x = _arranged(x, [*rows_x, *_others(x, rows_x, of_x), *of_x])
    y = _arranged(y, [*rows_y, *of_y, *_others(y, rows_y, of_y)])
    rows, count = tuple(range(len(rows_x))), len(of_x)
    of_x = tuple(range(x.ndim - count, x.ndim))
    of_y = tuple(range(len(rows), len(rows) + count))
    numbers = (of_x, of_y), (rows, rows)
    return jax.lax.dot_general_p.bind(x, y, dimension_numbers=numbers, **params)


def _others(x, *axes):
    taken = [axis for group in axes for axis in group]
    return [axis for axis in range(x.ndim) if axis not in taken]


def _arranged(x, axes):
    return x if axes == sorted(axes) else jax.lax.transpose(x, tuple(axes))


RULES = {
    "conv_general_dilated": _convolution,
    "dot_general": _product,
    "pad": _pad,
    "reduce_window_sum": _window_sum,
    "stop_gradient": lambda x: x,
}

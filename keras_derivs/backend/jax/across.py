"""Which operations of a JAX program compute along the batch axis, as far as shapes tell.

Operations that put the batch axis elsewhere, such as a reshape, are not among them.
"""

from jax.extend.core import Var

# primitive -> the parameter that holds its axes
AXES = {
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"), "axes"
    ),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), "axis"),
    "rev": "dimensions",
    "sort": "dimension",
}
SLICES = ("slice", "dynamic_slice", "gather")


def is_across(equation, reached, num_rows):
    """Whether an equation reduces, moves or selects rows of what depends on the inputs."""
    source = equation.invars[0] if equation.invars else None
    known = num_rows is not None and isinstance(source, Var) and source in reached
    if not known or not _is_batch(source, num_rows):
        return False
    name = equation.primitive.name
    if name in SLICES:
        return not _is_batch(equation.outvars[0], num_rows)
    axes = equation.params.get(AXES.get(name), ())
    return 0 in (axes if isinstance(axes, tuple) else (axes,))


def _is_batch(variable, num_rows):
    shape = variable.aval.shape
    return bool(shape) and shape[0] == num_rows

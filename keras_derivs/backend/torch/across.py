"""Which functions of PyTorch compute along the batch axis, as far as shapes and arguments tell.

Functions that put the batch axis elsewhere, such as a reshape, are not among them.
"""

# functions of the shape of their input -> the position of the argument that holds their axes
AXES = {
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "flip", "sort"), 1),
    **dict.fromkeys(("softmax", "log_softmax", "argsort"), 1),
    "roll": 2,
}
TRIANGLES = ("tril", "triu")  # of the last two axes: they count the rows
NAMES = ("dim", "dims", "axis")
# functions that drop or shorten the batch axis: all others of another length move it elsewhere
SHORTER = {
    "sum", "mean", "max", "min", "amax", "amin", "prod", "argmax", "argmin", "all", "any", "var",
    "std", "var_mean", "std_mean", "logsumexp", "norm", "linalg_norm", "linalg_vector_norm",
    "median", "nanmedian", "quantile", "nanquantile", "embedding", "index_select", "narrow",
    "select", "__getitem__", "take", "gather", "topk",
}  # fmt: skip


def is_across(name, args, kwargs, sources, results, num_rows):
    """Whether a call reduces, moves or selects rows of a tensor."""
    given = [x for x in sources if x.dim() and x.shape[0] == num_rows]
    if not given:
        return False
    if name in SHORTER:
        return any(not y.dim() or y.shape[0] != num_rows for y in results)
    if name in TRIANGLES:
        return given[0].dim() == 2
    if name not in AXES:
        return False
    axes = [kwargs[key] for key in NAMES if key in kwargs] or args[AXES[name] :]
    axes = axes[0] if axes and isinstance(axes[0], (tuple, list)) else axes
    return any(isinstance(axis, int) and axis % given[0].dim() == 0 for axis in axes)

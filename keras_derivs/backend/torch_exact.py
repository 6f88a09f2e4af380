"""Run a model of PyTorch so that what is not selected takes no part in a derivative.

There, as beside `where`, the gradient is zero, and PyTorch multiplies it by a slope that may be
infinite or no number. So the model runs twice: the calls of the first run tell what is selected,
and in the second one element-wise functions meet a harmless number wherever their result is not.
"""

import torch
from torch.overrides import TorchFunctionMode

HARMLESS = 0.5  # in the domain of every function below
NONLINEAR = {
    "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "asin", "asinh",
    "atan", "atan2", "atanh", "cos", "cosh", "digamma", "div", "divide", "erf", "erfc", "erfinv",
    "exp", "exp2", "expm1", "gelu", "lgamma", "log", "log10", "log1p", "log2", "logaddexp", "logit",
    "mul", "multiply", "pow", "rdiv", "reciprocal", "rmul", "rpow", "rsqrt", "rtruediv", "sigmoid",
    "silu", "sin", "sinc", "sinh", "softplus", "sqrt", "square", "tan", "tanh", "true_divide",
    "truediv", "xlogy",
}  # fmt: skip
ELEMENTWISE = NONLINEAR | {
    "abs", "absolute", "add", "clone", "contiguous", "neg", "negative", "radd", "rsub", "sub",
    "subtract", "to", "type",
}  # fmt: skip
PICKING = {
    "broadcast_to", "cat", "concat", "concatenate", "cumsum", "expand", "flatten", "flip",
    "getitem", "index_select", "movedim", "pad", "permute", "reshape", "select", "split", "squeeze",
    "stack", "sum", "swapaxes", "take_along_dim", "tile", "transpose", "unbind", "unsqueeze",
    "view",
}  # fmt: skip
READ = {  # by Python, which may decide by it; or written into a tensor
    "allclose", "array", "bool", "equal", "float", "index", "int", "is_nonzero", "item", "numpy",
    "setitem", "tolist",
}  # fmt: skip
EXTREMES = {"maximum": torch.ge, "minimum": torch.le}


class Recorded(TorchFunctionMode):
    """Keeps the calls of PyTorch's functions: (name, function, arguments, results)."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        self.calls.append((name_of(function), function, (args, kwargs or {}), results))
        return results

    @property
    def selects(self):
        names = {name for name, *_ in self.calls}
        return bool(names & NONLINEAR) and bool(names & {"where", *EXTREMES})


class Guarded(TorchFunctionMode):
    """Gives harmless numbers to the functions whose results were not selected before."""

    def __init__(self, recorded, y):
        super().__init__()
        # a layer asks for shapes and the like when it is built, and not again
        self.calls = [call for call in recorded.calls if _tensors(call[3])]
        self.used = used(recorded.calls, y)
        self.number, self.same = 0, True

    def __torch_function__(self, function, types, args=(), kwargs=None):
        call = self.calls[self.number] if self.number < len(self.calls) else None
        fits = self.same and call and call[0] == name_of(function) and len(call[2][0]) == len(args)
        results = function(*(self._arguments(call, args) if fits else args), **(kwargs or {}))
        if _tensors(results):
            self.number, self.same = self.number + 1, bool(fits)
        return results

    def _arguments(self, call, args):
        name, _, (before, _), results = call
        if not isinstance(results, torch.Tensor):
            return args
        if name in EXTREMES:  # what was selected stays so
            return _kept(EXTREMES[name], args, before)
        where = self.used.get(id(results), True)
        if name not in NONLINEAR or where is True or not results.is_floating_point():
            return args
        return [_filled(x, where) if _is_float(x) else x for x in args]


def name_of(function):
    name = function.__name__
    return name[2:-2] if name.startswith("__") else name.removesuffix("_")


def used(calls, y):
    """By identity of a tensor where its numbers are selected: a mask, or `True` for all."""
    found = {id(y): True}
    for name, function, (args, kwargs), results in reversed(calls):
        sources, masks = _tensors((args, kwargs)), [found.get(id(z)) for z in _tensors(results)]
        if all(mask is None for mask in masks) and (masks or name not in READ):
            continue
        floats = [x for x in sources if _is_float(x)]
        arriving = None
        if masks and floats and any(map(_is_float, _tensors(results))):
            arriving = _passed(name, function, args, kwargs, results, masks)
        if arriving is not None:
            pairs = [*zip(floats, arriving), *((x, True) for x in sources if not _is_float(x))]
        else:  # a condition, or what Python reads, counts everywhere
            pairs = [(x, True) for x in sources]
        for x, mask in pairs:
            known = found.get(id(x))
            both = known is not None and known is not True and mask is not True
            found[id(x)] = known | mask if both else (mask if known is None else True)
    return found


def _passed(name, function, args, kwargs, results, masks):
    """For each float argument where it takes part in what `masks` select; `None`: everywhere."""
    single = isinstance(results, torch.Tensor)
    if name == "where" and len(args) == 3 and single:
        sides = {id(args[1]): args[0], id(args[2]): ~args[0]}
        sources = [x for x in args[1:] if _is_float(x)]
        return [_narrowed(_both(masks[0], sides[id(x)]), x, results) for x in sources]
    if name in EXTREMES and single:
        x, z = args
        parts = [EXTREMES[name](x, z), EXTREMES[name](z, x)]
        return [_narrowed(_both(masks[0], part), a, results) for part, a in zip(parts, args)]
    if all(mask is True for mask in masks):
        return None
    if name in ELEMENTWISE and single:
        sources = [x for x in _tensors((args, kwargs)) if _is_float(x)]
        return [_narrowed(masks[0], x, results) for x in sources]
    return _transposed(function, args, kwargs, masks) if name in PICKING else None


def _transposed(function, args, kwargs, masks):
    """A sum or a choice of entries passes on where any of its results is selected."""
    sources = []

    def follow(x):
        if not _is_float(x):
            return x
        sources.append(torch.ones_like(x).requires_grad_())
        return sources[-1]

    with torch.enable_grad():
        args, kwargs = torch.utils._pytree.tree_map(follow, (args, kwargs))
        ys = _tensors(function(*args, **kwargs))
    arriving = [
        torch.full_like(y, m is True) if m is None or m is True else m.to(y.dtype).expand_as(y)
        for y, m in zip(ys, masks)
    ]
    found = torch.autograd.grad(ys, sources, arriving, allow_unused=True)
    return [
        torch.zeros_like(x, dtype=torch.bool) if g is None else g != 0
        for g, x in zip(found, sources)
    ]


def _narrowed(mask, x, result):
    """The mask of a result as one of an argument that was broadcast."""
    if mask is True or x.shape == result.shape:
        return mask
    return mask.expand(result.shape).to(result.dtype).sum_to_size(x.shape) != 0


def _both(mask, part):
    return part if mask is True else mask & part


def _kept(function, args, before):
    x, z = before
    parts = [function(x, z), function(z, x)]
    return [
        torch.where(part, now, old) if _is_float(now) else now
        for part, now, old in zip(parts, args, before)
    ]


def _filled(x, where):
    return torch.where(where, x, torch.tensor(HARMLESS, dtype=x.dtype, device=x.device))


def _is_float(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def _tensors(nested):
    return [x for x in torch.utils._pytree.tree_leaves(nested) if isinstance(x, torch.Tensor)]

"""Run a model of PyTorch so that what does not reach its output has no part in a derivative.

See `reach`: the calls of PyTorch's functions in a first run are the program.
"""

import functools

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from keras_derivs.backend import reach
from keras_derivs.backend.stateless import without_effects
from keras_derivs.backend.torch.formulas import FORMULAS, Exchanging
from keras_derivs.backend.torch.random import drawing_again, states

SINGULAR = {  # an infinite slope, or one that overflows
    "acos", "acosh", "arccos", "arccosh", "arcsin", "arctanh", "asin", "atanh", "cosh", "digamma",
    "div", "divide", "erfinv", "exp", "exp2", "expm1", "float_power", "lgamma", "log", "log10",
    "log1p", "log2", "logaddexp", "logit", "pow", "rdiv", "reciprocal", "rpow", "rsqrt",
    "rtruediv", "sinh", "sqrt", "tan", "true_divide", "truediv", "xlogy",
}  # fmt: skip
NONLINEAR = SINGULAR | {
    "arcsinh", "arctan", "asinh", "atan", "atan2", "cos", "erf", "erfc", "gelu", "mul", "multiply",
    "rmul", "sigmoid", "silu", "sin", "sinc", "softplus", "square", "tanh",
}  # fmt: skip
ELEMENTWISE = NONLINEAR | {
    "abs", "absolute", "add", "clone", "contiguous", "double", "float", "neg", "negative", "radd",
    "rsub", "sub", "subtract", "to", "type",
}  # fmt: skip
BILINEAR = {  # or of many numbers, each of which takes part
    "bmm", "conv1d", "conv2d", "conv3d", "linear", "logsumexp", "matmul", "mm", "rmatmul",
}  # fmt: skip
SHARING = {"amax", "amin", "max", "min"}  # the slope is divided by the number of those that tie
SELECTING = {  # some entries of what they are given, whose slopes are not negative
    "amax", "amin", "avg_pool1d", "avg_pool2d", "avg_pool3d", "chunk", "cummax", "cummin",
    "diagonal", "embedding", "fmax", "fmin", "gather", "getitem", "index_select", "max",
    "max_pool1d", "max_pool2d", "max_pool3d", "maximum", "median", "min", "minimum", "nanquantile",
    "narrow", "pad", "quantile", "select", "sort", "split", "take", "take_along_dim",
    "tensor_split", "topk", "tril", "triu", "unbind", "unfold", "where",
}  # fmt: skip
PICKING = SELECTING | {
    "H", "T", "broadcast_to", "cat", "concat", "concatenate", "cumsum", "expand", "expand_as",
    "flatten", "flip", "hstack", "mH", "mT", "mean", "moveaxis", "movedim", "permute", "ravel",
    "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "squeeze", "stack", "sum",
    "swapaxes", "t", "tile", "transpose", "unflatten", "unsqueeze", "view", "view_as", "vstack",
}  # fmt: skip
CHANGED = "changed"  # stands for what a call may write into


class Call:
    """A call of a function of PyTorch."""

    def __init__(self, function, args, kwargs, results):
        self.function, self.name = function, name_of(function)
        self.inputs, self.sources = (args, kwargs), _tensors((args, kwargs))
        self.results = _tensors(results)
        self.single = isinstance(results, torch.Tensor)
        self.changes = _changes(function, args, kwargs, results)
        self.keys = [id(x) for x in self.sources]
        self.outputs = [id(y) for y in self.results] + ([CHANGED] if self.changes else [])

    @property
    def guardable(self):
        known = self.name in NONLINEAR | BILINEAR | SHARING
        return known and self.single and not self.changes and self.results[0].requires_grad


class Recorded(TorchFunctionMode):
    """Keeps the calls, and with them their tensors, which identities tell apart."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        if _counts(function, results):
            self.made.append((function, args, kwargs or {}, results))
        return results

    @functools.cached_property
    def calls(self):
        return [Call(*made) for made in self.made]

    @property
    def matters(self):
        names = [name_of(function) for function, *_ in self.made]
        first = next((n for n, name in enumerate(names) if name in SINGULAR), len(names))
        if SELECTING.isdisjoint(names[first:]):  # as in most models
            return False
        return not self._foreign and reach.matters(
            self.calls, lambda call: call.name in SINGULAR, lambda call: call.name in SELECTING
        )

    @property
    def _foreign(self):
        """Whether a function with a gradient of its own was applied unseen."""
        made = {key for call in self.calls for key in call.outputs}
        custom = torch.autograd.function.BackwardCFunction
        return any(
            isinstance(x.grad_fn, custom) and id(x) not in made
            for call in self.calls
            for x in call.sources
        )


class Guarded(TorchFunctionMode):
    """Makes the same calls, away from what does not reach the results."""

    def __init__(self, calls, results):
        super().__init__()
        self.calls, self.number, self.same = calls, 0, True
        results = dict.fromkeys([*(id(y) for y in results), CHANGED], True)
        with torch.no_grad(), Exchanging(FORMULAS):  # which entries of equal ones they take
            self.plans = reach.plans(calls, results, _passed)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        number, given = self.number, (args, kwargs or {})
        before = self.calls[number] if number < len(self.calls) else None
        fits = self.same and before and before.name == name_of(function)
        fits = fits and len(before.sources) == len(_tensors(given))
        if fits and number in self.plans and before.guardable:
            results = self._guarded(function, given, before)
        else:
            results = function(*args, **(kwargs or {}))
        if _counts(function, results):
            self.number, self.same = number + 1, bool(fits)
        return results

    def _guarded(self, function, given, before):
        def call(tensors):
            args, kwargs = _with(given, tensors)
            return [function(*args, **kwargs)]

        plan, tensors = self.plans[self.number], _tensors(given)
        plan = reach.without_nan(plan, tensors) if before.name in SHARING else plan
        return reach.guarded(torch.where, call, plan, tensors, before.results)[0]


def exact(function, inputs, context):
    """`function(inputs)`, in a context; in its derivatives what is left out has no part."""
    recorded, start = Recorded(), states()
    with context(), recorded:
        found = function(inputs)
    if not recorded.matters:
        return found
    guarded = Guarded(recorded.calls, _tensors(found))
    with without_effects(), drawing_again(start), context(), guarded:
        return function(inputs)


def name_of(function):
    name = function.__name__
    if name == "__get__":  # of an attribute, such as the transpose
        return function.__self__.__name__
    return name[2:-2] if name.startswith("__") else name.removesuffix("_")


def _counts(function, results):
    """Whether a call belongs to the program: a layer asks for shapes when built, and not again."""
    return bool(_tensors(results)) or function.__name__ == "__setitem__"


def _changes(function, args, kwargs, results):
    name = function.__name__
    inplace = name.endswith("_") and not name.endswith("__")
    own = name.startswith("__i") and args and results is args[0]
    return inplace or bool(own) or name == "__setitem__" or kwargs.get("out") is not None


def _passed(call, masks):
    """For each tensor it is given where that takes part in what `masks` select."""
    everywhere = [True] * len(call.sources)
    if call.changes:
        return everywhere
    if not any(y.requires_grad for y in call.results):
        return [None] * len(call.sources)  # it decides, as it did before
    if call.single and call.name in ELEMENTWISE:
        return [_narrowed(masks[0], x, call.results[0]) for x in call.sources]
    partial = any(mask is not True for mask in masks)
    if call.name in SELECTING or (call.name in PICKING | BILINEAR and partial):
        return _transposed(call, masks)
    return everywhere


def _transposed(call, masks):
    """A sum or a choice of entries passes on where any of its results is selected."""
    bilinear = call.name in BILINEAR
    given = [x.detach() for x in call.sources]
    given = [torch.ones_like(x) if bilinear and reach.is_float(x) else x for x in given]
    given = [x.requires_grad_() if x.is_floating_point() else x for x in given]
    floats = [x for x in given if x.requires_grad]
    args, kwargs = _with(call.inputs, given)
    with torch.enable_grad():
        ys = _tensors(call.function(*args, **kwargs))
    pairs = [(y, _as_number(m, y)) for y, m in zip(ys, masks) if y.requires_grad]
    if not pairs:
        return [True] * len(given)
    ys, arriving = zip(*pairs)
    slopes = torch.autograd.grad(ys, floats, arriving, allow_unused=True)
    found = {id(x): g if g is None else g > 0 for x, g in zip(floats, slopes)}
    return [found.get(id(x), True) for x in given]


def _as_number(mask, y):
    if mask is None or mask is True:
        return torch.full_like(y, mask is True)
    return mask.to(y.dtype).expand_as(y)


def _narrowed(mask, x, result):
    """The mask of a result as one of an argument that was broadcast."""
    if mask is True or not x.is_floating_point() or x.shape == result.shape:
        return mask
    return mask.expand(result.shape).to(result.dtype).sum_to_size(x.shape) != 0


def _with(nested, tensors):
    """The same arguments with other tensors."""
    leaves, structure = tree_flatten(nested)
    tensors = iter(tensors)
    leaves = [next(tensors) if isinstance(x, torch.Tensor) else x for x in leaves]
    return tree_unflatten(leaves, structure)


def _tensors(nested):
    """The tensors among arguments or results, in less time than `tree_leaves` takes."""
    if isinstance(nested, torch.Tensor):
        return [nested]
    if isinstance(nested, dict):
        nested = nested.values()
    elif not isinstance(nested, (tuple, list)):
        return []
    return [x for part in nested for x in _tensors(part)]

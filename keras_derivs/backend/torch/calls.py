"""The functions of PyTorch that a model calls, and what lies on the way.

An operation lies on the way if it depends on an input and the output depends on it, other than
through a stopped gradient.
"""

import sys
from dataclasses import dataclass

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from keras_derivs.backend.rows import rows_of
from keras_derivs.backend.step import Step
from keras_derivs.backend.torch import kinks
from keras_derivs.backend.torch.across import is_across
from keras_derivs.backend.torch.exact import name_of
from keras_derivs.backend.torch.frames import (
    is_ours,
    own_function,
    replaced_function,
    selects_whole,
)
from keras_derivs.graph.private import current_path

STOPPED = {"detach", "no_grad"}
# They leave PyTorch: the derivative would lack what passes through them.
LOST = {"numpy", "tolist", "item", "array", "data_ptr"}
# Piecewise constant: the derivative of what passes through them is zero.
FLAT = {
    "round", "floor", "ceil", "trunc", "sign", "sgn", "argmax", "argmin", "bucketize",
    "floor_divide", "cast_to_integer",
}  # fmt: skip
AT_POINTS = {f"{name}, at single points" for name in ("masked_fill", "nan_to_num", "where")}
KINKED = {
    "abs",
    "absolute",
    "relu",
    "relu6",
    "leaky_relu",
    "hardtanh",
}  # their second derivative is zero


@dataclass(frozen=True)
class _Call:
    type: str
    path: str
    sources: list
    results: list
    enabled: bool = True  # whether gradients were recorded
    own: type | None = None  # the `torch.autograd.Function` that brings its gradient
    across: bool = False  # it computes along the batch axis
    given: list = ()  # all that it is given, numbers and tensors
    kernels: tuple | None = None  # the operations it is made of; `None`: it has its own gradient

    @property
    def ends(self):
        """Whether the results do not vary with the values of the sources."""
        return _creates(self.type)

    @property
    def stops(self):
        """What keeps the gradient of the sources from the results; `None`: nothing."""
        floats = [y for y in self.results if y.is_floating_point()]
        if self.own or self.ends or not floats or not any(x.requires_grad for x in self.sources):
            return None
        if any(y.requires_grad for y in floats):
            return None
        return "detach" if self.enabled else "no_grad"


class _Recorder(TorchFunctionMode):
    """Keeps the calls of PyTorch's functions, with their tensors, which identities tell apart."""

    def __init__(self, num_rows, kernels):
        super().__init__()
        self.calls, self.num_rows, self.kernels = [], num_rows, kernels

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.kernels.clear()
        try:
            result = function(*args, **(kwargs or {}))
        except RuntimeError:  # a tensor that is differentiated is not read as an array
            if name_of(function) in LOST:
                self.calls.append(_Call("numpy", current_path(), _tensors(args), []))
            raise
        sources, results = _tensors((args, kwargs)), _tensors(result)
        if sources:
            enabled = torch.is_grad_enabled()
            frame = sys._getframe()
            own = None if enabled else own_function(frame)
            type = own.__name__.removeprefix("_") if own else replaced_function(frame)
            kernels = tuple(self.kernels) if type is None else None
            type = type or _type(function, sources, results)
            type = f"{type} of a function" if type == "eq" and selects_whole(frame) else type
            across = is_across(_name(function), args, kwargs or {}, sources, results, self.num_rows)
            path, given = current_path(), tree_leaves((args, kwargs or {}))
            known = enabled, own, across, given, kernels
            self.calls.append(_Call(type, path, sources, results, *known))
        return result


class _Kernels(TorchDispatchMode):
    """Keeps the names of the operations below PyTorch's functions, which have the gradients."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        name = operation.__name__.split(".")[0].removesuffix("_")
        if any(map(_is_number, _tensors(result))) and not _creates(name):
            self.names.append(name)
        return result


def calls(run, inputs, wrt):
    """What `traced` of `keras_derivs.backend` returns."""
    kernels = _Kernels()
    recorder = _Recorder(rows_of(inputs), kernels.names)
    inputs = [_followed(x.detach()) for x in inputs]
    try:
        with torch.enable_grad(), kernels, recorder:
            y = run(inputs)
    except Exception:  # it does not take these inputs
        read = [call for call in recorder.calls if call.type in LOST and not call.results]
        if not read:
            return None
        y = read[-1].sources[0]
    starts = {id(inputs[position]) for position in wrt}
    return _walk(recorder.calls, starts, y), [], 0


def _followed(x):
    return x.requires_grad_() if x.is_floating_point() else x


def _walk(calls, starts, y):
    reached, alive, needed, depend = set(starts), set(starts), {id(y)}, []
    for call in calls:
        varying = [] if call.ends else call.results
        moved = {id(y) for y in varying if y.dtype != torch.bool}
        depend.append([any(id(x) in known for x in call.sources) for known in (reached, alive)])
        reached |= moved if depend[-1][0] else set()
        alive |= moved if depend[-1][1] and not call.stops else set()
    rows = []
    for call, (depends, lives) in zip(calls[::-1], depend[::-1]):
        type = call.stops or call.type
        read = not call.results and type in LOST
        wanted = any(id(y) in needed for y in call.results) or read
        if wanted and type not in STOPPED and not call.ends:
            needed |= {id(x) for x in call.sources}
        on_the_way = (wanted or bool(call.own)) and (lives if read else depends)
        across = depends and call.across
        rows.append((call, type, on_the_way, across))
    rows.reverse()
    between = {number for number, (_, _, on_the_way, _) in enumerate(rows) if on_the_way}
    cancels, even, bent, chosen = kinks.found(calls, [y], between, starts)
    return [
        _step(*row, cancels.get(n), n in even, n not in bent, n in chosen)
        for n, row in enumerate(rows)
    ]


def _step(call, type, on_the_way, across, cancels, even, straight, chosen):
    if chosen:
        type = f"{type}, at single points"
    if even:
        type, cancels = f"{type}, in an even function", cancels or 2
    own = call.own is not None and not is_ours(call.own)
    known = on_the_way, own, across, straight, cancels, call.kernels
    return Step(type, f"{call.path}/{type}", *known)


def _tensors(nested):
    return [x for x in tree_leaves(nested) if isinstance(x, torch.Tensor)]


def _name(function):
    """Its name, without the mark of one that changes its argument."""
    name = function.__name__
    return name if name.endswith("__") else name.removesuffix("_")


def _type(function, sources, results):
    name = name_of(function)
    whole = results and not (_is_number(results[0]) or results[0].dtype == torch.bool)
    if name in ("to", "type", "int", "long", "view") and sources[0].is_floating_point() and whole:
        return "cast_to_integer"
    if name in ("abs", "absolute") and sources[0].is_complex():
        return "magnitude"
    return name


def _creates(name):
    """Whether an operation makes a tensor like another, or random numbers."""
    return name.endswith("_like") or name.startswith(("new_", "bernoulli", "rand"))


def _is_number(x):
    """Whether a tensor is real or complex, and no integer or truth value."""
    return x.is_floating_point() or x.is_complex()

"""The functions of PyTorch that a model calls: what lies on the way, and what is made exact.

An operation lies on the way if it depends on an input and the output depends on it, other than
through a stopped gradient.
"""

import math
import sys
from dataclasses import dataclass

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from keras_derivs.backend import torch_kinks
from keras_derivs.backend.step import Step
from keras_derivs.backend.torch_across import is_across, rows_of
from keras_derivs.backend.torch_exact import name_of
from keras_derivs.backend.torch_frames import own_function, replaced_function
from keras_derivs.graph.private import current_path

STOPPED = {"detach", "no_grad"}
# They leave PyTorch: the derivative would lack what passes through them.
LOST = {"numpy", "tolist", "item", "array", "data_ptr"}
# Piecewise constant: the derivative of what passes through them is zero.
FLAT = {
    "round", "floor", "ceil", "trunc", "sign", "sgn", "argmax", "argmin", "bucketize",
    "floor_divide", "cast_to_integer",
}  # fmt: skip
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
    own: bool = False  # the model brings its gradient
    across: bool = False  # it computes along the batch axis
    given: list = ()  # all that it is given, numbers and tensors

    @property
    def ends(self):
        """Whether the results do not vary with the values of the sources."""
        return self.type.endswith("_like") or self.type.startswith("new_")

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

    def __init__(self, num_rows):
        super().__init__()
        self.calls, self.num_rows = [], num_rows

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sources, results = _tensors((args, kwargs)), _tensors(result)
        if sources:
            enabled = torch.is_grad_enabled()
            frame = sys._getframe()
            own = None if enabled else own_function(frame)
            type = own or replaced_function(frame) or _type(function, sources, results)
            across = is_across(_name(function), args, kwargs or {}, sources, results, self.num_rows)
            path, given = current_path(), tree_leaves((args, kwargs or {}))
            self.calls.append(
                _Call(type, path, sources, results, enabled, bool(own), across, given)
            )
        return result


def calls(run, inputs, wrt):
    """What `traced` of `keras_derivs.backend` returns."""
    recorder = _Recorder(rows_of(inputs))
    inputs = [_followed(x.detach()) for x in inputs]
    with torch.enable_grad(), recorder:
        y = run(inputs)
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
        on_the_way = (wanted or call.own) and (lives if read else depends)
        across = depends and call.across
        rows.append((call, type, on_the_way, across))
    rows.reverse()
    between = {number for number, (_, _, on_the_way, _) in enumerate(rows) if on_the_way}
    cancels, even = torch_kinks.found(calls, [y], between)
    return [_step(*row, cancels.get(n), n in even) for n, row in enumerate(rows)]


def _step(call, type, on_the_way, across, cancels, even):
    if even:
        type, cancels = f"{type}, in an even function", cancels or 2
    return Step(type, f"{call.path}/{type}", on_the_way, call.own, across, cancels)


def _tensors(nested):
    return [x for x in tree_leaves(nested) if isinstance(x, torch.Tensor)]


def _name(function):
    """Its name, without the mark of one that changes its argument."""
    name = function.__name__
    return name if name.endswith("__") else name.removesuffix("_")


def _type(function, sources, results):
    name = name_of(function)
    whole = results and not (results[0].is_floating_point() or results[0].dtype == torch.bool)
    if name in ("to", "type", "int", "long", "view") and sources[0].is_floating_point() and whole:
        return "cast_to_integer"
    return name


class Exact(TorchFunctionMode):
    """Calls formulas in place of functions whose higher derivatives PyTorch has wrong or not."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return FORMULAS.get(function, function)(*args, **(kwargs or {}))


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """By definition: the third derivative of PyTorch's own is wrong."""
    axes = tuple(range(-len(normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    y = centred * torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
    """By definition: the fast kernels can be differentiated once."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale
        )


def _gelu(x, approximate="none"):
    """By definition: the higher derivatives of PyTorch's own overflow far out."""
    if approximate != "tanh":
        return torch.nn.functional.gelu(x, approximate=approximate)
    inner = (2 / math.pi) ** 0.5 * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1 + torch.tanh(inner))


class _Arctangent(torch.autograd.Function):
    """Its derivative 1 / (1 + x^2) neither overflows nor loses its derivatives far out."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.atan(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        large, ones = x.abs() > 1, torch.ones_like(x)
        near, inverse = torch.where(large, ones, x), 1 / torch.where(large, x, ones)
        far = inverse * inverse / (1 + inverse * inverse)
        return gradient * torch.where(large, far, 1 / (1 + near * near))


class _Power(torch.autograd.Function):
    """The exponents 0 and 1 end in a constant, also where x is 0."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return torch.pow(x, y)

    @staticmethod
    def backward(ctx, gradient):
        x, y = ctx.saved_tensors
        by_x = by_y = None
        if ctx.needs_input_grad[0]:
            zero = y == 0  # an exponent that varies leaves 0 at once
            zero = zero & (x == 0) if ctx.needs_input_grad[1] else zero
            below = _Power.apply(x, torch.where(zero, torch.ones_like(y), y - 1))
            by_x = gradient * torch.where(zero, torch.zeros_like(y), y * below)
        if ctx.needs_input_grad[1]:
            safe = torch.where(x == 0, torch.ones_like(x), x)
            by_y = gradient * torch.log(safe) * _Power.apply(x, y)
        return by_x, by_y


def _power(x, y):
    if not isinstance(y, torch.Tensor) or not torch.result_type(x, y).is_floating_point:
        return torch.pow(x, y)
    dtype = torch.result_type(x, y)
    x, y = (torch.as_tensor(z, device=y.device).to(dtype) for z in (x, y))
    return _Power.apply(*torch.broadcast_tensors(x, y))


FORMULAS = {
    torch.atan: _Arctangent.apply,
    torch.arctan: _Arctangent.apply,
    torch.pow: _power,
    torch.Tensor.pow: _power,
    torch.Tensor.__pow__: _power,
    torch.Tensor.__rpow__: lambda y, x: _power(x, y),
    torch.nn.functional.gelu: _gelu,
    torch.nn.functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    torch.nn.functional.scaled_dot_product_attention: _attention,
}

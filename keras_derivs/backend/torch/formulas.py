"""A few functions of PyTorch, whose own higher derivatives are wrong or missing, by formulas."""

import math

import torch
from torch.overrides import TorchFunctionMode

from keras_derivs.backend import powers
from keras_derivs.backend.torch import order
from keras_derivs.backend.torch.determinant import determinant


class Exchanging(TorchFunctionMode):
    """Calls formulas in place of functions of PyTorch."""

    def __init__(self, formulas):
        super().__init__()
        self._formulas = formulas

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return self._formulas.get(function, function)(*args, **(kwargs or {}))


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """By definition: the third derivative of PyTorch's own is wrong."""
    axes = tuple(range(-len(normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    y = centred * torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
    """By definition: the fast kernels can be differentiated once."""
    if attn_mask is not None and attn_mask.is_floating_point():
        query = _outside_of_masks(query, attn_mask)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale
        )


def _outside_of_masks(query, mask):
    """Zeros where all is masked by numbers so large that the scores do not change the sums."""
    masked = (mask < max(torch.finfo(mask.dtype).min / 2, -1e30)).all(-1, keepdim=True)
    return torch.where(masked, torch.zeros_like(query), query)


def _gelu(x, approximate="none"):
    """By definition: the higher derivatives of PyTorch's own overflow far out."""
    if approximate != "tanh":
        return torch.nn.functional.gelu(x, approximate=approximate)
    inner = (2 / math.pi) ** 0.5 * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1 + torch.tanh(inner))


def _sinc(x):
    """By its power series near 0, where PyTorch's own has no second derivative."""
    near = x.abs() < 0.5
    z, series = (math.pi * torch.where(near, x, torch.zeros_like(x))) ** 2, torch.ones_like(x)
    for k in range(10, 0, -1):
        series = 1 - series * z / (2 * k * (2 * k + 1))
    z = math.pi * torch.where(near, torch.ones_like(x), x)
    return torch.where(near, series, torch.sin(z) / z)


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
    """x^y, or its partial derivative of the orders i and j."""

    @staticmethod
    def forward(ctx, x, y, i=0, j=0):
        ctx.save_for_backward(x, y)
        ctx.orders = i, j
        return powers.partial(x, y, i, j) if i or j else torch.pow(x, y)

    @staticmethod
    def backward(ctx, gradient):
        (x, y), (i, j) = ctx.saved_tensors, ctx.orders
        by_x, by_y = ctx.needs_input_grad[:2]
        return (
            gradient * _Power.apply(x, y, i + 1, j) if by_x else None,
            gradient * _Power.apply(x, y, i, j + 1) if by_y else None,
            None,
            None,
        )


def _power(x, y):
    if not isinstance(y, torch.Tensor) or not torch.result_type(x, y).is_floating_point:
        return torch.pow(x, y)
    dtype = torch.result_type(x, y)
    x, y = (torch.as_tensor(z, device=y.device).to(dtype) for z in (x, y))
    return _Power.apply(*torch.broadcast_tensors(x, y))


def _of_triangle(function, upper):
    """The function of a symmetric matrix of which it reads one triangle, as its gradient does."""

    def read(x, *args, **kwargs):
        own = torch.triu if upper(*args, **kwargs) else torch.tril
        strict = own(x, 1 if own is torch.triu else -1)
        return function(own(x) + strict.mH, *args, **kwargs)

    return read


def _upper(upper=False, **_):
    return upper


def _uplo(UPLO="L", **_):  # as PyTorch calls it
    return UPLO in ("U", "u")


def _cholesky_inverse(x, upper=False):
    return torch.cholesky_inverse(torch.triu(x) if upper else torch.tril(x), upper)


FORMULAS = {
    torch.atan: _Arctangent.apply,
    torch.arctan: _Arctangent.apply,
    torch.pow: _power,
    torch.Tensor.pow: _power,
    torch.Tensor.__pow__: _power,
    torch.Tensor.__rpow__: lambda y, x: _power(x, y),
    torch.sort: order.sort,
    torch.Tensor.sort: order.sort,
    torch.quantile: order.quantile,
    torch.Tensor.quantile: order.quantile,
    torch.nanquantile: order.nanquantile,
    torch.Tensor.nanquantile: order.nanquantile,
    torch.det: determinant,
    torch.linalg.det: determinant,
    torch.Tensor.det: determinant,
    torch.linalg.cholesky: _of_triangle(torch.linalg.cholesky, _upper),
    torch.linalg.cholesky_ex: _of_triangle(torch.linalg.cholesky_ex, _upper),
    torch.linalg.eigh: _of_triangle(torch.linalg.eigh, _uplo),
    torch.linalg.eigvalsh: _of_triangle(torch.linalg.eigvalsh, _uplo),
    torch.cholesky_inverse: _cholesky_inverse,
    torch.Tensor.cholesky_inverse: _cholesky_inverse,
    torch.sinc: _sinc,
    torch.Tensor.sinc: _sinc,
    torch.nn.functional.gelu: _gelu,
    torch.nn.functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    torch.nn.functional.scaled_dot_product_attention: _attention,
}

"""Gradients of PyTorch that no file format has, made of operations that all have."""

import math

import torch

aten = torch.ops.aten


def _largest(pool, axes):
    """A pool that takes the entries from where the largest ones are."""

    def max_pool(x, *args, return_indices=False, **kwargs):
        if return_indices:
            return pool(x, *args, return_indices=True, **kwargs)
        y, places = pool(x.detach(), *args, return_indices=True, **kwargs)
        return x.flatten(-axes).gather(-1, places.flatten(-axes)).reshape(y.shape)

    return max_pool


class _Convolution(torch.autograd.Function):
    """Its gradient by the input is the transposed convolution, whose gradient is this one."""

    @staticmethod
    def forward(ctx, x, kernel, stride, padding, dilation, transposed, output_padding, groups):
        ctx.save_for_backward(kernel)
        ctx.given = x.shape[2:], (stride, padding, dilation), transposed, groups
        return aten.convolution(
            x, kernel, None, stride, padding, dilation, transposed, output_padding, groups
        )

    @staticmethod
    def backward(ctx, gradient):
        (kernel,) = ctx.saved_tensors
        lengths, how, transposed, groups = ctx.given
        missing = [0] * len(lengths)
        if not transposed:
            reached = _reached(gradient, kernel.shape[2:], *how)
            missing = [n - m for n, m in zip(lengths, reached)]
        by_x = _Convolution.apply(gradient, kernel, *how, not transposed, missing, groups)
        return by_x, *[None] * 7


def _convolved(axes, x, kernel, bias, how, transposed, output_padding, groups):
    """A convolution with a kernel that is constant; a kernel that depends on x is left as it is."""
    if isinstance(how[1], str) or kernel.requires_grad or x.dim() != axes + 2:
        return None
    how = [_each(numbers, axes) for numbers in how]
    y = _Convolution.apply(x, kernel, *how, transposed, _each(output_padding, axes), groups)
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


def _convolution(plain, axes):
    def conv(x, kernel, bias=None, stride=1, padding=0, dilation=1, groups=1):
        how = stride, padding, dilation
        y = _convolved(axes, x, kernel, bias, how, False, 0, groups)
        return plain(x, kernel, bias, stride, padding, dilation, groups) if y is None else y

    return conv


def _transposed(plain, axes):
    def conv(x, kernel, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        how = stride, padding, dilation
        y = _convolved(axes, x, kernel, bias, how, True, output_padding, groups)
        given = stride, padding, output_padding, groups, dilation
        return plain(x, kernel, bias, *given) if y is None else y

    return conv


def _reached(y, sizes, stride, padding, dilation):
    """The lengths of an input of which a convolution, or a pool, uses every entry."""
    parts = zip(y.shape[2:], sizes, stride, padding, dilation)
    return [(m - 1) * s - 2 * p + d * (k - 1) + 1 for m, k, s, p, d in parts]


def _average_pool(
    gradient, x, sizes, stride, padding, ceil_mode, count_include_pad, divisor_override
):
    """Each entry of the result goes to the entries of its window, by a transposed convolution."""
    if ceil_mode or (any(padding) and not count_include_pad):
        return NotImplemented
    sizes, stride, padding = (_each(n, x.dim() - 2) for n in (sizes, stride or sizes, padding))
    ones = [1] * len(sizes)
    channels = x.shape[1]
    kernel = torch.full(
        (channels, 1, *sizes), 1 / (divisor_override or math.prod(sizes)), dtype=x.dtype
    )
    reached = _reached(gradient, sizes, stride, padding, ones)
    missing = [max(n - m, 0) for n, m in zip(x.shape[2:], reached)]
    return aten.convolution(
        gradient, kernel.to(x.device), None, stride, padding, ones, True, missing, channels
    )


def _replication_pad(gradient, x, padding):
    """What was repeated at the ends gets the sum."""
    for number in range(len(padding) // 2):
        axis, (before, after) = -1 - number, padding[2 * number : 2 * number + 2]
        gradient = _of_repeated(gradient, axis, before, x.shape[axis], after)
    return gradient


def _of_repeated(gradient, axis, before, length, after):
    if length == 1:
        return gradient.sum(axis, keepdim=True)
    first = gradient.narrow(axis, 0, before + 1).sum(axis, keepdim=True)
    last = gradient.narrow(axis, before + length - 1, after + 1).sum(axis, keepdim=True)
    middle = gradient.narrow(axis, before + 1, length - 2)
    return torch.cat([first, middle, last], axis)


def _each(sizes, count):
    sizes = [sizes] if isinstance(sizes, int) else list(sizes)
    return sizes * count if len(sizes) == 1 else sizes


PORTABLE = {
    aten.avg_pool2d_backward.default: _average_pool,
    aten.avg_pool3d_backward.default: _average_pool,
    aten.replication_pad1d_backward.default: _replication_pad,
    aten.replication_pad2d_backward.default: _replication_pad,
    aten.replication_pad3d_backward.default: _replication_pad,
}
FORMULAS = {"max_pool": _largest, "conv": _convolution, "conv_transpose": _transposed}
FUNCTIONS = {  # whose own second derivatives hold for one number of rows
    getattr(torch.nn.functional, f"{name}{axes}d"): formula(
        getattr(torch.nn.functional, f"{name}{axes}d"), axes
    )
    for name, formula in FORMULAS.items()
    for axes in (1, 2, 3)
}


def _permuted(x, order):
    """In four axes: the converter to LiteRT drops a permutation of three that were permuted as
    four before, where their lengths are equal.
    """
    if x.dim() != 3:
        return NotImplemented
    return x.unsqueeze(0).permute(0, *(axis % 3 + 1 for axis in order)).squeeze(0)


LITERT = {  # what LiteRT has not, or its converter mistakes
    aten.erfc.default: lambda x: 1 - aten.erf(x),
    aten.permute.default: _permuted,
}

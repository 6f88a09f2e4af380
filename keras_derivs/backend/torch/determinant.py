"""The determinant on PyTorch, whose higher derivatives need an inverse that may not exist."""

import torch
from torch._subclasses.fake_tensor import FakeTensor

BLOCK = 4  # rows of a matrix that need no factorization, and the highest order that is right


def determinant(x):
    """A polynomial of the entries: singular matrices have all its derivatives, too."""
    if x.is_complex() or x.shape[-1] == 0:
        return torch.linalg.det(x)
    if x.shape[-1] < BLOCK:
        return _by_products(x)
    if isinstance(x, FakeTensor) or not _nearly_singular(x.detach()).any():
        return torch.linalg.det(x)
    return _by_elimination(x)


def _nearly_singular(x):
    pivots = torch.linalg.lu_factor_ex(x).LU.diagonal(dim1=-2, dim2=-1).abs()
    return pivots.amin(-1) <= pivots.amax(-1) * torch.finfo(x.dtype).eps ** 0.5


def _by_elimination(x):
    """With complete pivoting, down to a block: no division by what is zero in singular matrices.

    Where fewer rows than all but the block's are independent, the pivots and the entries that are
    left are so many zeros that all derivatives up to the block's size are zeros too.
    """
    product = 1
    while x.shape[-1] > BLOCK:
        x, sign = _largest_first(x)
        pivot = x[..., 0, 0]
        product = product * sign * pivot
        divisor = torch.where(pivot == 0, torch.ones_like(pivot), pivot)[..., None, None]
        x = x[..., 1:, 1:] - x[..., 1:, :1] / divisor * x[..., :1, 1:]
    return product * _by_products(x)


def _largest_first(x):
    """The matrix, two rows and two columns exchanged, and the sign that its determinant gets."""
    side, sign = x.shape[-1], 1
    place = x.detach().abs().flatten(-2).argmax(-1)[..., None]
    for axis, first in ((-2, place // side), (-1, place % side)):
        order = torch.arange(side, device=x.device)
        order = torch.where(order == 0, first, torch.where(order == first, 0, order))
        x = x.gather(axis, (order[..., None] if axis == -2 else order[..., None, :]).expand_as(x))
        sign = sign * torch.where(first[..., 0] == 0, 1, -1)
    return x, sign


def _by_products(x):
    """Without divisions (Bird, "A simple division-free algorithm for determinants", 2011)."""
    y = x
    for _ in range(x.shape[-1] - 1):
        diagonal = y.diagonal(dim1=-2, dim2=-1)
        below = diagonal.cumsum(-1) - diagonal.sum(-1, keepdim=True)
        y = (y.triu(1) + torch.diag_embed(below)) @ x
    return y[..., 0, 0] * (-1) ** (x.shape[-1] - 1)

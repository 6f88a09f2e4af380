"""The determinant on PyTorch, whose higher derivatives need an inverse that may not exist."""

import torch

BY_PRODUCTS = 3  # rows of a matrix whose determinant is as accurate without a factorization


def determinant(x):
    """A polynomial of the entries: singular matrices have all its derivatives, too."""
    if x.is_complex() or x.shape[-1] == 0:
        return torch.linalg.det(x)
    if x.shape[-1] <= BY_PRODUCTS:
        return _by_products(x)
    near = _nearly_singular(x)
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    regular = torch.linalg.det(torch.where(near[..., None, None], identity, x))
    return torch.where(near, _by_products(x), regular)


def _nearly_singular(x):
    """By Hadamard's inequality, |det x| is at most the product of the lengths of the rows."""
    largest = x.square().sum(-1).sqrt().prod(-1)
    return torch.linalg.det(x).abs() <= largest * torch.finfo(x.dtype).eps ** 0.5


def _by_products(x):
    """Without divisions (Bird, "A simple division-free algorithm for determinants", 2011)."""
    y = x
    for _ in range(x.shape[-1] - 1):
        diagonal = y.diagonal(dim1=-2, dim2=-1)
        below = diagonal.cumsum(-1) - diagonal.sum(-1, keepdim=True)
        y = (y.triu(1) + torch.diag_embed(below)) @ x
    return y[..., 0, 0] * (-1) ** (x.shape[-1] - 1)

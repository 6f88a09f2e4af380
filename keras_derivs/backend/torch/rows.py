"""Jacobians of functions of single rows, some rows at once."""

import keras
import torch

ROWS = 32  # each is pulled back through all of them


def jacobians_of_rows(function, xs, inputs, columns):
    """See `keras_derivs.backend.jacobians_of_rows`."""
    xs = [x.detach().requires_grad_() for x in xs]
    count = len(keras.tree.flatten(inputs)[0])
    parts = [slice(start, start + ROWS) for start in range(0, count, ROWS)]
    return torch.cat([_of_rows(function, xs, _rows(inputs, part), columns) for part in parts])


def _rows(inputs, part):
    return keras.tree.map_structure(lambda z: z[part], inputs)


def _of_rows(function, xs, inputs, columns):
    with torch.enable_grad():
        found = function(xs, inputs).reshape(-1)
    each = torch.eye(len(found), dtype=found.dtype, device=found.device)
    gradients = [None] * len(xs)
    if found.requires_grad:
        gradients = torch.autograd.grad(found, xs, each, is_grads_batched=True, allow_unused=True)
    flat = [
        found.new_zeros(len(found), x.numel()) if g is None else g.reshape(len(found), -1)
        for x, g in zip(xs, gradients)
    ]
    return torch.cat(flat, dim=1).reshape(-1, columns, sum(x.numel() for x in xs))

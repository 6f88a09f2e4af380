"""Rows of a Jacobian on PyTorch, without what other entries of the output would bring into them.

A row is pulled back from a cotangent that is zero for the other entries. PyTorch multiplies these
zeros by slopes, which may be infinite: the row of sqrt(x_1) would be no number by x_2, where x_2 is
0. So a row with such numbers is pulled back once more, while each node of PyTorch's graph tells
which of the numbers that it returns lead to the selected entries; the others are zeros.
"""

import contextlib
import re

import torch
from torch._subclasses.fake_tensor import FakeTensor

from keras_derivs.backend.torch.exact import ELEMENTWISE

MARK = "_keras_derivs_selects"  # attribute of a cotangent that is zero where nothing is selected
KIND = re.compile(r"_?(\w+?)Backward\d*")
EACH = {name.replace("_", "") for name in ELEMENTWISE} | {
    "arctangent", "logsigmoid", "power", "sigmoidbackward", "silubackward", "softplusbackward",
    "tanhbackward", "tocopy",
}  # fmt: skip
FACTORS = {"mul": ("_saved_other", "_saved_self"), "div": ("_saved_other", "_saved_self")}
LINEAR = {  # without negative coefficients
    "alias", "amax", "amin", "asstrided", "cat", "constantpadnd", "cummax", "cummin", "cumsum",
    "diagonal", "diagonalbackward", "embedding", "expand", "flip", "gather", "index", "indexselect",
    "indexselectbackward", "maskedfill", "max", "maximum", "mean", "min", "minimum", "permute",
    "repeat", "reshapealias", "roll", "scatter", "scatteradd", "select", "selectbackward", "slice",
    "slicebackward", "split", "splitwithsizes", "squeeze", "stack", "sum", "t", "transpose", "tril",
    "triu", "unbind", "unfold", "unsafeview", "unsqueeze", "valueselectingreduction",
    "valueselectingreductionbackward", "view", "where",
}  # fmt: skip


def mark(cotangent):
    setattr(cotangent, MARK, True)
    return cotangent


def is_marked(cotangent):
    return getattr(cotangent, MARK, False)


def without_others(pull, y, cotangent, xs):
    """`pull()`, the gradients of `y` for `xs` from a cotangent, of its selected entries alone."""
    found = pull()
    if isinstance(y, FakeTensor):  # a program is being recorded, without numbers
        return found
    if not any(g is not None and g.detach().sum().isnan() for g in found):
        return found
    with _following(y, cotangent != 0, {x.grad_fn for x in xs}):
        return pull()


@contextlib.contextmanager
def _following(y, mask, ends):
    """Hooks of all nodes between `y` and the ends, which follow the entries that `mask` selects."""
    masks = {(y.grad_fn, y.output_nr): mask}
    handles = [
        node.register_hook(lambda found, given, node=node: _apart(node, found, given, masks))
        for node in _nodes(y.grad_fn, ends)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nodes(start, ends):
    waiting, seen = [start], {start}
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None and node not in seen | ends and node.next_functions:
                seen.add(node)
                waiting.append(node)
    return seen - ends


def _apart(node, found, given, masks):
    """The gradients that a node returns, without the entries that nothing selected comes from."""
    arriving = [masks.get((node, n)) for n in range(len(given))]
    alive = _alive(_kind(node), node, found, given, arriving)
    for edge, mask in zip(node.next_functions, alive):
        masks[edge] = mask if edge not in masks else _either(masks[edge], mask)
    return tuple(
        g if g is None or mask is True else torch.where(mask, g, torch.zeros_like(g))
        for g, mask in zip(found, alive)
    )


def _alive(kind, node, found, given, arriving):
    """For each gradient that a node returns which of its entries count; `True`: all of them."""
    everywhere = [True] * len(found)
    if all(mask is True for mask in arriving) and kind not in FACTORS:
        return everywhere
    if kind in EACH:
        mask = torch.ones_like(given[0], dtype=torch.bool) if arriving[0] is True else arriving[0]
        masks = [_multiplied(kind, node, n, mask) for n in range(len(found))]
        return [True if g is None else _narrowed(m, g) for m, g in zip(masks, found)]
    if kind not in LINEAR:
        return everywhere
    with torch.no_grad():
        ones = [_ones(mask, g) for mask, g in zip(arriving, given)]
        passed = node(*ones)
    passed = passed if isinstance(passed, tuple) else (passed,)
    return [True if g is None else g != 0 for g in passed]


def _multiplied(kind, node, n, mask):
    """The mask without the zeros, such as of a row before, that multiply an argument."""
    sources = [source for source, _ in node.next_functions]
    if kind not in FACTORS or len(sources) < 2 or sources[1 - n] is not None:
        return mask
    return mask & (getattr(node, FACTORS[kind][n]) != 0)


def _ones(mask, given):
    if mask is None or mask is True:
        return given if given is None else torch.full_like(given, mask is True)
    return mask.to(given.dtype)


def _narrowed(mask, found):
    """The mask of a result as one of an argument that was repeated."""
    if mask.shape == found.shape:
        return mask
    return mask.to(found.dtype).sum_to_size(found.shape) != 0


def _either(one, other):
    return True if one is True or other is True else one | other


def _kind(node):
    found = KIND.fullmatch(node.name())
    return found and found[1].lower().replace("_", "")

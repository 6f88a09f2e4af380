"""What sorts, on PyTorch: at ties the derivative is that of the first of equal entries.

PyTorch's own sorts need not keep the order of equal entries.
"""

import torch


def sort(x, dim=-1, descending=False, stable=True):
    return torch.sort(x, dim=dim, descending=descending, stable=True)


def quantile(x, q, dim=None, keepdim=False, *, interpolation="linear"):
    """Between the two entries beside its rank; no number where one of them is none."""

    def ranks(ordered, q):
        last = ordered.shape[-1] - 1
        return torch.where(ordered.isnan().any(-1, keepdim=True), last, q * last)

    return _between(x, q, dim, keepdim, interpolation, ranks)


def nanquantile(x, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The same of those that are numbers."""

    def ranks(ordered, q):
        last = (~ordered.isnan()).sum(-1, keepdim=True) - 1
        return q * last.clamp(min=0).to(q.dtype)

    return _between(x, q, dim, keepdim, interpolation, ranks)


def _between(x, q, dim, keepdim, interpolation, ranks):
    q = torch.as_tensor(q, dtype=x.dtype, device=x.device)
    rows = x.reshape(-1) if dim is None else x.movedim(dim, -1)
    ordered = torch.sort(rows, dim=-1, stable=True).values
    rank = ROUNDED.get(interpolation, lambda rank: rank)(ranks(ordered, q.reshape(-1)))
    below, above = (ordered.gather(-1, place.detach().long()) for place in (rank, rank.ceil()))
    weight = 0.5 if interpolation == "midpoint" else rank - rank.detach().floor()
    found = torch.lerp(below, above, weight) if interpolation in MEANS else below
    found = found.movedim(-1, 0)
    if keepdim:
        places = range(1, x.dim() + 1) if dim is None else [dim % x.dim() + 1]
        for place in places:
            found = found.unsqueeze(place)
    return found if q.dim() else found.squeeze(0)


MEANS = ("linear", "midpoint")
ROUNDED = {"lower": torch.floor, "higher": torch.ceil, "nearest": torch.round}

"""Sums of tensors that leave out what is nothing, zero times something or one time it."""


def total(parts):
    """The sum of what is not `None`; `None` if there is nothing."""
    parts = [part for part in parts if part is not None]
    return sum(parts[1:], start=parts[0]) if parts else None


def scaled(tensor, factor):
    """A tensor times a factor; `None` for zero times it."""
    number = isinstance(factor, (int, float))
    if tensor is None or (number and factor == 0):
        return None
    return tensor if number and factor == 1 else tensor * factor


def weighted_sum(parts, times=scaled):
    """The sum of weight times tensor over pairs of them, tensors of equal weights added first."""
    groups = {}
    for weight, tensor in parts:
        groups.setdefault(weight, []).append(tensor)
    return total([times(total(tensors), weight) for weight, tensors in groups.items()])

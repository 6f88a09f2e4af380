"""Which entries of a tensor: the `outputs=` and `inputs=` of a Jacobian block."""

import math
import operator

import numpy as np


def parse(selection, name):
    """One entry per axis: an int, a list of ints, or a slice; `None` selects all.

    A lone int, list, range or slice is the selection on the first axis.
    """
    if selection is None:
        return None
    axes = selection if isinstance(selection, tuple) else (selection,)
    if not axes:
        raise ValueError(
            f"`{name}=` needs an index per axis. Received: {selection!r}. "
            f"Give an int, a list, a range or a slice."
        )
    return tuple(_parse_axis(axis, name) for axis in axes)


def _parse_axis(axis, name):
    if isinstance(axis, dict) and set(axis) == {"slice"}:  # from a saved config
        bounds = axis["slice"]
        axis = slice(*bounds) if isinstance(bounds, list) and len(bounds) == 3 else axis
    if isinstance(axis, slice):
        return _parse_slice(axis, name)
    if isinstance(axis, (range, list, np.ndarray)):
        return [_parse_index(index, name) for index in axis]
    return _parse_index(axis, name)


def _parse_slice(axis, name):
    bounds = [
        None if bound is None else _parse_index(bound, name)
        for bound in (axis.start, axis.stop, axis.step)
    ]
    if bounds[2] == 0:
        raise ValueError(
            f"`{name}=` needs a slice that moves. Received: {axis!r}, of step 0. Give a step of "
            f"1 or more, or leave it out."
        )
    return slice(*bounds)


def _parse_index(index, name):
    if not isinstance(index, (bool, np.bool_)):
        try:
            return operator.index(index)
        except TypeError:
            pass
    raise TypeError(
        f"`{name}=` needs integer indices: an int, a list, a range, a slice, or a "
        f"tuple of those, one per axis. Received: {index!r} "
        f"(of type {type(index).__name__}). Give positions, not names or masks."
    )


def serialize(axes):
    """The JSON form of a parsed selection; `parse` reads it back."""
    if axes is None:
        return None
    return [
        {"slice": [axis.start, axis.stop, axis.step]} if isinstance(axis, slice) else axis
        for axis in axes
    ]


def resolve(axes, shape, name):
    """The selected positions along each axis of `shape`, and the selected shape.

    Returns `(positions, selected)`: an array of non-negative indices per axis, and the
    lengths of the axes that lists and slices keep (an int drops its axis).
    """
    if axes is None:
        axes = (slice(None),) * len(shape)
    if len(axes) != len(shape):
        raise ValueError(
            f"`{name}=` needs one selection per axis of a tensor of shape {_batched(shape)}, "
            f"the batch axis left out: {len(shape)}. Received: {len(axes)}, {axes!r}. "
            f"Select a whole axis with `slice(None)`."
        )
    if None in shape:
        raise ValueError(
            f"`{name}=` needs a tensor whose axes are known. Received: shape {_batched(shape)}. "
            f"Give the unknown axis a length, or take the whole Jacobian and select from it."
        )
    positions = [_positions(axis, size, name) for axis, size in zip(axes, shape)]
    selected = tuple(
        len(found) for axis, found in zip(axes, positions) if not isinstance(axis, int)
    )
    return positions, selected


def _positions(axis, size, name):
    if isinstance(axis, slice):
        found = np.arange(size)[axis]
    else:
        wanted = axis if isinstance(axis, list) else [axis]
        outside = [index for index in wanted if not -size <= index < size]
        if outside:
            raise ValueError(
                f"`{name}=` needs indices from {-size} to {size - 1}, for an axis of length "
                f"{size}. Received: {outside}. Leave out what is out of range."
            )
        found = np.asarray(wanted, dtype="int64") % size
    if len(set(found.tolist())) < found.size:
        raise ValueError(
            f"`{name}=` needs every index once. Received: {axis!r} for an axis of length "
            f"{size}. Leave out the repeated ones."
        )
    if not found.size:
        raise ValueError(
            f"`{name}=` needs at least one index. Received: {axis!r} for an axis of length "
            f"{size}. Select something."
        )
    return found


def flat_indices(positions, shape):
    """Row-major indices of the selected block of a tensor of the given shape."""
    if not positions:
        return np.zeros(1, "int64")
    grid = np.meshgrid(*positions, indexing="ij")
    return np.ravel_multi_index(grid, shape).reshape(-1)


def size(shape):
    """The number of entries per sample, `None` where an axis is unknown."""
    return None if None in shape else math.prod(shape)


def _batched(shape):
    return (None, *shape)

"""Which entries of a tensor: the `outputs=` and `inputs=` of a Jacobian block."""

import math
import operator

import numpy as np

from keras_derivs.limits import MAX_AXES, MAX_INTEGER, MAX_NUMBERS, check, shown


def parse(selection, name):
    """One entry per axis: an int, a list of ints, a range or a slice; `None` selects all.

    A lone int, list, range or slice is the selection on the first axis.
    """
    if selection is None:
        return None
    axes = selection if isinstance(selection, tuple) else (selection,)
    if not axes:
        raise ValueError(
            f"`{name}=` needs an index per axis. Received: {shown(selection)}. "
            f"Give an int, a list, a range or a slice."
        )
    check(len(axes), MAX_AXES, f"{name}=", "axes")
    return tuple(_parse_axis(axis, name) for axis in axes)


def _parse_axis(axis, name):
    axis = _from_config(axis, name) if isinstance(axis, dict) else axis
    if isinstance(axis, range):
        return axis
    if isinstance(axis, slice):
        return _parse_slice(axis, name)
    if isinstance(axis, list) or (isinstance(axis, np.ndarray) and axis.ndim == 1):
        check(len(axis), MAX_NUMBERS, f"{name}=", "indices")
        return [_parse_index(index, name) for index in axis]
    return _parse_index(axis, name)


def _from_config(axis, name):
    """A slice or a range, as `serialize` writes them."""
    kind, bounds = next(iter(axis.items()), (None, None))
    if kind not in ("slice", "range") or not isinstance(bounds, list) or len(bounds) != 3:
        return axis
    axis = _parse_slice(slice(*bounds), name)
    return axis if kind == "slice" else range(*(_parse_index(bound, name) for bound in bounds))


def _parse_slice(axis, name):
    bounds = [
        None if bound is None else _parse_index(bound, name)
        for bound in (axis.start, axis.stop, axis.step)
    ]
    if bounds[2] == 0:
        raise ValueError(
            f"`{name}=` needs a slice that moves. Received: {axis}, of step 0. Give a step of 1 or "
            f"more, or leave it out."
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
        f"tuple of those, one per axis. Received: {shown(index)} "
        f"(of type {type(index).__name__}). Give positions, not names or masks."
    )


def serialize(axes):
    """The JSON form of a parsed selection; `parse` reads it back."""
    if axes is None:
        return None
    return [_serialize_axis(axis) for axis in axes]


def _serialize_axis(axis):
    if isinstance(axis, (slice, range)):
        return {type(axis).__name__: [axis.start, axis.stop, axis.step]}
    return axis


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
            f"the batch axis left out: {len(shape)}. Received: {len(axes)}, {shown(axes)}. "
            f"Select whole axes with `slice(None)` where several entries may be taken."
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
    check(size, MAX_INTEGER, f"{name}=", "entries along an axis")
    if isinstance(axis, slice):
        found = _as_array(range(size)[axis], name)
    else:
        wanted = [axis] if isinstance(axis, int) else axis
        ends = [*wanted[:1], *wanted[-1:]] if isinstance(axis, range) else wanted
        outside = [index for index in ends if not -size <= index < size]
        if outside:
            raise ValueError(
                f"`{name}=` needs indices from {-size} to {size - 1}, for an axis of length "
                f"{size}. Received: {shown(outside)}. Leave out what is out of range."
            )
        found = _as_array(wanted, name) % size
    if len(set(found.tolist())) < found.size:
        raise ValueError(
            f"`{name}=` needs every index once. Received: {shown(axis)} for an axis of length "
            f"{size}. Leave out the repeated ones."
        )
    if not found.size:
        raise ValueError(
            f"`{name}=` needs at least one index. Received: {shown(axis)} for an axis of length "
            f"{size}. Select something."
        )
    return found


def _as_array(indices, name):
    check(len(indices), MAX_NUMBERS, f"{name}=", "indices")
    return np.asarray(indices, dtype="int64")


def flat_indices(positions, shape):
    """Row-major indices of the selected block of a tensor of the given shape."""
    if not positions:
        return np.zeros(1, "int64")
    check(math.prod(map(len, positions)), MAX_NUMBERS, "outputs=` or `inputs=", "entries")
    grid = np.meshgrid(*positions, indexing="ij")
    return np.ravel_multi_index(grid, shape).reshape(-1)


def size(shape):
    """The number of entries per sample, `None` where an axis is unknown."""
    return None if None in shape else math.prod(shape)


def _batched(shape):
    return (None, *shape)

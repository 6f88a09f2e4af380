"""Types of what the public functions take and return."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any  # matplotlib is imported where it is drawn

Layer: TypeAlias = keras.layers.Layer  # a `keras.Model` is one, too
Model: TypeAlias = keras.Model
Tensor: TypeAlias = Any  # symbolic, of the backend, or an array
Wrt: TypeAlias = int | str | Sequence[int | str] | None  # inputs, by position or name
Which: TypeAlias = Wrt  # outputs
Component: TypeAlias = Any  # an int, a tuple of those, integer labels, or "argmax"
Axis: TypeAlias = int | Sequence[int] | range | slice
Selection: TypeAlias = Axis | tuple[Axis, ...] | None  # a selection for each axis
Names: TypeAlias = Sequence[str] | Mapping[str, str] | None  # names, or names and units
Span: TypeAlias = tuple[float, float]
Path: TypeAlias = str | PathLike[str]

__all__ = [
    "Any",
    "ArrayLike",
    "Axes",
    "Callable",
    "Component",
    "Layer",
    "Mapping",
    "Model",
    "Names",
    "Path",
    "Selection",
    "Sequence",
    "Span",
    "Tensor",
    "Which",
    "Wrt",
]

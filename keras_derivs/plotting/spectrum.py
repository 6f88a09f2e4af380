"""Eigenvalues of a Hessian, or singular values of a Jacobian."""

import numpy as np

from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.layers.hessian import Hessian
from keras_derivs.plotting import arrays
from keras_derivs.plotting.canvas import BLUE, GREY, INK, LIGHT, RED, canvas, plain, title
from keras_derivs.typing import Any, Axes

KINDS = ("auto", "eigenvalues", "singular values")


def spectrum(matrix: Any, x: Any = None, *, kind: str = "auto", ax: Axes | None = None) -> Axes:
    """Draw the spectrum of a matrix at each sample: the median, and the range over samples.

    Args:
        matrix: A layer such as `Hessian(model)` or `Jacobian(model)`, a model, for its Hessian,
            or an array `(samples, rows, columns)` or `(rows, columns)`.
        x: The samples, where a layer or a model is given.
        kind: `"eigenvalues"`, of symmetric matrices, `"singular values"`, or `"auto"`: those of a
            Hessian, or of matrices that are all symmetric, are eigenvalues.
        ax: The Axes to draw into; those of a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: Numbers or names do not fit each other, or are not finite, or there are no
            samples.
        TypeError: `ax` is no Axes.
        ImportError: matplotlib is not installed.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, "tanh")])
    >>> ax = kd.plotting.spectrum(kd.Hessian(model), np.ones((4, 3)))
    >>> ax.get_ylabel()
    'eigenvalue'
    """
    if kind not in KINDS:
        raise ValueError(f"`kind=` needs one of {KINDS}. Received: {kind!r}. Use 'auto'.")
    layer = arrays.layer_of(matrix, Hessian)
    values = _matrices(layer, arrays.result(layer, x))
    symmetric = values.shape[1] == values.shape[2] and np.allclose(
        values, values.swapaxes(1, 2), rtol=1e-3, atol=1e-5 * np.abs(values).max(initial=0)
    )
    if kind == "eigenvalues" and not symmetric:
        raise ValueError(
            f"`kind='eigenvalues'` needs symmetric matrices. Received: shape {values.shape}. Use "
            f"'singular values'."
        )
    if kind == "singular values" or not symmetric:
        found = np.linalg.svd(values, compute_uv=False)
        return _draw(canvas(ax), found, "singular value", "Singular values")
    found = np.linalg.eigvalsh((values + values.swapaxes(1, 2)) / 2)[:, ::-1]
    return _draw(canvas(ax), found, "eigenvalue", "Eigenvalues")


def _matrices(source, values):
    """One matrix a sample, with all axes of x (and of y) in one."""
    if isinstance(source, DerivativeLayer) and values.ndim > 3:
        rows, columns = map(len, arrays.selected(source, None))
        rows = columns if source.kind == "hessian" else rows
        if values[0].size == rows * columns:
            return values.reshape(-1, rows, columns)
    if values.ndim == 2 and not isinstance(source, DerivativeLayer):
        values = values[None]
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(
            f"A spectrum needs a matrix for each sample. Received: shape {values.shape}. Give the "
            f"result of `Jacobian`, or of `Hessian` with `component=` for one output."
        )
    return values


def _draw(ax, found, label, words):
    count = np.arange(1, found.shape[1] + 1)
    middle = np.median(found, axis=0)
    plain(ax)
    if len(found) > 1:
        ax.vlines(count, found.min(axis=0), found.max(axis=0), color=LIGHT, linewidth=_width(count))
    colours = np.where(middle < 0, RED, BLUE)
    ax.scatter(count, middle, c=colours, s=_size(count), zorder=3)
    ax.axhline(0, color=GREY, linewidth=0.7)
    _scale(ax, found)
    ax.set_xlabel("number, in descending order", color=INK)
    ax.set_ylabel(label, color=INK)
    ax.xaxis.get_major_locator().set_params(integer=True)
    over = f": median and range over {len(found)} samples" if len(found) > 1 else ""
    title(ax, words + over)
    return ax


def _width(count):
    return max(1.0, min(7.0, 160 / len(count)))


def _size(count):
    return max(6.0, min(36.0, 900 / len(count)))


def _scale(ax, found):
    """Logarithmic where the values reach over more than three decades."""
    sizes = np.abs(found[found != 0])
    if sizes.size and sizes.max() > 1e3 * np.quantile(sizes, 0.1):
        ax.set_yscale("symlog", linthresh=sizes.max() / 1e4)

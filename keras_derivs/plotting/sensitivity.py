"""A block of a Jacobian over samples."""

import keras
import numpy as np
from keras import ops

from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.layers.jacobian import Jacobian, SubJacobian
from keras_derivs.plotting import arrays
from keras_derivs.plotting.canvas import (
    BLUE,
    GREY,
    INK,
    canvas,
    colour_bar,
    number,
    plain,
    symmetric,
    ticks,
    title,
)
from keras_derivs.plotting.quantities import derivative, quantities
from keras_derivs.typing import Any, Axes, Names

WRITTEN, DOTTED = 10, 40  # the most cells a side with numbers, and with dots for the spread


def sensitivity(
    jacobian: Any,
    x: Any = None,
    *,
    outputs: Names = None,
    inputs: Names = None,
    standardise: Any = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a block of a Jacobian: mean and spread (standard deviation) over samples.

    One output is drawn as bars, several as a map: with numbers where it is small, else with a dot
    in each cell whose area is the spread.

    Args:
        jacobian: A layer, such as `SubJacobian(model, outputs=, inputs=)`, a model, all of whose
            outputs and inputs are drawn, or an array `(samples, outputs, inputs)`, or
            `(samples, inputs)` for one output.
        x: The samples, where a layer or a model is given.
        outputs: Names of the outputs, or a dict of names and units.
        inputs: Names of the inputs, or a dict of names and units.
        standardise: In standard deviations of y by standard deviations of x, over the samples;
            `True` where a layer or a model is given, else the pair of scales
            `(of each input, of each output)`.
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
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "tanh")])
    >>> ax = kd.plotting.sensitivity(model, np.ones((4, 3)), inputs={"t": "s", "x": "m", "y": "m"})
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['t [s]', 'x [m]', 'y [m]']
    """
    if _has_several(jacobian):
        jacobian, x, outputs, inputs = _flat(jacobian, x, outputs, inputs)
    layer = arrays.layer_of(jacobian, Jacobian)
    values = _blocks(layer, arrays.result(layer, x), x)
    if standardise is not False:
        of_x, of_y = _scales(layer, x, standardise, values.shape[1:])
        values = values * of_x / of_y[:, None]
    mean, spread = values.mean(axis=0), values.std(axis=0)
    return draw(mean, spread, outputs, inputs, standardise is not False, ax)


def draw(
    mean, spread, outputs=None, inputs=None, standardised=False, ax=None, heading=None, label=None
):
    """Draw means and spreads, arrays of shape (outputs, inputs)."""
    rows, columns = mean.shape
    ys = quantities(outputs, [f"y[{i}]" if rows > 1 else "y" for i in range(rows)], "outputs")
    xs = quantities(inputs, [f"x[{j}]" for j in range(columns)], "inputs")
    if rows == 1:
        return _bars(mean[0], spread[0], ys[0], xs, standardised, ax)
    label = label or _label(ys, xs, standardised)
    return _map(mean, spread, ys, xs, standardised, ax, heading or "Sensitivities", label)


def _has_several(model):
    """Whether a model has several inputs or outputs."""
    if isinstance(model, DerivativeLayer) or not isinstance(model, keras.Model):
        return False
    tensors = (getattr(model, name, None) or [] for name in ("inputs", "outputs"))
    return any(len(several) > 1 for several in tensors)


def _flat(model, x, outputs, inputs):
    """A layer from all float inputs of a model to all outputs, its samples, and names."""
    found = arrays.flattened(model)
    columns, rows = found.differentiable, range(len(found.output_names))
    layer = SubJacobian(found.model, outputs=rows, inputs=columns)
    inputs = [found.input_names[n] for n in columns] if inputs is None else inputs
    outputs = found.output_names if outputs is None else outputs
    return layer, arrays.samples(x, found), outputs, inputs


def _blocks(source, values, x):
    """One axis for all outputs and one for all inputs."""
    found = values
    if isinstance(source, DerivativeLayer):
        rows, columns = map(len, arrays.selected(source, x))
        whole = values.size == len(values) * rows * columns
        found = values.reshape(len(values), rows, columns) if whole else values[:0]
    found = found[:, None] if found.ndim == 2 else found
    if found.ndim != 3 or not found.size:
        raise ValueError(
            f"A sensitivity needs an array (samples, outputs, inputs). Received: shape "
            f"{values.shape}. Give the result of `Jacobian`, `SubJacobian` or `Gradient`, for one "
            f"sample at least."
        )
    return found


def _scales(source, x, standardise, shape):
    """The standard deviations of the inputs and outputs that stand in a block."""
    if standardise is not True:
        of_x, of_y = _given(standardise)
    elif isinstance(source, DerivativeLayer):
        of_x, of_y = _measured(source, x)
    else:
        raise ValueError(
            "`standardise=True` needs a layer or a model, and samples. Received: an array. Give "
            "the scales: standardise=(x.std(axis=0), y.std(axis=0))."
        )
    if (len(of_y), len(of_x)) != shape or not np.all(of_y > 0):
        raise ValueError(
            f"`standardise=` needs a scale for each of {shape[1]} inputs, and one above zero for "
            f"each of {shape[0]} outputs. Received: {of_x} and {of_y}. Give samples that differ, "
            f"or other scales."
        )
    return of_x, of_y


def _given(scales):
    if not isinstance(scales, (tuple, list)) or len(scales) != 2:
        raise ValueError(
            f"`standardise=` needs True, False, or the scales of the inputs and of the outputs. "
            f"Received: {scales!r}. Give (x.std(axis=0), y.std(axis=0)), say."
        )
    return [arrays.array(scale, "standardise=").reshape(-1) for scale in scales]


def _measured(layer, x):
    """The standard deviations over samples of what a layer selects."""
    y = keras.tree.flatten(layer.model(x))[layer.plan.output]
    xs = keras.tree.flatten(x)[layer.plan.wrt[0]]
    rows, columns = arrays.selected(layer, x)
    return _spread(xs)[columns], _spread(y)[rows]


def _spread(values):
    found = np.asarray(ops.convert_to_numpy(values), "float64")
    return found.reshape(len(found), -1).std(axis=0)


def _bars(mean, spread, y, xs, standardised, ax):
    ax = canvas(ax, (5.6, min(0.9 + 0.32 * len(xs), 10)))
    places = np.arange(len(xs))
    whiskers = {"ecolor": INK, "elinewidth": 1, "capsize": 2.5}
    ax.barh(places, mean, xerr=spread, height=0.62, color=BLUE, error_kw=whiskers)
    ax.axvline(0, color=GREY, linewidth=0.7)
    units = {"" if standardised else derivative(y, x).unit for x in xs}
    shared = len(units) == 1
    ticks(ax.yaxis, [x.name if shared else _with_unit(y, x) for x in xs])
    ax.invert_yaxis()
    plain(ax)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    unit = f" [{units.pop()}]" if shared and units != {""} else ""
    words = f"∂{y.name}/∂input"
    ax.set_xlabel(f"{words}, both in standard deviations" if standardised else words + unit)
    title(ax, f"Sensitivity of {y.name}: mean ± standard deviation")
    return ax


def _with_unit(y, x):
    unit = derivative(y, x).unit
    return f"{x.name} [{unit}]" if unit else x.name


def _map(mean, spread, ys, xs, standardised, ax, heading, label):
    rows, columns = mean.shape
    wide = 0.075 * max(len(str(y)) for y in ys)  # of the names on the left
    ax = canvas(
        ax, (wide + max(4, min(1.9 + 0.75 * columns, 9)), max(2.8, min(1.3 + 0.6 * rows, 8)))
    )
    image = ax.imshow(mean, aspect="auto", **symmetric(mean))
    ticks(ax.xaxis, [x.name if standardised else str(x) for x in xs])
    ticks(ax.yaxis, [y.name if standardised else str(y) for y in ys])
    if max(len(str(x)) for x in xs) * columns > 60:
        ax.tick_params(axis="x", rotation=60)
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)
    words = "mean"
    if max(rows, columns) <= WRITTEN:
        _numbers(ax, image, mean, spread)
        words = "mean ± standard deviation"
    elif max(rows, columns) <= DOTTED and spread.max() > 0:
        _dots(ax, spread)
        words = "mean; area of a dot: standard deviation"
    colour_bar(ax, image, label)
    title(ax, f"{heading}: {words}")
    return ax


def _label(ys, xs, standardised):
    if standardised:
        return "∂y/∂x, both in standard deviations"
    units = {derivative(y, x).unit for y in ys for x in xs}
    return f"∂y/∂x [{units.pop()}]" if len(units) == 1 and units != {""} else "∂y/∂x"


def _numbers(ax, image, mean, spread):
    reach = image.norm.vmax
    for (i, j), value in np.ndenumerate(mean):
        ink = "white" if abs(value) > 0.6 * reach else INK
        text = f"{number(value)}\n± {number(spread[i, j])}"
        ax.text(j, i, text, ha="center", va="center", fontsize=7.5, color=ink)


def _dots(ax, spread):
    i, j = np.indices(spread.shape)
    sizes = 40 * spread / spread.max()
    ax.scatter(j.ravel(), i.ravel(), s=sizes.ravel(), c=INK, linewidths=0)

"""A function of one input, with its slope and curvature."""

import numpy as np

from keras_derivs.plotting import arrays
from keras_derivs.plotting.canvas import BLUE, GREY, INK, LIGHT, canvas, plain
from keras_derivs.plotting.quantities import derivative, quantities
from keras_derivs.typing import Any, Axes, Model, Names, Span

MOST_LINES = 30
PANELS = ([0, 0.56, 1, 0.38], [0, 0.28, 1, 0.19], [0, 0, 1, 0.19])


def profile(
    model: Model,
    x: Any,
    feature: int | str = 0,
    *,
    output: int | str = 0,
    span: Span | None = None,
    outputs: Names = None,
    inputs: Names = None,
    num_points: int = 201,
    ax: Axes | None = None,
) -> Axes:
    """Draw a model along one input: its value, its slope and its curvature.

    The other inputs stay as in `x`. Several samples are drawn as thin lines, and their mean as a
    strong one.

    Args:
        model: A `keras.Model` of float inputs.
        x: One sample, or several: an array, or one for each input, as the model takes them.
        feature: The input to vary: its number in one flattened sample, or its name.
        output: The output to draw: its number in one flattened sample, or its name.
        span: The lower and upper end of the input; the range of the samples by default, or one
            unit to each side of a single sample.
        outputs: Names of all outputs, or a dict of names and units.
        inputs: Names of all inputs, or a dict of names and units.
        num_points: The number of points along the input.
        ax: The Axes to draw into: three panels are put in their place. Those of a new figure by
            default.

    Returns:
        The Axes; `ax.child_axes` are the three panels.

    Raises:
        ValueError: A name, a number or a span does not fit the model, or what it
            returns is not finite.
        TypeError: `model` is not a `keras.Model`, or is a derivative layer, or `ax` is no Axes.
        ImportError: matplotlib is not installed.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "tanh")])
    >>> ax = kd.plotting.profile(model, np.zeros(2), "t", inputs=["t", "x"], outputs=["u"])
    >>> [panel.get_title(loc="left") for panel in ax.child_axes]
    ['u', '∂u/∂t', '∂²u/∂t²']
    """
    found = arrays.flattened(model)
    xs = quantities(inputs, found.input_names, "inputs")
    ys = quantities(outputs, found.output_names, "outputs")
    feature = arrays.entry(feature, [x.name for x in xs], "feature")
    output = arrays.entry(output, [y.name for y in ys], "output")
    rows = arrays.samples(x, found)[:MOST_LINES]
    arrays.check_least(num_points, 2, "num_points")
    along = np.linspace(*_span(span, rows[:, feature]), num_points)
    points = np.repeat(rows, num_points, axis=0)
    points[:, feature] = np.tile(along, len(rows))
    terms = [(), (feature,), (feature, feature)]
    curves = arrays.partials(found, terms, points, output)
    curves = [curve.reshape(len(rows), num_points) for curve in curves]
    at = rows[0, feature] if len(rows) == 1 else None
    return _draw(canvas(ax, (5.6, 5.0)), along, curves, ys[output], xs[feature], at)


def _span(span, values):
    if span is not None:
        return arrays.span(span, "span")
    low, high = values.min(), values.max()
    return (low, high) if low < high else (low - 1, high + 1)


def _draw(ax, along, curves, y, x, at):
    ax.set_axis_off()
    panels = [ax.inset_axes(place) for place in PANELS]
    labels = [str(y), str(derivative(y, x)), str(derivative(y, x, x))]
    for panel, curve, label in zip(panels, curves, labels):
        _panel(panel, along, curve, label, zero=panel is not panels[0])
        if at is not None:
            panel.axvline(at, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)))
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    panels[-1].set_xlabel(str(x), color=INK)
    return ax


def _panel(panel, along, curve, label, zero):
    plain(panel)
    if zero:
        panel.axhline(0, color=GREY, linewidth=0.6)
    if len(curve) > 1:
        panel.plot(along, curve.T, color=LIGHT, linewidth=0.7)
    panel.plot(along, curve.mean(axis=0), color=BLUE, linewidth=2)
    panel.set_xlim(along[0], along[-1])
    panel.set_title(label, loc="left", fontsize="medium", color=INK, pad=3)
    panel.margins(y=0.12)

"""A function of two inputs."""

import numpy as np

from keras_derivs.plotting import arrays
from keras_derivs.plotting.canvas import INK, canvas, colour_bar, plain, symmetric, title
from keras_derivs.plotting.quantities import derivative, held, quantities
from keras_derivs.typing import Any, ArrayLike, Axes, Model, Names, Sequence, Span


def field(
    model: Model,
    spans: Sequence[Span],
    *,
    features: Any = (0, 1),
    at: ArrayLike | None = None,
    output: int | str = 0,
    outputs: Names = None,
    inputs: Names = None,
    num_points: int = 81,
    num_arrows: int = 15,
    ax: Axes | None = None,
) -> Axes:
    """Draw a model over two inputs: value, gradient and Laplacian.

    The value as contour lines, the gradient as arrows, the Laplacian (of these two inputs) as
    colour.

    Args:
        model: A `keras.Model` of float inputs.
        spans: The lower and upper ends of both inputs: `[(0, 1), (-1, 1)]`.
        features: The two inputs: their numbers in one flattened sample, or their names.
        at: One sample, for the inputs that stay as they are; zeros by default.
        output: The output to draw: its number in one flattened sample, or its name.
        outputs: Names of all outputs, or a dict of names and units.
        inputs: Names of all inputs, or a dict of names and units.
        num_points: The number of points along each input.
        num_arrows: The number of arrows along each input.
        ax: The Axes to draw into; those of a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: A name, a number or a span does not fit the model, or what it
            returns is not finite.
        TypeError: `model` is not a `keras.Model`, or is a derivative layer, or `ax` is no Axes.
        ImportError: matplotlib is not installed.

    Example:

    >>> import keras, keras_derivs as kd
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "tanh")])
    >>> ax = kd.plotting.field(model, [(0, 1), (-1, 1)], inputs={"t": "s", "x": "m"})
    >>> ax.get_ylabel()
    'x [m]'
    """
    found = arrays.flattened(model)
    xs = quantities(inputs, found.input_names, "inputs")
    ys = quantities(outputs, found.output_names, "outputs")
    i, j = two_features(features, [x.name for x in xs])
    output = arrays.entry(output, [y.name for y in ys], "output")
    spans = two_spans(spans)
    arrays.check_least(num_points, 2, "num_points")
    arrays.check_least(num_arrows, 1, "num_arrows")
    point = np.zeros(len(xs)) if at is None else arrays.samples(at, found, "at")[0]
    fine, coarse = ((num_points, num_points), (num_arrows, num_arrows))
    grid, (u, u_xx, u_yy) = _on(found, spans, fine, point, (i, j), output, [(), (i, i), (j, j)])
    arrows = _on(found, _inner(spans, num_arrows), coarse, point, (i, j), output, [(i,), (j,)])
    ax = _draw(canvas(ax, (6, 4.4)), grid, u, u_xx + u_yy, arrows, ys[output], (xs[i], xs[j]))
    title(ax, f"{ys[output]}: contours; arrows: its gradient{held(point, (i, j), xs)}")
    return ax


def two_features(chosen, names):
    if not isinstance(chosen, (tuple, list)) or len(chosen) != 2:
        raise ValueError(
            f"`features=` needs two inputs. Received: {chosen!r}. Give their numbers or names, "
            f"such as (0, 1)."
        )
    i, j = (arrays.entry(choice, names, "features") for choice in chosen)
    if i == j:
        raise ValueError(
            f"`features=` needs two different inputs. Received: {chosen!r}. Choose another one, or "
            f"draw a `profile` along one input."
        )
    return i, j


def two_spans(spans):
    if not hasattr(spans, "__len__") or len(spans) != 2:
        raise ValueError(
            f"`spans` needs a lower and an upper end for both inputs. Received: {spans!r}. Give "
            f"[(0, 1), (-1, 1)], say."
        )
    return [arrays.span(span, "spans") for span in spans]


def at_points(point, features, coordinates):
    """Samples like `point` but for these features."""
    points = np.tile(point, (coordinates[0].size, 1))
    for feature, values in zip(features, coordinates):
        points[:, feature] = values.ravel()
    return points


def _on(found, spans, sizes, point, features, output, terms):
    grid = arrays.grid(spans, sizes)
    values = arrays.partials(found, terms, at_points(point, features, grid), output)
    return grid, [value.reshape(sizes) for value in values]


def _inner(spans, count):
    """The centres of as many cells along each span."""
    halves = [(high - low) / (2 * count) for low, high in spans]
    return [(low + half, high - half) for (low, high), half in zip(spans, halves)]


def _draw(ax, grid, value, laplacian, arrows, y, xs):
    image = ax.pcolormesh(*grid, laplacian, shading="gouraud", **symmetric(laplacian))
    image.set_rasterized(True)
    if np.ptp(value[np.isfinite(value)]) > 0:
        lines = ax.contour(*grid, value, levels=9, colors=INK, linewidths=0.7)
        ax.clabel(lines, fontsize=7, fmt="%.3g")
    at, slopes = arrows
    if np.any(slopes):
        ax.quiver(*at, *slopes, color=INK, alpha=0.75, width=0.0032, pivot="mid", angles="xy")
    ax.set_xlabel(str(xs[0]), color=INK)
    ax.set_ylabel(str(xs[1]), color=INK)
    plain(ax)
    units = {x.unit for x in xs}
    unit = _unit(y, xs) if len(units) == 1 else ""
    colour_bar(ax, image, f"Laplacian ∆{y.name}{unit}")
    return ax


def _unit(y, xs):
    unit = derivative(y, xs[0], xs[0]).unit
    return f" [{unit}]" if unit else ""

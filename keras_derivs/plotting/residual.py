"""The residual of an equation over its domain."""

import numpy as np
from keras import ops

from keras_derivs.plotting import arrays
from keras_derivs.plotting.canvas import (
    BLUE,
    GREY,
    INK,
    SEQUENTIAL,
    canvas,
    colour_bar,
    number,
    plain,
    title,
)
from keras_derivs.plotting.field import at_points, two_features
from keras_derivs.plotting.quantities import held, quantities
from keras_derivs.typing import Any, ArrayLike, Axes, Model, Names


def residual(
    model: Model,
    domain: ArrayLike,
    *,
    output: int | str = "residual",
    features: Any = None,
    at: ArrayLike | None = None,
    inputs: Names = None,
    num_points: int = 101,
    ax: Axes | None = None,
) -> Axes:
    """Draw what an equation leaves over a domain of one or two inputs.

    Over one input the residual itself, over two its absolute value, on a logarithmic scale where
    it varies by more than a factor of ten. The title tells the root of the mean square and the
    maximum.

    Args:
        model: A `keras.Model`, one of whose outputs is the residual.
        domain: A span `(low, high)` for each input, `[(0, 1), (-1, 1)]`, or an array of points
            `(points, inputs)`; a dict of spans or of arrays, for a model that takes a dict.
        output: The output that is the residual: its number in one flattened sample, or its name.
            Where the model has one output only, that.
        features: The inputs to draw over, of a model with more than two: their numbers or names.
        at: One sample, for the inputs that stay as they are, with spans; zeros by default.
        inputs: Names of all inputs, or a dict of names and units.
        num_points: The number of points along each input.
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
    >>> x = keras.Input((1,), name="x")
    >>> u = keras.layers.Dense(1)(keras.layers.Dense(8, "tanh")(x))
    >>> model = keras.Model(x, {"u": u, "residual": kd.diff(u, x, x) + u})
    >>> ax = kd.plotting.residual(model, [(0, 1)])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('x', 'residual')
    """
    found = arrays.flattened(model)
    xs = quantities(inputs, found.input_names, "inputs")
    names = found.output_names
    output = 0 if len(names) == 1 else arrays.entry(output, names, "output")
    chosen = _features(features, [x.name for x in xs])
    point = np.zeros(len(xs)) if at is None else arrays.samples(at, found, "at")[0]
    arrays.check_least(num_points, 2, "num_points")
    points, shape = _points(domain, chosen, point, num_points, found)
    values = _evaluate(found.model, points)[:, output]
    if not np.all(np.isfinite(values)):
        raise ValueError(
            f"A picture needs a finite residual. Received: {np.sum(~np.isfinite(values))} of "
            f"{len(values)} values of '{names[output]}' that are not. Leave out the points where "
            f"it is singular."
        )
    coordinates = [points[:, feature] for feature in chosen]
    drawn = [xs[feature] for feature in chosen]
    if len(chosen) == 1:
        ax = _line(canvas(ax, (5.6, 3.2)), coordinates[0], values, drawn[0], names[output])
    else:
        ax = _map(canvas(ax, (5.8, 4)), coordinates, values, shape, drawn, names[output])
    size, most = np.sqrt(np.mean(values**2)), np.abs(values).max()
    words = f"root mean square {number(size)}, at most {number(most)}"
    elsewhere = "" if shape is None else held(point, chosen, xs)
    title(ax, f"{names[output]}: {words}{elsewhere}")
    return ax


def _features(features, names):
    if features is None and len(names) <= 2:
        return list(range(len(names)))
    if features is None:
        raise ValueError(
            f"`features=` needs one or two inputs, of a model with {len(names)}. Received: None. "
            f"Choose from {names[:20]}."
        )
    features = [features] if isinstance(features, (int, str)) else list(features)
    if len(features) == 1:
        return [arrays.entry(features[0], names, "features")]
    return list(two_features(features, names))


def _points(domain, features, point, num_points, found):
    """Samples, and the shape of their grid: of spans a grid, points as they are."""
    if isinstance(domain, dict) and not _are_spans(list(domain.values())):
        return arrays.samples(domain, found, "domain"), None
    if isinstance(domain, dict):
        domain = [arrays.leaves(domain, found, "domain")[feature] for feature in features]
    elif isinstance(domain, (list, tuple)) and _are_spans(domain):
        domain = [arrays.span(span, "domain") for span in domain]
    given = arrays.array(domain, "domain")
    if given.shape == (2,) and len(features) == 1:
        given = given[None]
    if given.shape == (len(features), 2) and np.all(given[:, 0] < given[:, 1]):
        grid = arrays.grid(given, [num_points] * len(features))
        return at_points(point, features, grid), grid[0].shape
    return arrays.samples(given, found, "domain"), None


def _are_spans(parts):
    return all(isinstance(part, tuple) and len(part) == 2 for part in parts)


def _evaluate(model, points):
    chunks = [ops.convert_to_numpy(model(chunk)) for chunk in arrays.chunks(points)]
    return np.concatenate(chunks).astype("float64")


def _line(ax, x, values, quantity, name):
    order = np.argsort(x)
    plain(ax)
    ax.axhline(0, color=GREY, linewidth=0.7)
    ax.plot(x[order], values[order], color=BLUE, linewidth=1.6)
    ax.set_xlim(x.min(), x.max())
    ax.set_xlabel(str(quantity), color=INK)
    ax.set_ylabel(name, color=INK)
    return ax


def _map(ax, coordinates, values, shape, quantities, name):
    sizes = np.abs(values)
    low, style = _scale(sizes)
    if shape is None:
        image = ax.scatter(*coordinates, c=np.maximum(sizes, low), s=8, linewidths=0, **style)
    else:
        grid = [x.reshape(shape) for x in (*coordinates, np.maximum(sizes, low))]
        image = ax.pcolormesh(*grid, shading="gouraud", rasterized=True, **style)
    ax.set_xlabel(str(quantities[0]), color=INK)
    ax.set_ylabel(str(quantities[1]), color=INK)
    plain(ax)
    colour_bar(ax, image, f"|{name}|")
    return ax


def _scale(sizes):
    """The lowest value that has a colour of its own, and the colours."""
    from matplotlib.colors import LogNorm, Normalize

    high = sizes.max()
    if not high:
        return 0.0, {"cmap": SEQUENTIAL, "norm": Normalize(0, 1)}
    low = max(np.quantile(sizes, 0.02), high * 1e-6)
    norm = LogNorm(low, high) if low < high / 10 else Normalize(0, high)
    return low, {"cmap": SEQUENTIAL, "norm": norm}

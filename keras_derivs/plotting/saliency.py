"""The gradient over the input it belongs to."""

import keras
import numpy as np

from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.layers.gradient import Gradient
from keras_derivs.plotting import arrays
from keras_derivs.plotting.canvas import INK, canvas, colour_bar, plain, title
from keras_derivs.typing import Any, Axes, Component, Sequence

LINE = 60  # characters in a line of text
HEAT = "YlOrRd"
KINDS = ("auto", "image", "sequence")


def saliency(
    gradient: Any,
    x: Any,
    *,
    component: Component = None,
    kind: str = "auto",
    tokens: Sequence[str] | None = None,
    name: str = "x",
    ax: Axes | None = None,
) -> Axes:
    """Draw how strongly an output depends on each part of one input: image, sequence or text.

    The strength is the norm of the gradient over the channels, relative to its maximum.

    Args:
        gradient: A `Gradient` layer, a model, or the array of a gradient.
        x: The input that it belongs to, one sample (or a batch of one): an image
            `(height, width[, channels])`, a sequence `(steps, channels)` or `(steps,)`, or with
            `tokens=` the vectors `(tokens, channels)` of a text. All inputs, as a batch of one,
            of a model with several.
        component: The entry of the output of a model; the largest one by default.
        kind: `"image"`, `"sequence"`, or `"auto"`: of two axes, an image is what has more than
            four entries along each, and at most twice as many along one as along the other.
        tokens: The words of a text.
        name: What the input is called, and its unit, for a sequence.
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
    >>> layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    >>> ax = kd.plotting.saliency(keras.Sequential(layers), np.ones((8, 8, 1)))
    >>> ax.get_title(loc="left")
    'Saliency: |∂y/∂x|, relative'
    """
    if kind not in KINDS:
        raise ValueError(f"`kind=` needs one of {KINDS}. Received: {kind!r}. Use 'auto'.")
    slope, x = _slope(gradient, x, component)
    if tokens is not None:
        return _text(canvas(ax, (6, 1.2)), _strength(slope, 1), list(tokens))
    sequence = kind == "sequence" or (kind == "auto" and not _is_image(x))
    if x.ndim in (1, 2) and (x.ndim == 1 or sequence):
        return _sequence(canvas(ax, (6, 2.8)), _strength(slope, 1), x.reshape(len(x), -1), name)
    if x.ndim == 2 or (x.ndim == 3 and x.shape[-1] <= 4):
        return _image(canvas(ax, (4.6, 3.8)), _strength(slope, 2), x)
    raise ValueError(
        f"A saliency needs an image (height, width[, channels up to 4]) or a sequence (steps[, "
        f"channels]). Received: an input of shape {x.shape}. Select a part of it."
    )


def _slope(gradient, x, component):
    """The gradient at one sample, and the sample, without the batch axis."""
    if isinstance(gradient, DerivativeLayer) or hasattr(gradient, "layers"):
        batch = _batch(gradient, x)
        layer = gradient
        if not isinstance(gradient, DerivativeLayer):
            component = _largest(gradient, batch) if component is None else component
            layer = Gradient(gradient, component=component)
        slope = arrays.result(layer, batch)[0]
        values = keras.tree.flatten(batch)[layer.plan.wrt[0]][0]
    else:
        values, slope = arrays.array(x, "x"), arrays.array(gradient, "gradient")
        slope = slope[0] if slope.ndim == values.ndim + 1 and len(slope) == 1 else slope
    if slope.shape != values.shape and slope.shape[: values.ndim] != values.shape:
        raise ValueError(
            f"A saliency needs a gradient of the shape of its input. Received: {slope.shape} and "
            f"{values.shape}. Give one sample and the gradient at it."
        )
    return slope, values


def _batch(layer, x):
    model = layer.model if isinstance(layer, DerivativeLayer) else layer
    if len(getattr(model, "inputs", None) or []) > 1:
        batch = keras.tree.map_structure(lambda part: arrays.array(part, "x"), x)
    else:
        x = arrays.array(x, "x")
        ndim = len(model.inputs[0].shape) if getattr(model, "inputs", None) else x.ndim + 1
        batch = x if x.ndim == ndim else x[None]
    sizes = {len(part) if part.ndim else 0 for part in keras.tree.flatten(batch)}
    if sizes != {1}:
        raise ValueError(
            f"A saliency needs one sample. Received: {sizes}. Draw them one by one: x[:1]."
        )
    return batch


def _largest(model, batch):
    y = keras.ops.convert_to_numpy(model(batch))
    return None if y.size == 1 else tuple(map(int, np.unravel_index(np.argmax(y[0]), y.shape[1:])))


def _strength(slope, axes):
    """The norm over the channels, relative to its maximum."""
    norm = np.sqrt((slope.reshape(*slope.shape[:axes], -1) ** 2).sum(axis=-1))
    return norm / (norm.max() or 1.0)


def _is_image(x):
    return x.ndim > 1 and min(x.shape) > 4 and max(x.shape) <= 2 * min(x.shape)


def _image(ax, strength, x):
    """The image in light grey, the strength in red above it."""
    grey = x.mean(axis=-1) if x.ndim == 3 else x
    grey = 0.6 + 0.4 * (grey - grey.min()) / (np.ptp(grey) or 1.0)
    ax.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    heat = ax.imshow(strength, cmap="Reds", vmin=0, vmax=1, alpha=strength)
    ax.set_axis_off()
    colour_bar(ax, heat, "relative strength")
    title(ax, "Saliency: |∂y/∂x|, relative")
    return ax


def _sequence(ax, strength, x, name):
    steps = np.arange(len(x) + 1) - 0.5
    low, high = x.min(), x.max()
    margin = 0.08 * (high - low or 1.0)
    ax.set(xlim=(steps[0], steps[-1]), ylim=(low - margin, high + margin))
    edges = np.array([low - margin, high + margin])
    heat = ax.pcolormesh(steps, edges, strength[None], cmap=HEAT, vmin=0, vmax=1)
    colours = [INK] if x.shape[1] == 1 else [INK, "#2a6f97", "#3d8b5f", "#7a5195"]
    for channel in range(x.shape[1]):
        ax.plot(x[:, channel], color=colours[channel % len(colours)], linewidth=1.4)
    plain(ax)
    ax.set_xlabel("step", color=INK)
    ax.set_ylabel(name, color=INK)
    colour_bar(ax, heat, "relative strength")
    title(ax, f"Saliency: |∂y/∂{name.split(' [')[0]}|, relative")
    return ax


def _text(ax, strength, tokens):
    if len(tokens) != len(strength):
        raise ValueError(
            f"`tokens=` needs a word for each of {len(strength)} positions. Received: "
            f"{len(tokens)}. Leave out padding, or name it."
        )
    from matplotlib import colormaps

    ax.set_axis_off()
    lines = _lines(tokens)
    ax.set(
        xlim=(0, max(LINE, *(len(token) + 1 for token in tokens))), ylim=(len(lines) - 0.2, -0.8)
    )
    for row, line in enumerate(lines):
        for number, place in line:
            _word(ax, tokens[number], place, row, strength[number], colormaps[HEAT])
    title(ax, "Saliency of each word: |∂y/∂x|, relative")
    return ax


def _word(ax, word, place, row, strength, colours):
    from matplotlib.patches import Rectangle

    width = len(word) + 0.8
    box = Rectangle((place, row - 0.38), width, 0.76, color=colours(strength), linewidth=0)
    ax.add_patch(box)
    ink = "white" if strength > 0.7 else INK
    middle = place + width / 2
    style = {"fontsize": 9, "family": "monospace", "parse_math": False, "clip_on": True}
    ax.text(middle, row, word, ha="center", va="center", color=ink, **style)


def _lines(tokens):
    """The (number, place) of the tokens in each line."""
    lines, place = [[]], 0.0
    for number, token in enumerate(tokens):
        if place and place + len(token) + 1 > LINE:
            lines.append([])
            place = 0.0
        lines[-1].append((number, place))
        place += len(token) + 1.1
    return lines

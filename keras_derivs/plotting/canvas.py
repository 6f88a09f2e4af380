"""The Axes to draw into, and how they look."""

INK, GREY, BLUE, RED, LIGHT = "#222222", "#888888", "#2a6f97", "#c8553d", "#9fc5d8"
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
MOST_LABELS = 30  # along an axis
MINUS = "\N{MINUS SIGN}"


def canvas(ax, size=(5.6, 3.8)):
    """The given Axes, or those of a new figure, which pyplot does not keep."""
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib. Received: an environment without it. Run "
            "`pip install keras_derivs[plots]`."
        ) from error
    if ax is None:
        return Figure(figsize=size, layout="constrained").subplots()
    if not isinstance(ax, Axes):
        raise TypeError(
            f"`ax=` needs the Axes of matplotlib. Received: {ax!r} (of type {type(ax).__name__}). "
            f"Leave it out for a new figure."
        )
    return ax


def plain(ax):
    """Two thin spines, dark text."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)
    ax.tick_params(color=GREY, labelcolor=INK)


def title(ax, text):
    ax.set_title(text, loc="left", fontsize="medium", color=INK)


def colour_bar(ax, image, label):
    bar = ax.figure.colorbar(image, ax=ax, label=label, pad=0.02, aspect=25)
    bar.outline.set(color=GREY, linewidth=0.5)
    bar.ax.tick_params(color=GREY, labelcolor=INK)
    return bar


def symmetric(values):
    """Limits of a diverging colour scale, around zero."""
    import numpy as np

    finite = values[np.isfinite(values)]
    reach = float(np.max(np.abs(finite), initial=0.0)) or 1.0
    return {"vmin": -reach, "vmax": reach, "cmap": DIVERGING}


def ticks(axis, labels):
    """A label for each position of an axis; some of them where there are too many."""
    step = -(-len(labels) // MOST_LABELS)
    axis.set_ticks(range(0, len(labels), step), labels[::step])


def number(value):
    """A number in at most three significant digits."""
    size = abs(value)
    if size and not 1e-3 <= size < 1e5:
        return f"{value:.1e}".replace("-", MINUS)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:.{digits}f}".replace("-", MINUS)

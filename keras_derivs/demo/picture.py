"""The picture of the demo; matplotlib is imported where it is used."""

INK = "#222222"
TIMES = ("#9fc5d8", "#2a6f97", "#c8553d")
DASHES = (0, (3, 2))
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "mathtext.fontset": "cm",
    "legend.frameon": False,
}


def burgers(path, field, slices, true, error):
    """Write the picture of a solved Burgers' equation.

    Args:
        path: The file to write.
        field: `(t, x, u)` on a grid, `t` along the first axis.
        slices: `(t, x, found)` with one row for each time; `found` holds u, u_x and u_xx.
        true: The exact u, u_x and u_xx on the slices.
        error: The relative L2 error of the field.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(9, 7.4), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.09, w_pad=0.05)
        rows = figure.add_gridspec(3, 6)
        _heat_map(figure, figure.add_subplot(rows[0, :]), field, slices[0], error)
        for number in range(3):
            axes = figure.add_subplot(rows[1, 2 * number : 2 * number + 2])
            _values(axes, number, slices, true)
        first, second = figure.add_subplot(rows[2, :3]), figure.add_subplot(rows[2, 3:])
        _derivative(first, "u_x", "$u_x$", slices, true)
        _derivative(second, "u_xx", "$u_{xx}$", slices, true, unit=1000)
        figure.savefig(path, dpi=150)


def _heat_map(figure, axes, field, times, error):
    t, x, u = field
    image = axes.pcolormesh(t, x, u, cmap="RdBu_r", vmin=-1, vmax=1, shading="gouraud")
    image.set_rasterized(True)
    for time in times[:, 0]:
        axes.axvline(time, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlabel="time $t$", ylabel="position $x$", yticks=[-1, 0, 1])
    axes.set_title(
        r"Burgers' equation  $u_t + u\,u_x = \frac{0.01}{\pi}\,u_{xx}$,  "
        f"relative $L^2$ error {100 * error:.2g} %"
    )
    figure.colorbar(image, ax=axes, label="$u(t, x)$", ticks=[-1, 0, 1], pad=0.01, aspect=12)


def _values(axes, number, slices, true):
    t, x, found = slices
    axes.plot(x[number], found["u"][number], color=TIMES[number], linewidth=2.4, label="network")
    axes.plot(x[number], true["u"][number], color=INK, linewidth=1, linestyle=DASHES, label="exact")
    axes.set(xlabel="$x$", xlim=(-1, 1), ylim=(-1.1, 1.1), xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes.set_title(f"$t = {t[number, 0]:g}$")
    if number == 0:
        axes.set_ylabel("$u$")
        axes.legend(loc="upper right", handlelength=1.2, borderaxespad=0)


def _derivative(axes, name, label, slices, true, unit=1, reach=0.05):
    """A derivative near the front, at every time."""
    t, x, found = slices
    for number, colour in enumerate(TIMES):
        near = abs(x[number]) <= reach
        at = x[number][near]
        line = {"label": f"$t = {t[number, 0]:g}$", "color": colour, "linewidth": 2.4}
        axes.plot(at, found[name][number][near] / unit, **line)
        axes.plot(at, true[name][number][near] / unit, color=INK, linewidth=1, linestyle=DASHES)
    axes.set(xlabel="$x$", ylabel=label if unit == 1 else f"{label} / {unit}")
    axes.set_xlim(-reach, reach)
    axes.set_title(f"{label}, an output of the model")
    axes.legend(loc="lower right", handlelength=1.2)

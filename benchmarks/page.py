"""docs/benchmarks.md and docs/benchmarks.png from build/benchmarks.json."""

import json

import works
from measure import HERE, RESULTS, ROUNDS, TOLERANCE
from worker import NUM_FEW

DOCS = HERE.parent / "docs"
REASON = """
Why u_xxxx and the biharmonic do not reach their aim of 4: XLA removes what nested tapes compute in vain. In its optimised program of a training step (`experimental_get_compiler_ir`) the matrix products add up to 4.2 GFLOP for nested tapes and 1.5 for Taylor at u_xxxx, 4.8 and 1.9 at the biharmonic: 2.9 and 2.6 times as many. Both sides run at the rate of the machine's products (below), so that Taylor's lead beyond these ratios is what it saves in element-wise work. For u, u_t, u_x, u_xx the two do the same products, 3.0 GFLOP.
"""  # noqa: E501


def main():
    results = json.loads(RESULTS.read_text())
    parts = [introduction(results.pop("facts")), ratios(results) + REASON, shares(results)]
    line = "u and its derivatives up to an order, 1 input, 4 layers of 64, 1,000 points"
    sum_of_all = "Laplacian, 4 layers of 64, 2,000 points or 50,000 / d if that is less"
    parts += [growth(results, "orders", "order", line)]
    parts += [growth(results, "dimensions", "number of inputs", sum_of_all)]
    parts += [details(results)]
    page = DOCS / "benchmarks.md"
    heading, on_jax = page.read_text().partition("## Keras on JAX")[1:]  # see keras_on_jax.py
    page.write_text("\n".join([*parts, *([heading + on_jax] if heading else [])]))
    draw(results)


def introduction(facts):
    versions = ", ".join(f"{name} {version}" for name, version in facts.pop("versions").items())
    text = (HERE / "introduction.md").read_text()
    return text.format(**facts, versions=versions, rounds=ROUNDS, tolerance=TOLERANCE, few=NUM_FEW)


def best(entries, names):
    """The fastest (name, mode, figures) among the peers; `None` if there is none."""
    found = [(*entry.split(" | "), entries[entry]) for entry in entries]
    found = [item for item in found if item[0] in names]
    return min(found, key=lambda item: item[2]["seconds"], default=None)


def chosen(results, table):
    """(key, entries, Taylor, tapes, others) of the works of a table that were measured."""
    for key in works.TABLES[table]:
        if f"{table} {key}" in results:
            entries = results[f"{table} {key}"]["entries"]
            sides = [best(entries, names) for names in (("Taylor",), works.TAPES, works.OTHERS)]
            yield key, entries, *sides


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ms(side):
    return "-" if side is None else f"{1e3 * side[2]['seconds']:.1f}"


def ratio(side, taylor, aim=None):
    if side is None:
        return "not installed"
    value = side[2]["seconds"] / taylor[2]["seconds"]
    text = f"{value:.2f}" if aim is None or value >= aim else f"*{value:.2f}*"
    return text if aim is None else f"{text} (≥ {aim})"


def ratios(results):
    rows = []
    for key, _, taylor, tapes, other in chosen(results, "works"):
        work = works.TABLE[key]
        sizes = f"{work.features} → [{work.widths[0]}]*{len(work.widths)} → 1"
        rows.append([key, sizes, f"{work.points:,}", ms(taylor), ms(tapes),
                     ratio(tapes, taylor, work.bounds[0]), ms(other),
                     ratio(other, taylor, work.bounds[1]), other[0] if other else "-"])  # fmt: skip
    head = ["work", "network", "points", "Taylor, ms", "nested tapes, ms", "ratio (aim)",
            "best other, ms", "ratio (aim)", "which"]  # fmt: skip
    return "## Training steps\n\n" + table(head, rows)


def shares(results):
    rows = []
    for key, _, taylor, _, _ in chosen(results, "works"):
        flops, alone = results[f"works {key}"]["products"]
        seconds = taylor[2]["seconds"]
        rows.append([key, taylor[1], f"{flops / 1e9:.2f}", f"{flops / alone / 1e9:.0f}",
                     f"{flops / seconds / 1e9:.0f}", f"{100 * alone / seconds:.0f} %"])  # fmt: skip
    text = (
        "## What the machine could do\n\nNearly all arithmetic of a step is in the matrix products "
        "between hidden layers, one forward and two backward for every coefficient and layer. "
        "Their floating-point operations are counted, and products of the same shapes are timed "
        "alone, in the same mode. The share is the time alone over the time of the step.\n\n"
    )
    head = ["work", "mode", "GFLOP", "products alone, GFLOP/s", "in the step, GFLOP/s", "share"]
    return text + table(head, rows)


def growth(results, name, label, title):
    rows = [
        [key, ms(taylor), ms(tapes), ratio(tapes, taylor), ms(other), ratio(other, taylor)]
        for key, _, taylor, tapes, other in chosen(results, name)
    ]
    other = "jet" if name == "orders" else "folx"
    head = [label, "Taylor, ms", "nested tapes, ms", "ratio", f"{other}, ms", "ratio"]
    return f"## Growth with the {label}\n\n{title}.\n\n" + table(head, rows)


def details(results):
    rows = [
        ["" if n else key, *entry.split(" | "), f"{1e3 * found['seconds']:.1f}",
         " to ".join(f"{1e3 * q:.1f}" for q in found["quartiles"]), f"{found['first']:.1f}",
         f"{found['memory']:.0f}"]
        for key, entries, *_ in chosen(results, "works")
        for n, (entry, found) in enumerate(entries.items())
    ]  # fmt: skip
    head = ["work", "peer", "mode", "median, ms", "quartiles, ms", "first call, s", "memory, MB"]
    return "## Every entry\n\n" + table(head, rows)


def draw(results):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    pyplot.rcParams.update({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=False, layout="constrained")
    panels = (("orders", "order of the highest derivative", "jet (JAX)"),
              ("dimensions", "inputs of the Laplacian", "folx (JAX)"))  # fmt: skip
    for axis, (name, label, rival) in zip(axes, panels):
        found = list(chosen(results, name))
        x = [int(key) for key, *_ in found]
        for side, color, marker, text in ((3, "#1f5fa8", "o", "nested TensorFlow tapes"),
                                          (4, "#c2611f", "s", rival)):  # fmt: skip
            line = [(n, row[side][2]["seconds"] / row[2][2]["seconds"])
                    for n, row in zip(x, found) if row[side]]  # fmt: skip
            if line:
                axis.plot(*zip(*line), color=color, marker=marker, lw=2, label=text)
        axis.axhline(1, color="0.4", lw=1, ls="--")
        axis.set(xlabel=label, xscale="log" if name == "dimensions" else "linear", yscale="log")
        axis.set_xticks(x, [f"{n:,}" for n in x])
        axis.minorticks_off()
        axis.yaxis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.grid(axis="y", color="0.9")
        axis.legend(frameon=False, loc="upper left")
    axes[0].set_ylabel("time / time of Taylor")
    figure.savefig(DOCS / "benchmarks.png", dpi=110)


if __name__ == "__main__":
    main()

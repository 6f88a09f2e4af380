"""docs/tables.md and docs/tables.png: published errors, and ours beside them."""

import os
import pathlib

HERE = pathlib.Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
# table -> {the run of ours: (what it is, the published error)}
TABLES = {
    "hamiltonian": {
        "hamiltonian mass-spring, network of the energy": ("mass-spring, of the energy", 3.8e-4),
        "hamiltonian mass-spring, baseline": ("mass-spring, of the rates", 1.7e-1),
        "hamiltonian pendulum, network of the energy": ("pendulum, of the energy", 2.5e-2),
        "hamiltonian pendulum, baseline": ("pendulum, of the rates", 4.2e-2),
        "hamiltonian two bodies, network of the energy": ("two bodies, of the energy", 3.9e-5),
        "hamiltonian two bodies, baseline": ("two bodies, of the rates", 6.3e-2),
    },
    "burgers": {"burgers": ("Burgers", 6.4e-4)},
    "allen_cahn": {
        "allen-cahn 100": ("Allen-Cahn, 100 inputs, exact", 4.3e-3),
        "allen-cahn 1000": ("Allen-Cahn, 1,000 inputs, sampled", 5.5e-4),
        "allen-cahn 10000": ("Allen-Cahn, 10,000 inputs, sampled", 8.3e-4),
    },
    "failures": {
        "convection": ("convection, speed 50", 4e-4),
        "reaction": ("reaction, rate 5", 4e-4),
    },
}


def write(results):
    """The page and its picture; rows that were never run are left out."""
    tables = {name: table(rows, results) for name, rows in TABLES.items()}
    page = (HERE / "introduction.md").read_text().format(cores=os.cpu_count(), **tables)
    (DOCS / "tables.md").write_text(page)
    draw({run: row for rows in TABLES.values() for run, row in rows.items() if run in results},
         results)  # fmt: skip


def table(rows, results):
    lines = ["| network | published | ours | our training |", "| --- " * 4 + "|"]
    for run, (what, published) in rows.items():
        if run in results:
            ours = results[run]
            effort = f"{ours['steps']:,} steps in {ours['seconds']:.0f} s"
            lines.append(f"| {what} | {published:.1e} | {ours['error']:.1e} | {effort} |")
    return "\n".join(lines)


def draw(rows, results):
    import matplotlib.pyplot as plt

    names, theirs = zip(*rows.values())
    ours, places = [results[run]["error"] for run in rows], range(len(rows))
    figure, axis = plt.subplots(figsize=(8, 1 + 0.32 * len(rows)), layout="constrained")
    axis.hlines(places, theirs, ours, color="0.85", lw=3, zorder=0)
    axis.plot(theirs, places, "o", color="#c8553d", mfc="white", label="published")
    axis.plot(ours, places, "o", color="#2a6f97", label="keras_derivs")
    axis.set(xscale="log", xlabel="error", yticks=places, yticklabels=names)
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)
    axis.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    figure.savefig(DOCS / "tables.png", dpi=120)
    plt.close(figure)

"""docs/tables.md: `python benchmarks/tables/reproduce.py [NAME …] [--quick]`.

A name is that of a run, "allen-cahn 1000", or of several, "hamiltonian". Runs that are not named
keep their figures in results.json. A quick look takes fewer steps and writes nothing.
"""

import argparse
import json
import pathlib

import allen_cahn
import burgers
import failures
import hamiltonian
import published

RESULTS = pathlib.Path(__file__).parent / "results.json"
# name -> function, its arguments, and those of a quick look
RUNS = {
    "burgers": (burgers.run, {}, {"steps": 10, "count": 500}),
    "convection": (failures.run, {"name": "convection"}, {"steps": 5, "count": 500}),
    "reaction": (failures.run, {"name": "reaction", "count": 1500}, {"steps": 5, "count": 500}),
    **{
        f"hamiltonian {name}, {kind}": (
            hamiltonian.run, {"name": name, "kind": kind}, {"steps": 200})
        for name in hamiltonian.SYSTEMS for kind in ("baseline", "network of the energy")
    },
    "allen-cahn 100": (allen_cahn.run, {"dimensions": 100, "steps": 4000}, {"steps": 200}),
    "allen-cahn 1000": (
        allen_cahn.run, {"dimensions": 1000, "num_samples": 16, "steps": 10_000}, {"steps": 100}),
    "allen-cahn 10000": (
        allen_cahn.run, {"dimensions": 10_000, "num_samples": 16, "steps": 2000}, {"steps": 20}),
}  # fmt: skip


def named(names):
    """The runs of these names; all without names."""
    return [run for run in RUNS if not names or run in names or run.split(" ")[0] in names]


def main(names=None, quick=False):
    results = {} if quick else json.loads(RESULTS.read_text())
    for name in named(names):
        function, options, fewer = RUNS[name]
        results[name] = function(**(options | fewer if quick else options))
        print(f"{name}: {results[name]}", flush=True)
        if not quick:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            published.write(results)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if not named(given.names):
        parser.error(f"no such run. Received: {given.names}. Runs: {', '.join(RUNS)}")
    main(**vars(given))

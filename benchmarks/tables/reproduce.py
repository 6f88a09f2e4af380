"""docs/tables.md: `python benchmarks/tables/reproduce.py [NAME …] [--quick]`.

A name is that of a run or its beginning: `burgers`, `hamiltonian`, `allen-cahn`. Runs that are not
named keep their figures in results.json. A quick look takes fewer steps and writes nothing.
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
    "burgers": (burgers.run, {}, {"steps": 100, "count": 500}),
    "convection": (failures.run, {"name": "convection"}, {"steps": 100, "count": 500}),
    "reaction": (failures.run, {"name": "reaction"}, {"steps": 100, "count": 500}),
    **{
        f"hamiltonian {name}, {kind}": (
            hamiltonian.run, {"name": name, "kind": kind}, {"steps": 200})
        for name in hamiltonian.SYSTEMS for kind in ("baseline", "network of the energy")
    },
    "allen-cahn 100": (allen_cahn.run, {"dimensions": 100}, {"steps": 200}),
    "allen-cahn 1000": (
        allen_cahn.run, {"dimensions": 1000, "num_samples": 16}, {"steps": 200}),
    "allen-cahn 10000": (
        allen_cahn.run, {"dimensions": 10_000, "num_samples": 16}, {"steps": 20}),
}  # fmt: skip


def main(names=None, quick=False):
    results = {} if quick else json.loads(RESULTS.read_text())
    for name, (function, options, fewer) in RUNS.items():
        if not names or any(name.startswith(given) for given in names):
            results[name] = function(**options, **(fewer if quick else {}))
            print(f"{name}: {results[name]}", flush=True)
            if not quick:
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
                published.write(results)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    main(**vars(parser.parse_args()))

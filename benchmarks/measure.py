"""Time the works side by side: `python benchmarks/measure.py [--only WORK] [--quick]`.

Every entry of a work, a peer in a mode, has a process of its own. The processes take turns: a
step that is not counted, then a few that are, each on fresh points. The results are added to
build/benchmarks.json, which `page.py` turns into docs/benchmarks.md.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import works

HERE = pathlib.Path(__file__).parent
RESULTS = HERE.parent / "build" / "benchmarks.json"
TOLERANCE = 1e-3  # float32, relative to the largest entry
GROWTH = ("Taylor", *works.TAPES[:2], "JAX jet", "folx")
ROUNDS = 12
PACKAGES = ("tensorflow", "keras", "numpy", "jax", "folx", "torch", "DeepXDE")


class Process:
    """A worker: `ask` sends an order, `answer` waits for what comes back."""

    def __init__(self, module):
        environment = {**os.environ, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
        self.log = open(RESULTS.parent / f"{module}.log", "ab")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, HERE / "worker.py", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, env=environment,
        )  # fmt: skip
        self.count = 0

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"A worker ended. Its last words are in {self.log.name}.")
        return json.loads(line)

    def ask(self, *order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def present():
    """The frameworks that are installed; a line for each that is not."""
    found = []
    for module, packages in works.MODULES.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            print(f"Skipped for want of {', '.join(missing)}: pip install '.[benchmarks]'")
        else:
            found.append(module)
    return found


def compare(table, key, entries, rounds, shared):
    """Results of all (peer, mode) in turns; one process each, or one per framework if `shared`."""
    processes, places = start(entries, shared)
    results = {}
    for entry, process in places.items():
        number, process.count = process.count, process.count + 1
        results[entry] = {"number": number, "times": [], **process.ask("load", table, key, *entry)}
        say(f"{table} {key}: {' '.join(entry)}, first call {results[entry]['first']:.1f} s")
    check(key, results)
    for turn in range(rounds):
        for entry, process in places.items():
            result = results[entry]
            if turn < 4 or sum(result["times"]) < 4:  # slow ones may stop early
                result["times"] += process.ask("run", result["number"], 3 + turn, 2)
    fast = min((e for e in results if e[0] == "Taylor"), key=lambda e: median(results[e]))
    products = places[fast].ask("products", table, key, fast[1]) if table == "works" else None
    for process in processes:
        process.close()
    return {"entries": {" | ".join(e): summary(r) for e, r in results.items()},
            "products": products}  # fmt: skip


def start(entries, shared):
    """The processes, and which of them serves each entry."""
    processes, places = [], {}
    for entry in entries:
        module = works.PEERS[entry[0]].module
        known = [places[e] for e in places if works.PEERS[e[0]].module == module]
        if not (shared and known):
            processes.append(Process(module))
        places[entry] = known[0] if shared and known else processes[-1]
    for process in processes:
        process.answer()  # ready
    return processes, places


def check(key, results):
    """Derivatives, loss and the effect of a step must be those of the first entry."""
    first = next(iter(results.values()))
    for entry, result in results.items():
        for name in ("values", "loss", "change"):
            for found, wanted in zip(result[name], first[name], strict=True):
                error = np.max(np.abs(np.subtract(found, wanted))) / np.max(np.abs(wanted))
                if not error < TOLERANCE:
                    raise ValueError(f"{key}: {entry} is off by {error:.1e} in {name}.")


def median(result):
    return statistics.median(result["times"])


def summary(result):
    quartiles = statistics.quantiles(result["times"], n=4)
    return {"seconds": median(result), "quartiles": [quartiles[0], quartiles[2]],
            "first": result["first"], "memory": result["memory"]}  # fmt: skip


def say(text):
    print(f"\r{text:100.100}", end="", flush=True)


def facts():
    versions = {}
    for package in PACKAGES:
        if importlib.util.find_spec(package.lower()):
            versions[package] = importlib.metadata.version(package)
    return {"cores": os.cpu_count(), "processor": processor(), "versions": versions,
            "python": sys.version.split()[0]}  # fmt: skip


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    wide = ", AVX-512" if any("avx512f" in line for line in lines) else ""
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    return name + wide


def entries_of(work, names, modules):
    return [
        (name, mode)
        for name in names
        if works.PEERS[name].knows(work) and works.PEERS[name].module in modules
        for mode in works.PEERS[name].modes
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default="", help="one work, or one of the tables works, orders, dimensions"
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    arguments = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() and arguments.only else {}
    modules = present()
    for table in works.MEASURED:
        growth = table != "works"
        for key, work in works.TABLES[table].items():
            if arguments.only not in (key, table, ""):
                continue
            start = time.perf_counter()
            entries = entries_of(work, GROWTH if growth else works.PEERS, modules)
            rounds = 4 if arguments.quick else 6 if growth else ROUNDS
            results[f"{table} {key}"] = compare(table, key, entries, rounds, shared=growth)
            results["facts"] = facts()
            RESULTS.write_text(json.dumps(results, indent=1))
            say("")
            print(f"\r{table} {key}: {len(entries)} entries, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

"""The benchmark tables on a GPU: `python benchmarks/gpu.py [--dry-run] [--only TABLE]`.

Times the works and peers of `measure.py` where a GPU is, in float32 without the shorter products of
TF32, and writes build/benchmarks-gpu.json and build/benchmarks-gpu.md. A framework that sees no GPU
is left out, and said so. `--dry-run` tries all of it at small sizes on the processor.
"""

import argparse
import json
import os
import shutil
import subprocess

import measure
import page
import works

ON_GPU = {
    "BENCHMARK_DEVICE": "cuda",  # for PyTorch
    "NVIDIA_TF32_OVERRIDE": "0",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # the processes share the memory
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
ON_PROCESSOR = {"BENCHMARK_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
RESULTS = measure.RESULTS.with_name("benchmarks-gpu.json")
HEAD = """# Speed on a GPU

*Written by `python benchmarks/gpu.py`.* {name}. What is timed, and how, is in docs/benchmarks.md.
Products are computed in float32, without TF32. The memory is that of the machine, not of the GPU.
"""


def gpu():
    """Name, memory and driver of the first GPU, `None` without."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    told = subprocess.run(query, capture_output=True, text=True, check=False)
    return told.stdout.splitlines()[0] if told.returncode == 0 and told.stdout.strip() else None


def frameworks(device, peers):
    """The modules that peers need and whose framework computes on that device."""
    needed, found = {works.PEERS[name].module for name in peers}, []
    for module in measure.present():
        if module not in needed:
            continue
        process = measure.Process(module)
        process.answer()  # ready
        where = process.ask("device")
        process.close()
        if where == device:
            found.append(module)
        else:
            print(f"Left out: {module} computes on the {where}")
    return found


def measured(table, small, peers, modules):
    """The results of all works of a table, as `measure.py` has them."""
    source = f"small {table}" if small else table
    growth, rounds = table != "works", 1 if small else measure.ROUNDS
    names = [name for name in peers if not growth or name in measure.GROWTH]
    for key, work in works.TABLES[source].items():
        entries = measure.entries_of(work, names, modules)
        if ("Taylor", "XLA") in entries:
            yield f"{table} {key}", measure.compare(source, key, entries, rounds, shared=growth)


def text(results, name):
    """The page: tables of the works, of the growths, and of every entry."""
    parts = [HEAD.format(name=name), page.ratios(results)]
    parts += [page.growth(results, "orders", "order", "u and its derivatives up to an order")]
    parts += [page.growth(results, "dimensions", "number of inputs", "Laplacian")]
    return "\n".join([*parts, page.details(results)])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="small sizes on the processor")
    parser.add_argument("--only", choices=works.MEASURED, help="one table")
    parser.add_argument("--peers", nargs="+", choices=works.PEERS, default=list(works.PEERS))
    chosen = parser.parse_args(arguments)
    name = "A trial at small sizes on the processor" if chosen.dry_run else gpu()
    if name is None:
        parser.error("a GPU that `nvidia-smi` tells of is needed. Received: none. `--dry-run` "
                     "tries the script without.")  # fmt: skip
    os.environ.update(ON_PROCESSOR if chosen.dry_run else ON_GPU)
    RESULTS.parent.mkdir(exist_ok=True)
    modules, results = frameworks("cpu" if chosen.dry_run else "gpu", chosen.peers), {}
    for table in [chosen.only] if chosen.only else works.MEASURED:
        for key, found in measured(table, chosen.dry_run, chosen.peers, modules):
            results[key] = found
            RESULTS.write_text(json.dumps({"gpu": name, **results}, indent=1))
    RESULTS.with_suffix(".md").write_text(text(results, name))


if __name__ == "__main__":
    main()

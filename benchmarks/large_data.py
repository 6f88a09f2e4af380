"""Jacobians of Parquet files: Ray Data with one process against a plain loop.

`python benchmarks/large_data.py` prints the table of docs/distribution.md: rows per second, without
the start of Ray and of its process, and the peak memory of the process that holds the model.
"""

import os
import pathlib
import resource
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "examples"))

import keras
import numpy as np
import pyarrow
import ray
import sensitivities
from pyarrow import parquet

INPUTS, OUTPUTS, SHARD = 20, 4, 25_000
COUNTS = (100_000, 400_000)
STORE = 80 * 2**20  # bytes of Ray's store: less than the results of the larger set


class Observed(sensitivities.Sensitivities):
    """Notes the time of its first call, and the peak of its memory."""

    first = None

    def __call__(self, batch):
        self.first = self.first or time.time()
        found = super().__call__(batch)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        pathlib.Path(os.environ["OBSERVED"]).write_text(f"{self.first} {peak}")
        return found


def write_rows(folder, count):
    folder.mkdir()
    random = np.random.default_rng(0)
    for n in range(count // SHARD):
        columns = random.normal(size=(INPUTS, SHARD)).astype("float32")
        table = pyarrow.table({f"x{k}": column for k, column in enumerate(columns)})
        parquet.write_table(table, folder / f"{n}.parquet")


def by_loop(model, source, target):
    """Seconds of a loop over the files, and over their rows by pieces."""
    names = [f"x{k}" for k in range(INPUTS)]
    worker = sensitivities.Sensitivities(model, names)
    worker({name: np.zeros(sensitivities.ROWS, "float32") for name in names})  # traced
    target.mkdir()
    start = time.time()
    for file in sorted(source.iterdir()):
        pieces = parquet.ParquetFile(file).iter_batches(sensitivities.ROWS)
        found = [worker({k: piece[k].to_numpy() for k in names})["jacobian"] for piece in pieces]
        rows = np.concatenate(found).reshape(-1, OUTPUTS * INPUTS)
        column = pyarrow.FixedSizeListArray.from_arrays(rows.ravel(), OUTPUTS * INPUTS)
        table = parquet.read_table(file).append_column("jacobian", column)
        parquet.write_table(table, target / file.name)
    return time.time() - start


def by_ray(model, source, target, observed):
    """Seconds since the first call of the model, and the peak of its process in MB."""
    sensitivities.write(model, str(source), str(target), worker=Observed)
    first, peak = map(float, observed.read_text().split())
    return time.time() - first, peak


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model, observed = folder / "model.keras", folder / "observed"
        hidden = [keras.layers.Dense(64, "tanh") for _ in range(2)]
        keras.Sequential([keras.Input((INPUTS,)), *hidden, keras.layers.Dense(OUTPUTS)]).save(model)
        variables = {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OBSERVED": str(observed),
        }
        ray.init(num_cpus=2, object_store_memory=STORE, include_dashboard=False,
                 log_to_driver=False, runtime_env={"env_vars": variables})  # fmt: skip
        print("| rows | results, MB | loop, rows/s | Ray, rows/s | peak of the process, MB |")
        print("|---|---|---|---|---|")
        for count in COUNTS:
            source = folder / f"rows{count}"
            write_rows(source, count)
            alone = by_loop(model, source, folder / f"loop{count}")
            seconds, peak = by_ray(model, source, folder / f"ray{count}", observed)
            size = count * INPUTS * OUTPUTS * 4 / 1e6
            print(f"| {count:,} | {size:.0f} | {count / alone:,.0f} | {count / seconds:,.0f} "
                  f"| {peak:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""Jacobians of data that stream from files to files."""

import importlib
import os
import pathlib

import keras
import numpy as np
import pytest
from keras import layers

import keras_derivs as kd

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
pyarrow = pytest.importorskip("pyarrow")
parquet = importlib.import_module("pyarrow.parquet")

ROOT = pathlib.Path(__file__).parent.parent
NAMES, SHARDS, ROWS = ["a", "b", "c"], 4, 3000
STORE = 80 * 2**20  # bytes: the least that Ray allows
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    path = os.pathsep.join(map(str, (ROOT, ROOT / "examples")))
    variables = {"PYTHONPATH": path, "KERAS_BACKEND": keras.backend.backend()}
    ray.init(
        num_cpus=2,
        object_store_memory=STORE,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": variables},
    )
    yield
    ray.shutdown()


def dies_once(worker, mark):
    """A worker whose process ends in the middle of its work, if no file says that it did."""

    class Mortal(worker):
        calls = 0

        def __call__(self, batch):
            self.calls += 1
            if self.calls == 3 and not os.path.exists(mark):
                open(mark, "w").close()
                os._exit(1)
            return super().__call__(batch)

    return Mortal


def observed(worker, path):
    """A worker that notes the peak of its memory, in MB."""

    class Observed(worker):
        def __call__(self, batch):
            import resource

            found = super().__call__(batch)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            pathlib.Path(path).write_text(str(peak))
            return found

    return Observed


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path, monkeypatch):
    """Results of 128 MB, which neither the store of Ray nor the worker may hold at once."""
    monkeypatch.setattr(ray.data.DataContext.get_current(), "target_max_block_size", 4 * 2**20)
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    sensitivities, large = map(importlib.import_module, ("sensitivities", "large_data"))
    net = keras.Sequential([keras.Input((large.INPUTS,)), layers.Dense(large.OUTPUTS, "tanh")])
    net.save(tmp_path / "model.keras")
    peaks = []
    for count in (large.SHARD, 400_000):
        source, target = tmp_path / f"rows{count}", tmp_path / f"found{count}"
        large.write_rows(source, count)
        worker = observed(sensitivities.Sensitivities, str(tmp_path / "peak"))
        sensitivities.write(tmp_path / "model.keras", str(source), str(target), worker=worker)
        peaks.append(int((tmp_path / "peak").read_text()))
        written = [parquet.ParquetFile(file).metadata.num_rows for file in target.iterdir()]
        assert sum(written) == count
    assert peaks[1] - peaks[0] < 110, peaks  # of which 80 are the store, which it maps


def test_no_row_is_lost_where_a_worker_dies(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    sensitivities = importlib.import_module("sensitivities")
    net = keras.Sequential([keras.Input((3,)), layers.Dense(8, "tanh"), layers.Dense(2)])
    net.save(tmp_path / "model.keras")
    rows = np.random.default_rng(0).normal(size=(SHARDS * ROWS, 3)).astype("float32")
    (tmp_path / "rows").mkdir()
    for n, shard in enumerate(np.split(rows, SHARDS)):
        columns = dict(zip(NAMES, shard.T))
        parquet.write_table(pyarrow.table(columns), tmp_path / "rows" / f"{n}.parquet")
    mark = tmp_path / "died"
    sensitivities.write(
        tmp_path / "model.keras",
        str(tmp_path / "rows"),
        str(tmp_path / "found"),
        worker=dies_once(sensitivities.Sensitivities, str(mark)),
    )
    assert mark.exists()
    found = parquet.read_table(tmp_path / "found").to_pydict()
    given = np.stack([found[name] for name in NAMES], axis=1)
    order = lambda x: x[np.lexsort(x.T)]  # noqa: E731
    np.testing.assert_array_equal(order(given), order(rows))  # each row, and each once
    expected = keras.ops.convert_to_numpy(kd.Jacobian(net)(given.astype("float32")))
    np.testing.assert_allclose(np.array(found["jacobian"]), expected, atol=1e-5)

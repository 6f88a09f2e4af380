"""The benchmarks compute what they say: every TensorFlow entry, at small sizes."""

import json
import pathlib
import sys

import numpy as np
import pytest
from truth import EXACT, close

sys.path.append(str(pathlib.Path(__file__).parent.parent.parent / "benchmarks"))

import clients
import programs
import tensorflow  # noqa: F401 (what runs them)
import with_tensorflow
import worker
import works

ROOT = pathlib.Path(__file__).parent.parent.parent
WORKS = {
    "burgers": works.Work("burgers", 2, (5, 4), 6),
    "line": works.Work("line", 1, (5, 4), 6, order=4),
    "laplacian": works.Work("laplacian", 3, (5, 4), 6),
    "biharmonic": works.Work("biharmonic", 2, (5, 4), 6, order=4),
}
MINE = {name: peer for name, peer in works.PEERS.items() if peer.module == "with_tensorflow"}


def value(weights, x):
    """The network in float64, for truth from outside."""
    weights = [w.astype("float64") for w in weights]
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2]):
        x = np.tanh(x @ kernel + bias)
    return x @ weights[-2] + weights[-1]


def differences(work, x, step=0.05):
    """The last derivative of a work, by central differences of the network's value."""
    move = lambda n: step * np.eye(work.features)[n]  # noqa: E731
    f = lambda x: value(work.weights(), x)  # noqa: E731
    second = lambda f, n: (  # noqa: E731
        lambda x: (f(x + move(n)) - 2 * f(x) + f(x - move(n))) / step**2
    )
    laplacian = lambda f: lambda x: sum(second(f, n)(x) for n in range(work.features))  # noqa: E731
    if work.kind == "burgers":
        return second(f, 1)(x)
    return laplacian(laplacian(f))(x) if work.order == 4 else laplacian(f)(x)


@pytest.mark.parametrize("kind", WORKS)
def test_taylor_entry_is_the_derivative_it_is_named_for(kind):
    work = WORKS[kind]
    values, _, _ = with_tensorflow.build("Taylor", work, "tf.function")
    found = values(with_tensorflow.tensor(work.batch(0)))
    expected = differences(work, work.batch(0).astype("float64"))
    assert np.max(np.abs(expected)) > 0.01
    close(found[0], value(work.weights(), work.batch(0)), EXACT["float32"])
    np.testing.assert_allclose(found[-1], expected, atol=0.02 * np.max(np.abs(expected)))


@pytest.mark.parametrize(
    "kind, peer",
    [(kind, name) for name, peer in MINE.items() for kind in peer.kinds if name != "Taylor"],
)
def test_every_tape_agrees_with_taylor(kind, peer):
    work = WORKS[kind]
    x = with_tensorflow.tensor(work.batch(0))
    results = []
    for name in ("Taylor", peer):
        values, step, weights = with_tensorflow.build(name, work, "tf.function")
        start, found = weights(), values(x)
        loss = float(step(x))
        moved = [(w - old) / work.rate for w, old in zip(weights(), start)]
        results.append([*found, np.array(loss), *moved[:-1]])
    assert any(np.max(np.abs(change)) > 0.01 for change in moved)
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs, 100 * EXACT["float32"])


def test_the_tables_name_what_the_module_has():
    assert set(with_tensorflow.PEERS) == set(MINE)
    assert set(works.TAPES) == set(MINE) - {"Taylor"}


def test_a_worker_answers_in_json(monkeypatch):
    monkeypatch.setitem(works.TABLES, "small", {"line": WORKS["line"]})
    process = worker.Worker("with_tensorflow")
    answer = json.loads(json.dumps(process.load("small", "line", "Taylor", "tf.function")))
    assert answer["first"] > 0 and len(answer["values"]) == 5
    assert all(seconds > 0 for seconds in process.run(0, 1, 2))


@pytest.mark.slow
def test_the_tables_of_a_gpu_are_tried_on_the_processor(monkeypatch, tmp_path, capsys):
    import gpu

    for name, value in {**gpu.ON_PROCESSOR, "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "benchmarks-gpu.json")
    monkeypatch.setattr(gpu.measure, "RESULTS", tmp_path / "benchmarks.json")
    few = {key: works.TABLES["small works"][key] for key in ("u_xxx",)}
    monkeypatch.setitem(works.TABLES, "small works", few)
    gpu.main(["--dry-run", "--only", "works", "--peers", "Taylor", "nested tapes"])
    results = json.loads((tmp_path / "benchmarks-gpu.json").read_text())
    entries = results["works u_xxx"]["entries"]
    assert set(entries) == {f"{p} | {m}" for p in ("Taylor", "nested tapes") for m in works.GRAPH}
    assert all(found["seconds"] > 0 for found in entries.values())
    page = (tmp_path / "benchmarks-gpu.md").read_text()
    assert all(f"| {key} |" in page for key in few) and "trial at small sizes" in page


def test_no_table_of_a_gpu_without_one(monkeypatch, capsys):
    import gpu

    monkeypatch.setattr(gpu, "gpu", lambda: None)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "Received: none" in capsys.readouterr().err


QUICK = ("Burgers", "Maxwell", "operator network", "saliency")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in programs.PROGRAMS],
)
def test_all_sides_of_a_program_agree(name):
    program = programs.PROGRAMS[name]()
    clients.agree(name, program, program.inputs())


def test_sides_that_differ_are_found():
    program = programs.PROGRAMS["values and Greeks"]()
    program.sides["wrong"] = lambda x: [1.01 * y for y in program.sides["a tape"](x)]
    with pytest.raises(ValueError, match="sides differ"):
        clients.agree("values and Greeks", program, program.inputs())


def test_a_row_takes_the_better_mode_of_each_side():
    work = {
        "keras_derivs | graph": 4.0,
        "keras_derivs | XLA": 2.0,
        "a | graph": 3.0,
        "b | XLA": 5.0,
    }
    row = clients.row("this", {"training": work, "inference": work})
    assert row == "| this" + 2 * " | 2.00 (XLA) | 3.00 (a, graph) | 1.50" + " |"

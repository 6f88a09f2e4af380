"""The cells of the table of exports: a row, its derivatives, a strategy and a format.

Each file is run in a process of its own, which has neither Keras nor the package, on fresh inputs
in batches of 7, 1 and 0, and compared with `predict`. `python tests/export_cells.py [ROW …]` writes
the table of the backend in docs/export.md.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import pytest
import run_artifacts
from export_rows import ITSELF, KINDS, ROWS, with_derivatives

import keras_derivs as kd

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "export.md"
STRATEGIES = {"taylor": "T", "reverse": "R", "auto": "A"}
NAMES = {"tf_saved_model": "SavedModel", "torch": "PyTorch", "onnx": "ONNX", "litert": "LiteRT",
         "openvino": "OpenVINO"}  # fmt: skip
OFFERED = {
    "tensorflow": ("tf_saved_model", "onnx", "litert", "openvino"),
    "jax": ("tf_saved_model", "onnx", "openvino"),
    "torch": ("torch", "onnx", "litert", "openvino"),
}
BACKEND = keras.backend.backend()
FORMATS = {name: NAMES[name] for name in OFFERED[BACKEND]}
CONVERTERS = {
    ("tensorflow", "onnx"): ("tf2onnx",),
    ("jax", "tf_saved_model"): ("tensorflow",),
    ("jax", "onnx"): ("jax2onnx",),
    ("jax", "openvino"): ("jax2onnx",),
    ("torch", "onnx"): ("onnxscript",),
    ("torch", "litert"): ("litert_torch",),
}
RUNTIMES = {"onnx": ("onnxruntime",), "litert": ("ai_edge_litert",), "openvino": ("openvino",)}
TOLERANCE = 1e-5
NO_RULE = "needs a Taylor rule for every operation"
NOT_RUN = "·"
LIMITS = {"takes no empty batch": "°", "no more and no less": "¹"}  # as warnings say
BEGIN, END = f"<!-- {BACKEND} -->", "<!-- end -->"


def need(format):
    """Skip the test where converter or runtime are missing."""
    for package in (*CONVERTERS.get((BACKEND, format), ()), *RUNTIMES.get(format, ())):
        pytest.importorskip(package)


class Cell:
    """What is exported of a row by a strategy, and what comes of it."""

    def __init__(self, row, strategy):
        self.row, self.strategy = row, strategy
        self.kinds, self.refused = [], {}
        for kind in () if row in ITSELF else KINDS:
            try:
                with_derivatives(row, strategy, [kind])
                self.kinds.append(kind)
            except ValueError as error:
                if NO_RULE not in str(error):
                    raise
                self.refused[kind] = str(error)
        self.impossible = not self.kinds and row not in ITSELF
        if not self.impossible:
            self.model, self.samples = with_derivatives(row, strategy, self.kinds)

    def outcomes(self, formats=tuple(FORMATS)):
        """For each format, "right", or what was said."""
        return {name: self.outcome(name) for name in formats}

    def outcome(self, format):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            file = folder / "cell" / run_artifacts.LOADERS[format][1]
            try:
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    kd.export(self.model, file, format, self.samples, tolerance=TOLERANCE)
            except ValueError as error:
                assert not file.exists()
                return " ".join(str(error).split())
            said = " ".join(str(warning.message) for warning in told)
            limit = next((limit for limit in LIMITS if limit in said), None)
            found = self.elsewhere(format, folder, ["--not-empty"] if limit else [])
            return limit if limit and found == "right" else found

    def elsewhere(self, format, folder, options):
        """Run the file in another process, on inputs that it has not seen."""
        fresh = np.random.default_rng(2).normal(size=self.samples.shape).astype("float32")
        np.save(folder / "cell" / "samples.npy", fresh)
        np.savez(folder / "cell" / "expected.npz", **self.expected(fresh))
        command = [sys.executable, run_artifacts.__file__, format, str(folder), *options]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, env=environment
        )
        if ran.returncode:
            return f"the runtime stopped: {ran.stderr[-300:]}"
        found = json.loads(ran.stdout.splitlines()[-1])["cell"]
        if isinstance(found, float):
            return "right" if found <= TOLERANCE else f"WRONG by {found:.1e}"
        return found

    def expected(self, samples):
        return dict(sorted(self.model.predict(samples, verbose=0).items()))


def mark(part, outcome):
    """What the table says of an outcome."""
    return part + LIMITS.get(outcome, "") if outcome in (*LIMITS, "right") else "-"


def line(row):
    """The row of the table, and notes on what is not right."""
    cells, notes = {name: [] for name in FORMATS}, []
    for strategy, letter in STRATEGIES.items():
        cell = Cell(row, strategy)
        if cell.impossible:
            for marks in cells.values():
                marks.append(letter.lower())
            continue
        part = f"{letter}*" if cell.refused else letter
        if cell.refused:
            notes.append(f"{row}: `{strategy}` has no {', '.join(cell.refused)}.")
        for name, outcome in cell.outcomes().items():
            cells[name].append(mark(part, outcome))
            if outcome != "right":
                notes.append(f"{row}, {strategy}, {FORMATS[name]}: {outcome}")
    return f"| {row} | " + " | ".join(map(" ".join, cells.values())) + " |", notes


def lines():
    """The lines of the table as it stands, by row."""
    _, _, text = PAGE.read_text().partition(BEGIN)
    table, _, _ = text.partition(END)
    found = [line for line in table.splitlines() if line.count("|") == len(FORMATS) + 2]
    return {line.split("|")[1].strip(): line for line in found}


def cell_of(page, row, strategy, format):
    marks = page[row].split("|")[2 + list(FORMATS).index(format)].split()
    return marks[list(STRATEGIES).index(strategy)]


def write(found):
    head = (
        "| model | " + " | ".join(FORMATS.values()) + " |\n" + "|---" * (len(FORMATS) + 1) + "|\n"
    )
    table = head + "".join(f"{found[row]}\n" for row in ROWS if row in found)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{after}")


def main(rows):
    warnings.simplefilter("ignore")
    found = lines()
    for row in rows:
        found[row], notes = line(row)
        print(found[row], *notes, sep="\n  ", flush=True)
        write(found)
        keras.backend.clear_session()


if __name__ == "__main__":
    main(sys.argv[1:] or list(ROWS))

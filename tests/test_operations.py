"""Each operation of Keras, at many points, by both engines: right, or as the page says."""

import columns
import operation_cells
import operations
import pytest
from columns import BACKEND

SAMPLE = [
    "tanh", "abs", "power 3", "multiply", "matmul", "max", "softmax", "concatenate", "where", "det",
    "conv", "cond",
]  # fmt: skip


def orders(line):
    """For each engine what a line of the page says: {kind: order}, `None` for all others."""
    _, _, *cells, kinds, _ = line.split("|")
    found = []
    for cell in cells:
        most, *less = cell.strip().split(", ")
        table = {kind: int(most) if most.isdigit() else 0 for kind in kinds.strip().split(", ")}
        table |= {
            kind: 0 if n == "-" else int(n) for kind, n in (text.rsplit(" ", 1) for text in less)
        }
        found.append(table)
    return found


def told(row):
    """The line of the page, with the column of this backend."""
    line = operation_cells.page_lines()[row]
    if BACKEND is None:
        return line
    return f"| {row} | {operation_cells.COLUMNS.cells()[row][BACKEND]} |{line.split('|')[-2]}|"


def check(row):
    """Nothing is right to a lower order than the page says."""
    line, failures, *_ = operation_cells.result(row)
    for found, known in zip(orders(line), orders(told(row)), strict=True):
        assert all(found.get(kind, 0) >= known[kind] for kind in known), failures


QUICK = SAMPLE[:4] if BACKEND == "JAX" else SAMPLE  # JAX compiles each


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=() if row in QUICK else pytest.mark.slow) for row in SAMPLE]
)
def test_row(row):
    check(row)


@pytest.mark.long
@pytest.mark.parametrize("row", [row for row in operations.ROWS if row not in SAMPLE])
def test_every_row(row):
    check(row)


def test_every_operation_of_keras_has_a_row():
    missing = set(operations.names()) - operations.covered()
    assert not missing, (
        f"Give {missing} a row, or a reason to have none, and run `make operations`."
    )


def test_the_page_has_every_row():
    head, *rows = operation_cells.page_lines()
    here = {row for row in operations.ROWS if not row.startswith("tf.")}
    elsewhere = {row for row in rows if row.startswith("tf.")}
    assert head == "operation" and set(rows) - {"---"} == here | elsewhere
    if BACKEND is None:
        assert here | elsewhere == set(operations.ROWS)
    cells = operation_cells.COLUMNS.cells()
    assert set(cells) == here
    assert all(set(row) == set(columns.NAMES.values()) for row in map(cells.get, here))

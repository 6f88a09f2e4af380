"""Cells of the tables of exports, of the backend that the tests run on."""

import warnings

import export_cells
import pytest
from export_cells import FORMATS, LIMITS, STRATEGIES, cell_of, lines, need
from export_rows import ROWS

# not from this package: converters use what their dependencies deprecate
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")
MARKS = "".join(LIMITS.values())


def diagonal():
    """A cell of every row, such that each strategy and format comes often."""
    formats, strategies = list(FORMATS), list(STRATEGIES)
    return [
        (row, strategies[n % len(strategies)], formats[(n + n // len(formats)) % len(formats)])
        for n, row in enumerate(ROWS)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("row, strategy, format", diagonal())
def test_cell(row, strategy, format):
    check_cell(row, strategy, format)


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("row", ROWS)
def test_every_cell(row, strategy, format):
    check_cell(row, strategy, format)


def check_cell(row, strategy, format):
    need(format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cell = export_cells.Cell(row, strategy)
        if row not in lines():
            pytest.skip(f"docs/export.md has no row {row}; run tests/export_cells.py")
        mark = cell_of(lines(), row, strategy, format)
        if mark == export_cells.NOT_RUN:
            pytest.skip("docs/export.md says that this was not run")
        if cell.impossible:
            assert mark == STRATEGIES[strategy].lower()
            return
        outcome = cell.outcome(format)
    if mark == "-":
        assert "no file is left" in outcome
    else:
        assert export_cells.mark(mark.rstrip(MARKS), outcome) == mark

"""Every layer of Keras, in every mode, by every strategy: right, or a documented error."""

import columns
import keras
import pytest
import zoo
import zoo_backends
import zoo_cells
from framework import BACKEND, on_tensorflow
from zoo_cells import LETTERS, MODES, ORDERS, page_lines, strategies, strategies_in_order

pytestmark = pytest.mark.filterwarnings(
    "ignore:(?s).*(Piecewise linear|Constant piece by piece|along the batch axis)"
)


def diagonal():
    """One or two cells of every row, such that each derivative, strategy and mode comes often."""
    found = []
    for n, row in enumerate(zoo.NAMES):
        name = list(ORDERS)[n % len(ORDERS)]
        possible = strategies(name)
        strategy = possible[n // len(ORDERS) % len(possible)]
        slow = zoo.NAMES[row] == "Recurrent"
        found.append((row, name, strategy, MODES[n % (1 if slow else len(MODES))]))
    return found


@on_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("row, name, strategy, mode", diagonal())
def test_cell(row, name, strategy, mode):
    outcome = zoo_cells.Row(row).cell(name, strategy, mode)
    cell = page_lines()[row].split("|")[2 + list(ORDERS).index(name)].split()
    letter = cell[strategies_in_order(name).index(strategy)]
    if letter == LETTERS[strategy].lower():
        assert zoo_cells.NO_RULE in outcome
    elif letter == "-":
        assert zoo_cells.is_impossible(outcome)
    elif letter.endswith("ˣ") and mode == "XLA":
        assert zoo_cells.NO_XLA in outcome
    else:
        assert outcome == "right"


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "tensorflow", reason="its cells are tested above")
@pytest.mark.parametrize("row", zoo.NAMES)
def test_cell_of_another_backend(row):
    assert zoo_backends.checked(row) == zoo_backends.COLUMNS.cells()[row][columns.BACKEND]


@on_tensorflow
@pytest.mark.slow
@pytest.mark.zoo
@pytest.mark.parametrize("row", zoo.NAMES)
def test_row(row):
    assert zoo_cells.line(row) == page_lines()[row]


@pytest.mark.slow
def test_every_layer_of_keras_has_a_row():
    every = [getattr(keras.layers, name) for name in dir(keras.layers)]
    every = {cls for cls in every if isinstance(cls, type) and issubclass(cls, keras.layers.Layer)}
    left_out = {cls for classes in zoo.LEFT_OUT.values() for cls in classes}
    covered = zoo.covered()
    missing = {cls.__name__ for cls in every - covered - left_out}
    assert not missing, f"Give {missing} a row in zoo.py, and run `make zoo`."


def test_the_page_has_every_row():
    head, *rows = page_lines()
    assert head == "layer" and set(rows) - {"---"} == set(zoo.NAMES)


def test_the_table_of_other_backends_is_full():
    cells = zoo_backends.COLUMNS.cells()
    assert set(cells) == set(zoo.NAMES)
    assert all(set(row) == set(columns.NAMES.values()) for row in cells.values())

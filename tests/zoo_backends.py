"""One derivative of every row of the zoo on JAX and PyTorch, by each strategy, against truth.

`KERAS_BACKEND=jax python tests/zoo_backends.py` writes the column of JAX in docs/zoo.md, and with
`torch` that of PyTorch.
"""

import os
import sys
import warnings
from multiprocessing import get_context

os.environ.setdefault("JAX_ENABLE_X64", "1")

import zoo
import zoo_cells
from keras import ops
from zoo_cells import LETTERS, MODES, ORDERS, PAGE

from keras_derivs import backend

PROCESSES = 2
COLUMNS = ["JAX", "PyTorch"]
KERAS = "no model"  # what stands where Keras raises without any derivative:
WITHOUT_MODEL = {
    "JAX": {"LSTMCell", "GRUCell", "SimpleRNNCell", "Resizing, area"},
    "PyTorch": {
        "UpSampling2D, lanczos3", "UpSampling2D, lanczos5", "Resizing, lanczos3", "Resizing, area",
    },
}  # fmt: skip
INTRODUCTION = f"""{zoo_cells.BACKENDS}

*These columns are written by `KERAS_BACKEND=jax python tests/zoo_backends.py`, and by the same with `torch`.*

One derivative of every row, by each strategy that computes it, against the same differences (on JAX eagerly and under `jit` in turns). Letters as above; "-": an error says why; "{KERAS}": Keras itself raises, without any derivative.

"""


def diagonal(row):
    """The derivative and the mode that are checked of a row."""
    number = list(zoo.NAMES).index(row)
    return list(ORDERS)[number % len(ORDERS)], MODES[number % len(MODES)]


def cell(row):
    """What the table says of a row here; raises where that is neither right nor a known error."""
    name, mode = diagonal(row)
    if row in WITHOUT_MODEL[backend.FRAMEWORK]:
        return no_model(row)
    made, marks = zoo_cells.Row(row), []
    for strategy in zoo_cells.strategies_in_order(name):
        outcome = made.cell(name, strategy, mode)
        marks.append(
            zoo_cells.mark(LETTERS[strategy], [outcome], f"{row}, {name}, {strategy}, {mode}")
        )
    return " ".join(marks) + (" (float32)" if made.dtype == "float32" else "")


def no_model(row):
    """Check that Keras builds or computes no model of the row in this precision."""
    try:
        made = zoo_cells.Row(row)
        made.model(ops.convert_to_tensor(made.x, made.dtype))
    except Exception:
        return KERAS
    raise AssertionError("Keras computes its model: take it out of WITHOUT_MODEL")


def checked(row):
    """The cell of a row, or what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cell(row)
    except Exception as error:
        return f"{row}: {error}"


def cells():
    """{row: [cell of each backend]}, as they stand in the page."""
    table = PAGE.read_text().partition(zoo_cells.BACKENDS)[2]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:2] == "| "]
    if not lines:
        return {}
    columns = {name: lines[0].index(name) for name in COLUMNS if name in lines[0]}
    return {
        line[0]: [line[columns[name]] if name in columns else "" for name in COLUMNS]
        for line in lines[1:]
    }


def main(rows):
    """Check the rows, and write their column anew; all other cells stay."""
    known, column, wrong = cells(), COLUMNS.index(backend.FRAMEWORK), []
    with get_context("spawn").Pool(PROCESSES, maxtasksperchild=25) as pool:
        for n, (row, text) in enumerate(zip(rows, pool.imap(checked, rows)), start=1):
            print(f"{n} of {len(rows)}: {row}: {text}", flush=True)
            if text.startswith(f"{row}:"):
                wrong.append(text)
            known.setdefault(row, ["", ""])[column] = text
    if wrong:
        sys.exit("\n".join(["", f"{len(wrong)} rows are not as they should be:", *wrong]))
    write(known)


def write(known):
    """The table, with the columns of the backends that were checked."""
    columns = [n for n in range(len(COLUMNS)) if any(row[n] for row in known.values())]
    lines = [
        "| " + " | ".join([row, diagonal(row)[0], *(known[row][n] for n in columns)]) + " |\n"
        for row in zoo.NAMES
        if row in known
    ]
    names = [COLUMNS[n] for n in columns]
    head = f"| layer | derivative | {' | '.join(names)} |\n{'|---' * (2 + len(columns))}|\n"
    before = PAGE.read_text().partition(zoo_cells.BACKENDS)[0]
    PAGE.write_text(before.rstrip() + "\n\n" + INTRODUCTION + head + "".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:] or list(zoo.NAMES))

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
from columns import BACKEND, Columns
from keras import ops
from zoo_cells import LETTERS, MODES, ORDERS, PAGE

PROCESSES = 2
COLUMNS = Columns(PAGE, zoo_cells.BACKENDS, ["layer", "derivative"])
KERAS = "no model"  # what stands where Keras raises without any derivative:
WITHOUT_MODEL = {
    "JAX": {"LSTMCell", "GRUCell", "SimpleRNNCell", "Resizing, area"},
    "PyTorch": {
        "UpSampling2D, lanczos3", "UpSampling2D, lanczos5", "Resizing, lanczos3", "Resizing, area",
    },
}  # fmt: skip
INTRODUCTION = f"""*These columns are written by `KERAS_BACKEND=jax python tests/zoo_backends.py`, and by the same with `torch`.*

One derivative of every row, by each strategy that computes it, against the same differences (on JAX eagerly and under `jit` in turns). Letters as above; "-": an error says why; "{KERAS}": Keras itself raises, without any derivative.

"""


def diagonal(row):
    """The derivative and the mode that are checked of a row."""
    number = list(zoo.NAMES).index(row)
    return list(ORDERS)[number % len(ORDERS)], MODES[number % len(MODES)]


def cell(row):
    """What the table says of a row here; raises where that is neither right nor a known error."""
    name, mode = diagonal(row)
    if row in WITHOUT_MODEL[BACKEND]:
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


def main(rows):
    """Check the rows, and write their column anew; all other cells stay."""
    found, wrong = {}, []
    with get_context("spawn").Pool(PROCESSES, maxtasksperchild=25) as pool:
        for n, (row, text) in enumerate(zip(rows, pool.imap(checked, rows)), start=1):
            print(f"{n} of {len(rows)}: {row}: {text}", flush=True)
            if text.startswith(f"{row}:"):
                wrong.append(text)
            found[row] = text
    if wrong:
        sys.exit("\n".join(["", f"{len(wrong)} rows are not as they should be:", *wrong]))
    COLUMNS.write(INTRODUCTION, {row: [diagonal(row)[0]] for row in zoo.NAMES}, found)


if __name__ == "__main__":
    main(sys.argv[1:] or list(zoo.NAMES))

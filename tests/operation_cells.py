"""The cells of the table of operations: derivatives of a row, by an engine, against truth.

`python tests/operation_cells.py` writes docs/operations.md and the table of verified operations,
`backend/verified/tensorflow.json`; with names of rows, or `@` and the beginning of a group, it only
prints what is wrong there; with `+` before them it writes these rows anew and keeps the others.
`@layers` are the layers of the zoo. With KERAS_BACKEND=jax or torch it compares gradients alone,
and writes a column of that page and the table of that backend.
"""

import json
import os
import pathlib
import re
import sys
import warnings
from multiprocessing import get_context

import numpy as np
import operations
import zoo
import zoo_backends
import zoo_cells
from columns import BACKEND, Columns
from operation_batch import ENGINES, batches

import keras_derivs as kd
from keras_derivs.backend.verified import TABLE, VERIFIED

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "operations.md"
COLUMNS = Columns(PAGE, "## On JAX and PyTorch", ["operation"])
CALLS = ("PartitionedCall", "StatefulPartitionedCall")  # what they call is looked at by itself
PROCESSES = 2
NO_RULE = "needs a Taylor rule for every operation"


class Result:
    """What comes out of a row: for (engine, kind) the order up to which it is right, and why."""

    def __init__(self, row):
        self.row, self.orders, self.texts = row, {}, {}
        self.types, self.request = set(), None
        for batch in batches(row):
            for engine in ENGINES:
                for dtype in row.dtypes if BACKEND is None else row.dtypes[-1:]:
                    self.run(batch, engine, dtype)

    def run(self, batch, engine, dtype):
        try:
            found = self.found(batch, engine, dtype)
        except Exception as error:
            parts = batch.split()
            for part in parts if len(parts) > 1 else []:
                self.run(part, engine, dtype)
            if len(parts) == 1:
                self.note(engine, batch.cases[0][0], -1, words(error))
            return
        plain = batch.plain(dtype)
        for n, (kind, case) in enumerate(batch.cases):
            if batch.wrong(plain[n], n, dtype, 0):
                continue  # the value itself is not right there, without us
            self.note(engine, kind, self.row.orders, "")
            wrong = [batch.wrong(f[n], n, dtype, order) for order, f in enumerate(found)]
            if any(wrong):
                order = next(order for order, text in enumerate(wrong) if text)
                at = [np.asarray(p).tolist() for p in case.point]
                self.note(engine, kind, max(order - 1, 0), f"{dtype} at {at}: {wrong[order]}")

    def found(self, batch, engine, dtype):
        """The derivatives: as a user gets them the first time, then by the engine alone."""
        if self.request is not None:
            try:
                return batch.derivatives(engine, dtype, self.request)
            except Exception:
                return batch.values(batch.layer(engine, dtype), dtype)  # for what a user reads
        layer = batch.layer(engine, dtype)
        found = batch.values(layer, dtype)
        self.types |= types_on_the_way(layer)
        self.request = layer.plan.request
        return found

    def note(self, engine, kind, order, text):
        if order < self.orders.get((engine, kind), 5):
            self.orders[engine, kind], self.texts[engine, kind] = order, text

    def cell(self, engine):
        """The highest order that is right, and where it is less; "-" where an error is raised."""
        orders = {kind: order for (e, kind), order in self.orders.items() if e == engine}
        if not orders:
            return "not compared"
        if set(orders.values()) == {-1}:
            return "no rule" if all(NO_RULE in self.texts[engine, k] for k in orders) else "error"
        most = max(orders.values())
        less = [f"{kind} {max(n, 0) or '-'}" for kind, n in orders.items() if n < most]
        return ", ".join([str(most), *less])

    def failures(self):
        """What keeps a cell from the highest order, a line each; not that Taylor has no rule."""
        for (engine, kind), order in self.orders.items():
            text = self.texts[engine, kind]
            if order < self.row.orders and NO_RULE not in text:
                until = f"right up to order {order}; then " if order >= 0 else ""
                yield f"{engine}, {kind}: {until}{text[:250]}"

    def not_compared(self):
        for kind in self.row.cases:
            if not any(kind == k for _, k in self.orders):
                yield f"{kind} is not compared: values of the operation itself are off there"


def words(error):
    text = re.sub(r"\x1b\[\d*m", "", " ".join(str(error).split()))
    text = re.sub(r"^Exception encountered when calling \w+.call\(\)\. ", "", text)
    return f"{type(error).__name__}: {text.split(' Arguments received by')[0]}"


def result(name):
    """Of a row: (its line on the page, failures, types of operations, order on the tape)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Result(operations.ROWS[name])
    kinds = ", ".join(dict.fromkeys(kind for _, kind in found.orders))
    line = f"| {name} | {' | '.join(map(found.cell, ENGINES))} | {kinds} |"
    tape = max((n for (engine, _), n in found.orders.items() if engine == "tape"), default=0)
    failures = [*found.failures(), *found.not_compared()]
    return line, failures, sorted(found.types), tape


def page_lines():
    """The lines of the table as it stands, by row."""
    lines = [line for line in PAGE.read_text().splitlines() if line.count("|") == 5]
    return {line.split("|")[1].strip(): line for line in lines}


LESS = """
## What is less

"nan for 2.4" is what came out, and the true derivative; what is not finite is not silent.

"""
INTRODUCTION = """# Operations

*This page is written by `make operations`, which checks every cell.*

Each operation of `keras.ops` and `keras.activations`, and some of TensorFlow's own, is differentiated along two directions, up to the fourth order, in float32 and float64, by both engines, and compared with differences in 160 digits of a closed form or of mpmath's algorithm; layers are in [the zoo](zoo.md). A number is the order up to which it is right at all the points of the last column; where it is less, the kind of points and the order follow, and the reason stands at the end of the page. "error": an error is raised that says why. "no rule": Taylor polynomials stop there, with an error that names the operation, and `"auto"` takes the tape.

The operations of TensorFlow that lie on the way in these rows, and in those of the zoo, are the table of verified ones; [JAX and PyTorch](#on-jax-and-pytorch) have a table each. An operation that is not in it, or not up to the order that is asked for, is named in a warning and by `explain()`.

Points: *generic*; *zero*; *whole* numbers; *small* (1e-30, 1e-8) and *large* (1e3 to 1e25) ones; *kinks*; *ties*; *equal* eigenvalues; the rest says what it is. Where the value of the operation itself is off, nothing is compared. Where there is no finite derivative, a number that is not finite is right.

At kinks both engines have the same derivatives:

| at | the derivatives are those of |
|---|---|
| 0 of `absolute`, `sign`, `PReLU`, `hypot`, `std` and norms | a constant: 0 |
| 0 of `relu`, `leaky_relu`, `elu`, `celu` and `selu`, the threshold of `threshold` and `ReLU` | the lower side |
| the bounds of `clip` and `hard_tanh` | the inside |
| the bounds of `relu6`, `ReLU(max_value)`, `hard_sigmoid`, `hard_silu`, `sparse_plus`, `sparse_sigmoid`, `hard_shrink` and `soft_shrink` | the outside |
| ties of `maximum`, `minimum`, `max`, `min`, `ptp` and norms of infinite order | the mean of those that tie; for powers of the result, the mean of their powers |
| ties of `sort`, `median`, `quantile` and maximum pooling | the entry that is taken, of equal ones the first |
| ties of `top_k` | the entries whose indices it returns: of equal ones the first, on PyTorch any |
| 0 of `x ** y` where `y` varies, too | their limits for x that falls to 0, which may be infinite; `y` has no part where x is negative |
| steps of `round`, `floor`, `ceil`, `trunc` and comparisons | a constant: 0 |
| single points that a `where` selects, as 0 in `where(x == 0, 1, sin(x) / x)` | the selected branch, which a warning says |

"""


BESIDE = """*These columns are written by `KERAS_BACKEND=jax python tests/operation_cells.py`, and by the same with `torch`.*

The same derivatives by the framework's own gradients, in float64, at the same points; the command prints the reason for what is less. The operations of the programs in these rows, and in those of the zoo, are the table of verified ones there: primitives on JAX, and on PyTorch the operations that its functions call.
"""


def main(names):
    """Check rows; all of them, to write the page and the table anew."""
    renews, names = "+" in names, [name for name in names if name != "+"]
    groups = tuple(name[1:] for name in names if name[0] == "@")
    rows = [name for name in names if name[0] != "@"]
    rows += [
        row for key, rows in operations.GROUPS.items() for row in rows
        if not names or (groups and key.startswith(groups))
    ]  # fmt: skip
    layers = list(zoo.NAMES) if "layers" in groups or not names else []
    kept = VERIFIED if names else {}
    results = {}
    with get_context("spawn").Pool(PROCESSES, maxtasksperchild=60) as pool:
        for name, found in zip(rows, pool.imap(result, rows)):
            results[name] = found
            print(found[0], *found[2])
            print("".join(f"    {text}\n" for text in found[1]), end="", flush=True)
        types = [found[2:] for found in results.values()] + list(pool.imap(types_of_layer, layers))
    if renews or not names:
        write(results)
        write_table([*types, *(([kind], order) for kind, order in kept.items())])


def write(results):
    if BACKEND is None:
        write_page({row: results.get(row) or told(row) for row in operations.ROWS})
    else:
        cells = {row: line.split(" | ")[1] for row, (line, *_) in results.items()}
        COLUMNS.write(BESIDE, {row: [] for row in operations.ROWS}, cells)


def told(row):
    """What the page says of a row: (its line, failures)."""
    kinds = "|".join(map(re.escape, operations.ROWS[row].cases))
    own = re.compile(rf"- {re.escape(row)}, ((?:tape|taylor), .*|(?:{kinds}) is not compared.*)")
    found = map(own.fullmatch, PAGE.read_text().splitlines())
    return page_lines()[row], [match[1] for match in found if match]


def orders_of_layer(row):
    """The orders to which the derivatives of a layer of the zoo are compared."""
    cells = dict(zip(zoo_cells.ORDERS, zoo_cells.page_lines()[row].split("|")[2:]))
    if BACKEND is not None:
        cells = {zoo_backends.diagonal(row)[0]: zoo_backends.COLUMNS.cells()[row][BACKEND]}
    return [zoo_cells.ORDERS[name] for name, cell in cells.items() if "R" in cell]


def types_of_layer(row):
    """The operations on the way through a layer of the zoo, and the order it is compared to."""
    orders = orders_of_layer(row)
    if not orders:
        return set(), 0
    try:
        model = zoo.build(row, "float32" if zoo.has_equivalent(row) else "float64")
        layer = kd.Jacobian(model, strategy="reverse")
        layer(zoo.points(model))
    except ValueError:  # a documented error
        return set(), 0
    return types_on_the_way(layer), max(orders, default=0)


def types_on_the_way(layer):
    steps = [step for step in layer.plan.steps if step.on_the_way]
    return {name for step in steps for name in step.differentiated}


def write_page(results):
    head = "| operation | tape | Taylor | points |\n" + "|---" * 4 + "|\n"
    parts = [
        f"\n## {group}\n\n{head}" + "".join(f"{results[row][0]}\n" for row in rows)
        for group, rows in operations.GROUPS.items()
    ]
    less = [f"- {row}, {text}\n" for row in operations.ROWS for text in results[row][1]]
    text = INTRODUCTION + "".join(parts) + LESS + "".join(less) + left_out()
    PAGE.write_text(f"{text}\n{COLUMNS.text}" if COLUMNS.text else text)


def left_out():
    reasons = [
        f"- {reason}: {', '.join(f'`{name}`' for name in text.split())}\n"
        for reason, text in operations.LEFT_OUT.items()
    ]
    return "\n## What has no row\n\n" + "".join(reasons)


def write_table(found):
    """The order up to which the tape is right, of [(operations, order)]; the page says where less."""
    verified = {}
    for types, order in [*found, *(((kind,), 4) for kind in CALLS if BACKEND is None)]:
        verified |= {kind: max(order, verified.get(kind, 0)) for kind in types}
    verified = {kind: order for kind, order in sorted(verified.items()) if order > 0}
    TABLE.write_text(json.dumps(verified, indent=1) + "\n")


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    main(sys.argv[1:])

"""The cells of the zoo's table: a derivative of a row, by a strategy, in a mode, against truth.

Truth are central differences of plain calls in float64; all shifted points are one batch.
`python tests/zoo_cells.py` writes docs/zoo.md.
"""

import itertools
import os
import pathlib
import sys
import warnings
from multiprocessing import get_context

import framework
import keras
import numpy as np
import zoo
from keras import ops
from truth import DIFFERENCES, SINGLE, numpy, predict

import keras_derivs as kd
from keras_derivs import backend
from keras_derivs.engine import choose

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "zoo.md"
BACKENDS = "## On JAX and PyTorch"  # that part of the page is written by zoo_backends.py
MODES = ("eager", *backend.MODES)
LETTERS = {"reverse": "R", "forward": "F", "taylor": "T"}
ORDERS = {"Jacobian": 1, "Hessian": 2, "Laplacian": 2, "third partial": 3, "weights": 2}
KINDS = {"Jacobian": "jacobian", "Hessian": "hessian", "third partial": "partials"}
NO_RULE, NO_XLA = "needs a Taylor rule for every operation", "XLA (`jit_compile=True`) needs"
IMPOSSIBLE = (
    f"needs operations that {backend.FRAMEWORK} can differentiate as often",
    "needs inputs whose features can be counted",
)
STEP = 0.01
FIRST = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}  # of h f', to order h^6
FIRST |= {-n: -factor for n, factor in FIRST.items()}
SECOND = {1: 3 / 2, 2: -3 / 20, 3: 1 / 90}  # of h^2 f''
SECOND |= {-n: factor for n, factor in SECOND.items()} | {0: -49 / 18}


def strategies(name):
    return [s for s in choose.STRATEGIES[KINDS.get(name, "laplacian")] if s in LETTERS]


def strategies_in_order(name):
    return [strategy for strategy in LETTERS if strategy in strategies(name)]


def derivative(name, model, strategy):
    """A function of x, by the package."""
    if name == "weights":
        return slope_by_weights(model, kd.Laplacian(model, strategy=strategy))
    if name == "third partial":
        layer = kd.Partials(model, [(0, 0, 1)], strategy=strategy)
        return lambda x: layer(x)[0]
    return getattr(kd, name)(model, strategy=strategy)


def slope_by_weights(model, laplacian):
    """d/ds of the sum of the Laplacian where all weights are multiplied by s, at s = 1."""

    def slope(x):
        weights = model.trainable_variables
        found = framework.gradients(lambda: ops.sum(laplacian(x)), weights)
        pairs = zip(found, (variable.value for variable in weights))
        return sum(ops.sum(g * w) for g, w in pairs if g is not None)

    return slope


class Truth:
    """The same derivatives of a model by differences."""

    def __init__(self, model, x):
        self.model, self.x = model, x
        self.size = x[0].size

    def __call__(self, name):
        return {"Jacobian": self.jacobian, "Hessian": self.hessian, "weights": self.weights,
                "Laplacian": self.laplacian, "third partial": self.third}[name]()  # fmt: skip

    def sums(self, stencils):
        """For each stencil, {(shift of entry, …): factor}, the weighted sum of values."""
        shifts = list(dict.fromkeys(shift for stencil in stencils for shift in stencil))
        moves = np.zeros((len(shifts), 1, self.size))
        for row, shift in zip(moves, shifts):
            for entry, times in shift:
                row[0, entry] += times * STEP
        points = self.x + moves.reshape(-1, 1, *self.x.shape[1:])
        values = predict(self.model)(points.reshape(-1, *self.x.shape[1:]))
        values = dict(zip(shifts, values.reshape(*points.shape[:2], -1)))
        return [sum(f * values[shift] for shift, f in s.items()) for s in stencils]

    def jacobian(self):
        stencils = [{((i, n),): f for n, f in FIRST.items()} for i in range(self.size)]
        columns = np.stack(self.sums(stencils), axis=-1) / STEP
        return columns.reshape(*columns.shape[:2], *self.x.shape[1:])

    def hessian(self):
        pairs = [(i, j) for i in range(self.size) for j in range(i + 1)]
        entries = self.sums([self._second(i, j) for i, j in pairs])
        found = np.zeros((*entries[0].shape, self.size, self.size))
        for (i, j), entry in zip(pairs, entries):
            found[..., i, j] = found[..., j, i] = entry / STEP**2
        found = found[:, 0] if found.shape[1] == 1 else found  # as the package does
        return found.reshape(*found.shape[:-2], *self.x.shape[1:], *self.x.shape[1:])

    def laplacian(self):
        return sum(self.sums([self._second(i, i) for i in range(self.size)])) / STEP**2

    def third(self):
        products = itertools.product(SECOND.items(), FIRST.items())
        stencil = {((0, n), (1, m)): f * g for (n, f), (m, g) in products}
        return self.sums([stencil])[0] / STEP**3

    def weights(self):
        start, total = self.model.get_weights(), 0.0
        trained = {id(v) for v in self.model.trainable_variables}
        for times, factor in FIRST.items():
            for variable, old in zip(self.model.weights, start):
                if id(variable) in trained:
                    variable.assign(old * (1 + times * STEP))
            total += factor * np.sum(self.laplacian()) / STEP
        self.model.set_weights(start)
        return total

    @staticmethod
    def _second(i, j):
        if i == j:
            return {((i, n),): f for n, f in SECOND.items()}
        products = itertools.product(FIRST.items(), FIRST.items())
        return {((i, n), (j, m)): f * g for (n, f), (m, g) in products}


class Row:
    """A row of the zoo: its model, its truth, and what comes out of it."""

    def __init__(self, row):
        self.dtype = "float32" if zoo.has_equivalent(row) else "float64"
        self.model = zoo.build(row, self.dtype)
        self.x = zoo.points(self.model)
        model = self.model
        if self.dtype == "float32":
            model = zoo.build(row, equivalent=True)
            model.set_weights(self.model.get_weights())
        self.row, self.truth, self.true = row, Truth(model, self.x), {}

    def outcome(self, found, name, dtype=None):
        """What comes of a derivative: "right", an error's message, or how wrong it is."""
        if isinstance(found, Exception):
            return " ".join(str(found).split())
        if name not in self.true:
            self.true[name] = self.truth(name)
        table = SINGLE if (dtype or self.dtype) == "float32" else DIFFERENCES
        expected, found = self.true[name], numpy(found)
        scale = max(1.0, np.max(np.abs(expected)))
        off = np.max(np.abs(found - expected)) / scale if found.shape == expected.shape else np.inf
        return "right" if off <= table[ORDERS[name]] else f"WRONG by {off:.1e} of its scale"

    def cell(self, name, strategy, mode):
        function = _attempt(lambda: derivative(name, self.model, strategy))
        return self.outcome(*self.results([function], mode), name)

    def results(self, functions, mode):
        """Of functions of x, or the exceptions that they raise, or that stand in their place."""
        x = ops.convert_to_tensor(self.x, self.dtype)
        able = [f for f in functions if not isinstance(f, Exception)]
        if mode != "eager" and len(able) > 1:  # compiled as one, which is faster
            together = _attempt(lambda: backend.compiled(lambda x: [f(x) for f in able], mode)(x))
            if not isinstance(together, Exception):
                results = iter(together)
                return [f if isinstance(f, Exception) else next(results) for f in functions]
        return [
            f if isinstance(f, Exception)
            else _attempt(lambda f=f: (f if mode == "eager" else backend.compiled(f, mode))(x))
            for f in functions
        ]  # fmt: skip

    def in_single_precision(self, name):
        model = zoo.build(self.row, "float32")
        model.set_weights(self.model.get_weights())
        x = self.x.astype("float32")
        return self.outcome(_attempt(lambda: derivative(name, model, "auto")(x)), name, "float32")

    def line(self):
        """The row of the table; raises where a cell is neither right nor a documented error."""
        cells = {name: [] for name in ORDERS}
        for strategy, letter in LETTERS.items():
            names = [name for name in ORDERS if strategy in strategies(name)]
            functions = [
                _attempt(lambda n=n, s=strategy: derivative(n, self.model, s)) for n in names
            ]
            results = {mode: self.results(functions, mode) for mode in MODES}
            for n, name in enumerate(names):
                outcomes = [self.outcome(results[mode][n], name) for mode in MODES]
                cells[name].append(mark(letter, outcomes, f"{self.row}, {name}, {strategy}"))
        for name in ("Jacobian", "Hessian"):
            outcome = self.in_single_precision(name)
            if outcome != "right" and not is_impossible(outcome):
                raise AssertionError(f"{self.row}, {name}, float32: {outcome}")
        dtype = " (float32)" if self.dtype == "float32" else ""
        return f"| {self.row}{dtype} | " + " | ".join(map(" ".join, cells.values())) + " |"


def _attempt(function):
    try:
        return function()
    except Exception as error:
        return error


def is_impossible(outcome):
    return any(words in outcome for words in IMPOSSIBLE)


def mark(letter, outcomes, where):
    """How the outcomes in all modes stand in the table."""
    if all(outcome == "right" for outcome in outcomes):
        return letter
    if all(NO_RULE in outcome for outcome in outcomes):
        return letter.lower()
    if all(is_impossible(outcome) for outcome in outcomes):
        return "-"
    if outcomes[:2] == ["right", "right"] and NO_XLA in outcomes[2]:
        return f"{letter}ˣ"
    found = "; ".join(f"{mode}: {text[-300:]}" for mode, text in zip(MODES, outcomes))
    raise AssertionError(f"{where}: {found}")


def line(row):
    """The row of the table, or what is wrong with it."""
    if framework.tf:
        framework.tf.get_logger().setLevel("ERROR")
    keras.backend.clear_session()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "(?s).*(Piecewise linear|Constant piece by piece|along the batch axis)"
            )
            return Row(row).line()
    except Exception as error:
        return f"{row}: {error}"


INTRODUCTION = """# The zoo

*This page is written by `make zoo`, which checks every cell; `make test-all` checks that it is true.*

Around each layer of Keras stands a small model: x → sin → the layer → a network of one or two outputs. Every derivative of it is compared with central differences of plain calls in float64, in three modes: eagerly, in a `tf.function`, and compiled by XLA; and Jacobian and Hessian in float32, too. "weights" is the gradient by all weights of a sum of Laplacians, as training takes it. [operations.md](operations.md) has the operations that layers are made of. The last group holds layers of this package: derivatives of derivatives.

| | |
|---|---|
| **R**, **F**, **T** | right in every mode by `strategy="reverse"`, `"forward"`, `"taylor"`; `"auto"` takes one of them |
| t | `strategy="taylor"` raises and names the operation without a Taylor rule; `"auto"` takes the tape |
| Rˣ, Tˣ | right eagerly and in a `tf.function`; XLA cannot compile it, and the error names the layer |
| - | an error says why: TensorFlow has no gradient of this layer, or the features of a sequence of unknown length cannot be counted |
| (float32) | TensorFlow computes this layer in float32 only |

Nothing in this table is wrong without an error. Not in it are:

"""


def left_out():
    return "".join(
        f"- {', '.join(cls.__name__ for cls in classes)}: {reason}.\n"
        for reason, classes in zoo.LEFT_OUT.items()
    )


def page_lines():
    """The lines of the table as it stands, by row."""
    text = PAGE.read_text() if PAGE.exists() else ""
    lines = [line for line in text.splitlines() if line.count("|") == len(ORDERS) + 2]
    return {line.split("|")[1].strip().removesuffix(" (float32)"): line for line in lines}


def main(rows):
    """Compute the rows, and write the page anew; the other rows stay."""
    lines = page_lines()
    with get_context("spawn").Pool(2, maxtasksperchild=25) as pool:
        for n, (row, text) in enumerate(zip(rows, pool.imap(line, rows)), start=1):
            lines[row] = text
            print(f"{n} of {len(rows)}: {text}", flush=True)
    wrong = [lines[row] for row in rows if not lines[row].startswith("| ")]
    if wrong:
        sys.exit("\n".join(["", f"{len(wrong)} rows are not as they should be:", *wrong]))
    if set(zoo.NAMES) <= set(lines):
        head = "| layer | " + " | ".join(ORDERS) + " |\n" + "|---" * (len(ORDERS) + 1) + "|\n"
        parts = [
            f"\n## {group}\n\n{head}" + "".join(f"{lines[row]}\n" for row in found)
            for group, found in zoo.GROUPS.items()
        ]
        heading, others = PAGE.read_text().partition(BACKENDS)[1:]
        others = f"\n{heading}{others}" if others else ""
        PAGE.write_text(INTRODUCTION + left_out() + "".join(parts) + others)


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    main(sys.argv[1:] or list(zoo.NAMES))

"""The cells of the table of operations: derivatives of a row, by an engine, against truth.

`python tests/operation_cells.py` writes docs/operations.md and keras_derivs/engine/verified.json;
with names of rows, or `@` and the beginning of a group, it only prints what is wrong there.
"""

import json
import os
import pathlib
import re
import sys
import warnings
from multiprocessing import get_context

import keras
import numpy as np
import operation_truth
import operations
import tensorflow as tf
from keras import ops
from mpmath import mp
from operation_truth import TERMS

import keras_derivs as kd
from keras_derivs.engine import choose
from keras_derivs.engine.target import Target

ROOT = pathlib.Path(__file__).parent.parent
PAGE, TABLE = ROOT / "docs" / "operations.md", ROOT / "keras_derivs" / "engine" / "verified.json"
ENGINES = {"tape": "reverse", "taylor": "taylor"}
DTYPES = ("float32", "float64")
RTOL = {"float32": 1e-4, "float64": 1e-10}
SAMPLES = 2  # of a function that takes one: as many as the audit tries
NO_RULE = "needs a Taylor rule for every operation"


class Along(keras.layers.Layer):
    """The weighted sum of an operation along z = p + s v + t w + s t u.

    It is called on [(s, t), p and u of each argument].
    """

    def __init__(self, row, shapes, **kwargs):
        super().__init__(**kwargs)
        self.row = row
        v, w = operation_truth.directions([np.zeros(shape) for shape in shapes])
        self.moves = [np.stack([np.ravel(a), np.ravel(b)]) for a, b in zip(v, w)]

    def call(self, inputs):
        st, *points = inputs
        bend, half = st[:, :1] * st[:, 1:], len(points) // 2
        z = [self.at(st, bend, *each) for each in zip(points[:half], points[half:], self.moves)]
        y = self.function(z)
        parts = y if isinstance(y, (tuple, list)) else [y]
        return sum(self.weighted(part) for part in parts)

    def at(self, st, bend, p, u, move):
        moved = ops.matmul(st, ops.convert_to_tensor(move, p.dtype))
        bent = bend * ops.reshape(u, (-1, move.shape[1]))
        return p + ops.reshape(moved + bent, (-1, *p.shape[1:]))

    def function(self, z):
        if not self.row.per_sample:
            return self.row.function(*z)
        rows = [self.row.function(*row) for row in zip(*[ops.unstack(x, SAMPLES) for x in z])]
        if isinstance(rows[0], (tuple, list)):
            return [ops.stack(parts) for parts in zip(*rows)]
        return ops.stack(rows)

    def weighted(self, y):
        weights = ops.convert_to_tensor(operation_truth.weights(tuple(y.shape[1:])), y.dtype)
        axes = tuple(range(1, len(y.shape)))
        return ops.sum(y * weights, axis=axes) if axes else y * weights


class Batch:
    """Cases of a row, [(kind, case)], whose arrays have the same shapes."""

    def __init__(self, row, cases):
        self.row, self.cases = row, cases
        self.shapes = [np.shape(p) for p in cases[0][1].point]
        self.inputs = {dtype: self._inputs(dtype) for dtype in DTYPES}
        self.along = {d: Along(row, self.shapes, dtype=d, name="operation") for d in DTYPES}
        self.truths = {}

    def split(self):
        """A batch for each kind."""
        kinds = dict.fromkeys(kind for kind, _ in self.cases)
        return [Batch(self.row, [c for c in self.cases if c[0] == k]) for k in kinds]

    def bends(self, n):
        """The second derivatives of the path; 0 where they would hide those of the operation."""
        kind, case = self.cases[n]
        return operation_truth.bends(case.point, kind == "generic")

    def _inputs(self, dtype):
        count = len(self.cases)
        points = zip(*[case.point for _, case in self.cases])
        bends = zip(*[self.bends(n) for n in range(count)])
        return [
            np.zeros((count, 2), dtype),
            *(np.stack(c).astype(dtype) for c in (*points, *bends)),
        ]

    def layer(self, engine, dtype):
        terms = list(TERMS[: self.row.orders + 1])
        return kd.Partials(self.along[dtype], terms, wrt=0, strategy=ENGINES[engine])

    def derivatives(self, engine, dtype, request):
        """By the engine alone."""
        choice = choose.Choice(ENGINES[engine], "", "")

        def solve(inputs):
            inputs = [tf.constant(x) for x in inputs]
            return choose.solve(choice, Target(self.along[dtype], inputs, inputs, (0,)), request)[1]

        return self.values(solve, dtype)

    def values(self, function, dtype):
        """What a function of the inputs returns for each case, a list of arrays."""
        inputs, count = self.inputs[dtype], len(self.cases)
        size, results = SAMPLES if self.row.per_sample else count, []
        for start in range(0, count, size):
            at = np.arange(start, start + size) % count
            found = function([x[at] for x in inputs])
            results.append([np.asarray(r)[: count - start] for r in found])
        return [np.concatenate(parts) for parts in zip(*results)]

    def plain(self, dtype):
        return self.values(lambda inputs: [self.along[dtype](inputs)], dtype)[0]

    def truth(self, n, dtype, change=0.0):
        key = n, dtype, change
        if key not in self.truths:
            self.truths[key] = self._truth(n, dtype, change)
        return self.truths[key]

    def _truth(self, n, dtype, change):
        case, bends = self.cases[n][1], self.bends(n)
        point = [x[n].astype("float64") * (1 + change) for x in self.points(dtype)]
        if isinstance(case.truth, tuple):
            return operation_truth.composed(case.truth, point, bends)
        return operation_truth.derivatives(case.truth or self.row.reference, point, bends)

    def points(self, dtype):
        return self.inputs[dtype][1 : 1 + len(self.shapes)]

    def scale(self, n, dtype, order):
        """The magnitude of such a derivative that the others suggest, by the size of the point."""
        length = max((np.max(np.abs(x[n]), initial=0) for x in self.points(dtype)), default=0)
        sizes = [size for _, size, _ in self.truth(n, dtype)]
        length = mp.mpf(1.0 if length == 0 or 1 < length < 100 else float(length))
        return max(s * length ** (k - order) for k, s in enumerate(sizes) if mp.isfinite(s))

    def wrong(self, found, n, dtype, order):
        """What is wrong with a derivative; "" if nothing."""
        true, size, error = self.truth(n, dtype)[order]
        number, limits = float(found), np.finfo(dtype)
        if true is None:
            finite = np.isfinite(number) and order > 0
            return f"{number:.4g} where there is none" if finite else ""
        if not np.isfinite(number):
            return "" if abs(size) > float(limits.max) / 1e4 else f"{number} for {float(true):.6g}"
        natural = self.scale(n, dtype, order)
        allowed = RTOL[dtype] * size + 64 * float(limits.eps) * natural
        allowed += error + 1e-50 * natural + float(limits.tiny) * 1e3
        if abs(found - true) <= allowed:
            return ""
        eps = float(limits.eps)
        near = [self.truth(n, dtype, change)[order][0] for change in (eps, -eps)]
        sensitive = sum(mp.inf if x is None else abs(x - true) for x in near)
        if abs(found - true) <= allowed + 4 * sensitive:
            return ""
        return f"{number:.6g} for {float(true):.6g}"


def batches(row):
    groups = {}
    for kind, cases in row.cases.items():
        for case in cases:
            groups.setdefault(tuple(np.shape(p) for p in case.point), []).append((kind, case))
    return [Batch(row, cases) for cases in groups.values()]


class Result:
    """What comes out of a row: for (engine, kind) the order up to which it is right, and why."""

    def __init__(self, row):
        self.row, self.orders, self.texts = row, {}, {}
        self.types, self.request = set(), None
        for batch in batches(row):
            for engine in ENGINES:
                for dtype in DTYPES:
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
        self.types |= {step.type for step in layer.plan.steps if step.on_the_way}
        self.request = layer.plan.request
        return found

    def note(self, engine, kind, order, text):
        if order < self.orders.get((engine, kind), 5):
            self.orders[engine, kind], self.texts[engine, kind] = order, text

    def cell(self, engine):
        """The highest order that is right, and where it is less; "-" where an error is raised."""
        orders = {kind: order for (e, kind), order in self.orders.items() if e == engine}
        if set(orders.values()) == {-1}:
            return "no rule" if all(NO_RULE in self.texts[engine, k] for k in orders) else "error"
        most = max(orders.values())
        less = [f"{kind} {max(n, 0) or '-'}" for kind, n in orders.items() if n < most]
        return ", ".join([str(most), *less])

    def failures(self):
        for key, order in self.orders.items():
            if order < self.row.orders and NO_RULE not in self.texts[key]:
                yield f"{key[0]:7}{key[1]:10} right up to order {order}: {self.texts[key]}"

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
    tape = min(order for (engine, _), order in found.orders.items() if engine == "tape")
    failures = [*found.failures(), *found.not_compared()]
    return line, failures, sorted(found.types), tape


def page_lines():
    """The lines of the table as it stands, by row."""
    lines = [line for line in PAGE.read_text().splitlines() if line.count("|") == 5]
    return {line.split("|")[1].strip(): line for line in lines}


INTRODUCTION = """# Operations

*This page is written by `make operations`, which checks every cell.*

Each operation of `keras.ops` and `keras.activations` is differentiated along two directions, up to the fourth order, in float32 and float64, by both engines, and compared with differences in 160 digits of a closed form or of mpmath's algorithm. A number is the order up to which it is right at all the points of the last column; where it is less, the kind of points and the order follow, and `-` stands for an error that says why. "no rule": Taylor polynomials stop there, with an error that names the operation, and `"auto"` takes the tape.

Points: *generic*; *zero*; *whole* numbers; *small* (1e-30, 1e-8) and *large* (1e3 to 1e25) ones; *kinks*; *ties*; *equal* eigenvalues; the rest says what it is. Where the value of the operation itself is off, nothing is compared. Where there is no finite derivative, a number that is not finite is right.

At kinks both engines have the same derivatives:

| at | the derivatives are those of |
|---|---|
| 0 of `absolute`, `sign`, `PReLU`, `hypot`, `std` and norms | a constant: 0 |
| 0 of `relu` and `leaky_relu`, the threshold of `threshold` and `ReLU` | the lower side |
| 0 of `elu`, `celu` and `selu` | the upper side |
| the bounds of `clip` and `hard_tanh` | the inside |
| the bounds of `relu6`, `ReLU(max_value)`, `hard_sigmoid`, `hard_silu`, `sparse_plus`, `sparse_sigmoid`, `hard_shrink` and `soft_shrink` | the outside |
| ties of `maximum`, `minimum`, `max`, `min`, `ptp` and norms of infinite order | the mean of those that tie |
| ties of `sort`, `top_k`, `median` and maximum pooling | the entry that is taken, of equal ones the first |
| steps of `round`, `floor`, `ceil`, `trunc` and comparisons | a constant: 0 |

"""


def main(names):
    groups = [name[1:] for name in names if name[0] == "@"]
    chosen = [name for name in names if name[0] != "@"]
    chosen += [n for key, rows in operations.GROUPS.items() for n in rows if key.startswith(tuple(groups))] if groups else []  # fmt: skip
    every = not chosen
    chosen, results = chosen or list(operations.ROWS), {}
    with get_context("spawn").Pool(2, maxtasksperchild=60) as pool:
        for name, found in zip(chosen, pool.imap(result, chosen)):
            results[name] = found
            print(f"{found[0]}  {' '.join(found[2])}")
            print("".join(f"    {text}\n" for text in found[1]), end="", flush=True)
    if every:
        write(results)


def write(results):
    head = "| operation | tape | Taylor | points |\n" + "|---" * 4 + "|\n"
    parts = [
        f"\n## {group}\n\n{head}" + "".join(f"{results[row][0]}\n" for row in rows)
        for group, rows in operations.GROUPS.items()
    ]
    PAGE.write_text(INTRODUCTION + "".join(parts))
    verified = {}
    for _, _, types, order in results.values():
        for kind in types:
            verified[kind] = max(order, verified.get(kind, 0))
    TABLE.write_text(json.dumps(dict(sorted(verified.items())), indent=0) + "\n")


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    main(sys.argv[1:])

"""A batch of the points of an operation: its derivatives by an engine, and what is wrong."""

import columns
import keras
import numpy as np
import operation_truth
from keras import ops
from mpmath import mp
from operation_truth import TERMS
from truth import numpy

import keras_derivs as kd
from keras_derivs.backend.wide import wide
from keras_derivs.engine import choose
from keras_derivs.engine.target import Target

ENGINES = {"tape": "reverse", "taylor": "taylor"}
if columns.BACKEND is not None:
    del ENGINES["taylor"]  # the same formulas on every backend
DTYPES = ("float32", "float64")
RTOL = {"float32": 1e-4, "float64": 1e-10}
SAMPLES = 2  # of a function that takes one: as many as the audit tries


class Along(keras.layers.Layer):
    """The weighted sum of an operation along z = p + s v + t w + s t u.

    It is called on [(s, t), p and u of each argument].
    """

    def __init__(self, row, shapes, **kwargs):
        super().__init__(**kwargs)
        self.row = row
        v, w = operation_truth.directions([np.zeros(shape) for shape in shapes])
        self.moves = [np.stack([np.ravel(a), np.ravel(b)]) for a, b in zip(v, w)]

    def compute_output_spec(self, inputs):
        """Functions of one sample are called on so many of them, which Keras does not know."""
        if not self.row.per_sample:
            return super().compute_output_spec(inputs)
        return keras.KerasTensor((inputs[0].shape[0],), dtype=self.compute_dtype)

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
            inputs = [ops.convert_to_tensor(x, x.dtype) for x in inputs]
            return choose.solve(choice, Target(self.along[dtype], inputs, inputs, (0,)), request)[1]

        return self.values(solve, dtype)

    def values(self, function, dtype):
        """What a function of the inputs returns for each case, a list of arrays."""
        inputs, count = self.inputs[dtype], len(self.cases)
        size, results = SAMPLES if self.row.per_sample else count, []
        for start in range(0, count, size):
            at = np.arange(start, start + size) % count
            found = function([x[at] for x in inputs])
            results.append([numpy(r)[: count - start] for r in found])
        return [np.concatenate(parts) for parts in zip(*results)]

    def plain(self, dtype):
        with wide():  # Keras narrows float64 on JAX and PyTorch
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

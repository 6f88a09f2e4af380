"""Several derivatives of one tensor as one layer."""

import math
import sys
from numbers import Integral, Real

import keras
import numpy as np
from keras import ops

from keras_derivs import graph, limits
from keras_derivs.engine.sums import scaled
from keras_derivs.engine.target import flatten, per_sample, size
from keras_derivs.engine.terms import Sum
from keras_derivs.graph import Coordinates
from keras_derivs.layers import modes
from keras_derivs.layers.base import register
from keras_derivs.layers.partials import Partials
from keras_derivs.symbolic.between import BetweenTensors

VALUE = ((0, 1.0),)  # y itself, among the sums of (term, weight)


@register
class Fused(BetweenTensors):
    """A tensor and several of its derivatives from one pass: what `fuse` puts into a model.

    Called on `[y, *roots, *sources]`: the roots are independent tensors that `y` is computed
    from, the sources what the sub-graph between them computes with.

    Args:
        terms: The partial derivatives of `y`, each a list of `[number of the root, entry]`.
        results: A dict for each result: its `shape` for one sample, and for each of its entries
            in `sums` a list of `[number of the term, entry of y, coefficient]`, where terms are
            counted from 1 and 0 is `y` itself.
        num_wrt: The number of roots.
        strategy: As for `Partials`.
        chunk_size: As for `Partials`.
        training: As for `Partials`.
        audit: As for `Partials`.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Output shape:
        A list: that of `y`, and that of each of the results.
    """

    def __init__(
        self,
        terms,
        results,
        num_wrt,
        strategy="auto",
        chunk_size=None,
        training=False,
        audit=True,
        **kwargs,
    ):
        super().__init__(num_wrt, **kwargs)
        self.terms = _check_terms(terms)
        limits.check(limits.length(results), limits.MAX_TERMS, "results=", "tensors")
        listed = results if isinstance(results, (list, tuple)) else [results]
        self.results = [_check_result(result, len(self.terms)) for result in listed]
        self.options = {
            "strategy": strategy,
            "chunk_size": chunk_size,
            "training": training,
            "audit": audit,
        }

    def cut(self, y, wrt):
        """Make the derivative layer of the sub-graph from the roots to `y`; return its sources."""
        sub_graph, _ = graph.cut(y, wrt)
        self._check_entries(y, wrt)
        self.asked = asked_for(self.results, size(y))
        starts = np.cumsum([0, *(size(root) for root in wrt)]).tolist()
        flat = [tuple(starts[n] + index for n, index in term) for term in self.terms]
        self.derivative = Partials(
            sub_graph,
            [in_terms(sums, flat) for sums in self.asked],
            wrt=[Coordinates(n, tuple(root.shape[1:])) for n, root in enumerate(wrt)],
            **self.options,
        )
        self.derivative.told.add(modes.OF_INFERENCE)  # its value is used where modes agree
        return sub_graph.inputs

    def _check_entries(self, y, wrt):
        """Raise where a config counts entries that y and the roots do not have."""
        sizes = [size(root) for root in wrt]
        inside = all(n < len(sizes) and i < sizes[n] for term in self.terms for n, i in term)
        rows = (row for one in self.results for pairs in one["sums"] for _, row, _ in pairs)
        highest = max(rows, default=0)
        if not inside or highest >= size(y):
            raise ValueError(
                f"'{self.name}' needs entries of y and of the tensors x. Received: terms or "
                f"results beyond y of shape {tuple(y.shape)} and x of shapes "
                f"{[tuple(x.shape) for x in wrt]}. Use `fuse`, which makes this layer."
            )

    def compute_output_spec(self, inputs, training=None):
        sources = list(inputs)[self.num_structural :]
        y, value, *_ = self.derivative.compute_output_spec(sources)
        shapes = [(y.shape[0], *result["shape"]) for result in self.results]
        return [y, *(keras.KerasTensor(shape, dtype=value.dtype) for shape in shapes)]

    def call(self, inputs, training=None):
        values = self.derivative(list(inputs)[self.num_structural :], training=training)
        values = dict(zip(self.asked, values))
        return [values[VALUE], *(_combine(result, values) for result in self.results)]

    def get_config(self):
        own = {"terms": self.terms, "results": self.results, **self.options}
        return {**super().get_config(), **own}


def _check_terms(terms):
    limits.check(limits.length(terms), limits.MAX_TERMS, "terms=", "derivatives")
    if not isinstance(terms, (list, tuple)) or not all(_is_term(term) for term in terms):
        raise ValueError(
            f"`terms=` needs a list of terms, each a list of [number of the root, entry]. "
            f"Received: {limits.shown(terms)}. Use `fuse`, which makes this layer."
        )
    return [[[int(n) for n in entry] for entry in term] for term in terms]


def _is_term(term):
    """Whether it is a list of pairs; `Partials` bounds the order."""
    listed = isinstance(term, (list, tuple)) and len(term) <= limits.MAX_LOWER
    return listed and all(_are_counts(entry, 2) for entry in term)


def _are_counts(numbers, length):
    """Whether these are so many integers from zero on."""
    listed = isinstance(numbers, (list, tuple)) and len(numbers) == length
    return listed and all(isinstance(n, Integral) and n >= 0 for n in numbers)


def _check_result(result, num_terms):
    fits = isinstance(result, dict) and set(result) == {"shape", "sums"}
    shape, sums = (result["shape"], result["sums"]) if fits else ((), ())
    listed = all(isinstance(part, (list, tuple)) for part in (shape, sums))
    fits = fits and listed and len(shape) < limits.MAX_AXES and _are_counts(shape, len(shape))
    fits = fits and math.prod(shape) == len(sums)
    if not fits or not all(_is_sum(one, num_terms) for one in sums):
        raise ValueError(
            f"`results=` needs a dict of the shape of a result, and a sum of [term, entry of y, "
            f"coefficient] for each of its entries. Received: {limits.shown(result)}, for "
            f"{num_terms} terms. Use `fuse`, which makes this layer."
        )
    longest = max(map(len, sums), default=0)
    limits.check(len(sums) * longest, limits.MAX_NUMBERS, "results=", "coefficients")
    sums = [[(int(term), int(row), float(weight)) for term, row, weight in one] for one in sums]
    return {"shape": tuple(shape), "sums": sums}


def _is_sum(one, num_terms):
    """Whether it is a list of (term, entry of y, coefficient)."""
    listed = isinstance(one, (list, tuple)) and all(
        isinstance(item, (list, tuple)) and len(item) == 3 for item in one
    )
    return listed and all(
        _are_counts(item[:2], 2) and item[0] <= num_terms and _is_finite(item[2]) for item in one
    )


def _is_finite(number):
    return isinstance(number, Real) and abs(number) <= sys.float_info.max


def asked_for(results, rows):
    """What the results are made of, for y of so many entries: sums of (term, weight), once each.

    Results that hold whole sums side by side ask for these, others for each derivative.
    """
    found = [VALUE]
    for result in results:
        whole = columns(result["sums"], rows)
        if whole is None:
            found += [((term, 1.0),) for one in result["sums"] for term, *_ in one]
        else:
            found += [_unit(column) for column in whole if column]
    return list(dict.fromkeys(found))


def in_terms(sums, terms):
    """One of these as `Partials` takes it; `terms` are those that are counted from 1."""
    found = tuple(terms[number - 1] if number else () for number, _ in sums)
    return found[0] if len(found) == 1 else Sum(found, tuple(weight for _, weight in sums))


def _unit(column):
    """The sum of which a column is a multiple; one derivative has the weight one."""
    return ((column[0][0], 1.0),) if len(column) == 1 else column


def columns(sums, rows):
    """The sums of whole partial derivatives that a result holds side by side, or `None`."""
    if not isinstance(rows, int) or not rows or len(sums) % rows:
        return None
    count = len(sums) // rows
    found = [tuple((term, weight) for term, _, weight in one) for one in sums[:count]]
    for place, one in enumerate(sums):
        row, column = divmod(place, count)
        if list(map(tuple, one)) != [(term, row, weight) for term, weight in found[column]]:
            return None
    return found


def _combine(result, values):
    """A result, from the sums that were asked for."""
    y = values[VALUE]
    whole = columns(result["sums"], size(y))
    if whole is None:
        found = _picked(result["sums"], values)
    else:
        found = [_multiple(column, values) for column in whole]
        found = found[0] if len(found) == 1 else ops.stack(found, axis=-1)
    return per_sample(found, result["shape"])


def _multiple(column, values):
    if not column:
        return ops.zeros_like(values[VALUE])
    return scaled(values[_unit(column)], column[0][1] if len(column) == 1 else 1)


def _picked(sums, values):
    """Every entry of a result as a sum of entries, which are taken from all values at once."""
    used = sorted({term for one in sums for term, _, _ in one})
    rows, start = size(values[VALUE]), {term: n for n, term in enumerate(used)}
    length = max(map(len, sums), default=0)
    if not used:
        return ops.zeros_like(flatten(values[VALUE])[:, :1]) * np.zeros(len(sums))
    table = ops.concatenate([flatten(values[(term, 1.0),]) for term in used], axis=1)
    places, weights = np.zeros((len(sums), length), "int32"), np.zeros((len(sums), length))
    for n, one in enumerate(sums):
        places[n] = start[one[0][0]] * rows + one[0][1] if one else 0  # a weight of zero may stay
        places[n, : len(one)] = [start[term] * rows + row for term, row, _ in one]
        weights[n, : len(one)] = [weight for *_, weight in one]
    found = ops.take(table, places.reshape(-1), axis=1)
    found = per_sample(found, places.shape)
    if length == 1 and np.all(weights == 1):
        return found[:, :, 0]
    return ops.sum(found * ops.convert_to_tensor(weights, found.dtype), axis=2)

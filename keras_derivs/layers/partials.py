import bisect
import itertools
import math
import sys
from collections import Counter

import keras

from keras_derivs import graph, limits
from keras_derivs.engine.terms import Sum, mapped, single_terms, weights_of
from keras_derivs.layers.base import DerivativeLayer, register
from keras_derivs.typing import Any, Layer, Which, Wrt


@register
class Partials(DerivativeLayer):
    """Chosen partial derivatives of a model of any order, all from one shared pass.

    For a term (i, j, …, k), d^n y/dx_i dx_j … dx_k per sample, in units of [y]/[x]^n.

    Args:
        model: A `keras.Model` or layer.
        terms: A list of tuples of input features, counted from 0 over one flattened sample of
            the inputs: `[(), (0,), (1,), (1, 1)]` for u, u_t, u_x, u_xx of a model of (t, x).
            `()` is the value itself. A dict of tuples with coefficients is a linear combination:
            `{(0, 0): 1, (1, 1): -4}` for u_tt - 4 u_xx. Combined derivatives of the highest order
            are carried as one. Or a dict of terms by name, such as
            `{"u_t": (0,), "u_xx": (1, 1)}`: the first outputs of a model that are made so have
            these names.
        wrt: Name or position of the input that `terms` counts, or a list of those, counted one
            after the other. Every input by default.
        output: Name or position of the output, for a model with several.
        strategy: `"taylor"` (one pass forward with polynomials, with a coefficient for each
            derivative and those that lead to it), `"reverse"` or `"tape"` (nested backward
            passes, taken where an operation has no Taylor rule or `training` is true) or `"auto"`
            (default), the cheaper of them.
        **kwargs: As for `Gradient`.

    Input shape:
        That of the model.

    Output shape:
        A list, or a dict by name, with one tensor of the output's own shape for each term.

    Raises:
        ValueError: No terms, a feature that does not exist, or a coefficient that is not finite.
        TypeError: Terms that are not tuples of integers, or dicts of those with numbers.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "tanh")])
    >>> u, u_t, u_xx = kd.Partials(net, [(), (0,), (1, 1)])(np.ones((8, 2)))
    >>> tuple(u_xx.shape)
    (8, 1)

    The biharmonic operator:

    >>> biharmonic = {(0, 0, 0, 0): 1, (0, 0, 1, 1): 2, (1, 1, 1, 1): 1}
    >>> tuple(kd.Partials(net, [biharmonic])(np.ones((8, 2)))[0].shape)
    (8, 1)
    """

    kind = "partials"

    def __init__(
        self, model: Layer, terms: Any, wrt: Wrt = None, output: Which = None, **kwargs: Any
    ) -> None:
        super().__init__(model, wrt, output, **kwargs)
        self.names = list(check_names(terms)) if isinstance(terms, dict) else None
        self.chosen_terms = _check_terms(list(terms.values()) if self.names is not None else terms)
        self.unnamed = self.names is not None  # until it stands in a graph
        self.check()

    def __call__(self, *args, **kwargs):
        results = super().__call__(*args, **kwargs)
        found = results[1] if self.return_value else results
        symbolic = any(map(keras.backend.is_keras_tensor, keras.tree.flatten(found)))
        if not (self.unnamed and symbolic):
            return results
        self.unnamed = False
        found = named(found)
        return (results[0], found) if self.return_value else found

    def terms(self, coordinates, wrt):
        sizes = [_num_entries(at) for at in coordinates]
        single = single_terms(self.chosen_terms)
        highest = max((index for term in single for index in term), default=-1)
        if highest >= sum(sizes):
            raise ValueError(
                f"`terms=` needs features from 0 to {sum(sizes) - 1}. Received: "
                f"{limits.shown(highest)} for '{self.model.name}'. Count the features of one "
                f"flattened sample from 0."
            )
        starts = [0, *itertools.accumulate(sizes)]

        def entry(index):
            n = bisect.bisect_right(starts, index) - 1
            at, index = coordinates[n], index - starts[n]
            return wrt.index(at.position), int(index if at.indices is None else at.indices[index])

        return tuple(mapped(term, lambda one: tuple(map(entry, one))) for term in self.chosen_terms)

    def shapes(self, rows, columns):
        return [rows for _ in self.chosen_terms]

    def pack(self, results, structure):
        return dict(zip(self.names, results)) if self.names is not None else list(results)

    def get_config(self) -> dict[str, Any]:
        terms = [_config(term) for term in self.chosen_terms]
        terms = dict(zip(self.names, terms)) if self.names is not None else terms
        return {**super().get_config(), "terms": terms}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        terms = config.get("terms", ())  # before Keras walks through them
        _check_terms(list(terms.values()) if isinstance(terms, dict) else terms)
        layer = super().from_config(config)
        layer.unnamed = False  # the graph that it comes from names its results
        return layer


def named(results):
    """Symbolic results by name, as outputs of a model that have these names."""
    return {name: graph.named(result, graph.free(name, result)) for name, result in results.items()}


def check_names(terms):
    """Raise unless all keys of a dict of terms can be names of operations in Keras."""
    limits.check(len(terms), limits.MAX_TERMS, "terms=", "derivatives")
    for name in terms:
        if not isinstance(name, str) or not name or "/" in name:
            raise TypeError(
                f"`terms=` needs names without a slash for the keys of a dict. Received: "
                f"{limits.shown(name)}. Write {{'u_t': …, 'u_xx': …}}."
            )
    return terms


def _num_entries(at):
    if None in at.shape:
        raise ValueError(
            f"`Partials` needs inputs whose features can be counted. Received: an input of shape "
            f"{(None, *at.shape)}. Give the unknown axis a length, or use `Jacobian`."
        )
    return math.prod(at.shape)


def _check_terms(terms):
    if not isinstance(terms, (list, tuple)) or not terms:
        raise ValueError(
            f"`terms=` needs a list of tuples, one for each derivative, or a dict. Received: "
            f"{limits.shown(terms)}. Write [(), (0,), (1, 1)] for the value, the slope by x0 and "
            f"the curvature by x1."
        )
    unit = "derivatives, with the lower ones that lead to them"
    limits.check(len(terms), limits.MAX_TERMS, "terms=", unit)
    terms = [
        _check_sum(term) if isinstance(term, (dict, Sum)) else _check_term(term) for term in terms
    ]
    lower = sum(_num_lower(one) for term in terms for one in weights_of(term))
    limits.check(lower, limits.MAX_TERMS, "terms=", unit)
    return terms


def _config(term):
    """A term as a file holds it, where no tuple can be a key."""
    if not isinstance(term, Sum):
        return list(term)
    return {"terms": [list(one) for one in term.terms], "weights": list(term.weights)}


def _check_sum(term):
    """A linear combination, as a dict of terms with coefficients or as `_config` has it."""
    if isinstance(term, Sum):
        terms, weights = term.terms, term.weights
    elif set(term) == {"terms", "weights"}:
        terms, weights = term["terms"], term["weights"]
    else:
        terms, weights = list(term), list(term.values())
    limits.check(limits.length(terms), limits.MAX_TERMS, "terms=", "derivatives in one")
    listed = all(isinstance(part, (list, tuple)) for part in (terms, weights))
    fits = listed and len(terms) == len(weights) and all(map(_is_number, weights))
    combined = fits and weights_of(Sum(tuple(map(_check_term, terms)), tuple(map(float, weights))))
    if not combined:
        raise ValueError(
            f"`terms=` needs a finite number for each tuple of a linear combination, not all of "
            f"them zero. Received: {limits.shown(term)}. Write {{(0, 0): 1, (1, 1): -4}} for "
            f"u_tt - 4 u_xx; multiply results where coefficients vary."
        )
    return Sum(tuple(combined), tuple(combined.values()))


def _is_number(weight):
    return limits.is_real(weight) and abs(weight) <= sys.float_info.max


def _check_term(term):
    whole = isinstance(term, (list, tuple)) and all(
        limits.is_whole(index) and index >= 0 for index in term[: limits.MAX_LOWER]
    )
    if not whole:
        raise TypeError(
            f"`terms=` needs a tuple of non-negative integers for each. Received: "
            f"{limits.shown(term)}. Write (1,) for the first derivative by feature 1, (1, 1) for "
            f"the second."
        )
    if len(term) > limits.MAX_LOWER or _num_lower(term) > limits.MAX_LOWER:
        raise ValueError(
            f"`terms=` needs at most {limits.MAX_LOWER} derivatives that lead to each. Received: "
            f"one of order {len(term)}, {limits.shown(term)}. Ask for a lower order."
        )
    return tuple(int(index) for index in term)


def _num_lower(term):
    """How many derivatives lead to one, itself counted."""
    return math.prod(1 + count for count in Counter(term).values())

"""Which Taylor coefficients are carried, and which coefficients of two factors make a product's."""

import functools
from collections import Counter

from keras import ops

from keras_derivs import backend
from keras_derivs.engine.sums import scaled, weighted_sum
from keras_derivs.engine.terms import Sum, closure, in_order, proper_factors


class Space:
    """The coefficients that are carried: those asked for, and the lower ones that they need.

    Each belongs to a term: a monomial, which is a sorted tuple of infinitesimals, or a `Sum` of
    monomials, whose coefficients are carried as one, sum_m w_m c_m. A product's sum needs the
    sums of its factors and their lower coefficients, but no highest one alone. This is collapsing:
    Dangel et al., "Collapsing Taylor Mode Automatic Differentiation" (2025); Li et al., "Forward
    Laplacian" (2023).

    With `directions=n`, the one infinitesimal 0 stands for n directions at once: coefficients get
    a leading axis of that length. A weight is then a tuple, a number for each direction, and a
    sum has no such axis.
    """

    def __init__(self, terms=(), sums=(), directions=None):
        highest = [monomial for each in sums for monomial in each.terms]
        self.terms = [*in_order({*closure(terms), *proper_factors(highest)}), *sums]
        self.order = max(map(len, [*terms, *highest, ()]))
        self.directions = directions

    @functools.cached_property
    def pairs(self):
        """term -> (first, second, weight) of the products that add up to its coefficient."""
        return {term: list(_pairs(term)) for term in self.terms}

    @functools.cached_property
    def squares(self):
        """The same for a product of a polynomial with itself."""
        return {term: _squares(pairs) for term, pairs in self.pairs.items()}

    @functools.cached_property
    def steps(self):
        """The same for z' v, from which y is integrated."""
        return {term: list(_steps(term)) for term in self.terms}

    @functools.cached_property
    def inner(self):
        """The terms of v in these steps."""
        return {second for steps in self.steps.values() for _, second, _ in steps}

    def stacked(self, term):
        """Whether the coefficient of this term has a leading axis of directions."""
        return self.directions is not None and bool(term) and not isinstance(term, Sum)

    def products(self, a, b, function, triples):
        """The sum of weight times `function(a[first], b[second])`; `None` where it is zero."""
        return self.collapse(
            (weight, function(a[first], b[second]))
            for first, second, weight in triples
            if a.get(first) is not None and b.get(second) is not None
        )

    def collapse(self, products):
        """The sum over (weight, product), where a tuple of weights is one over directions."""
        return weighted_sum(products, _times)


def _pairs(term):
    """(first, second, weight): a product's coefficient is sum weight c_first c_second."""
    if isinstance(term, Sum):
        yield (), term, 1
        yield term, (), 1
        for monomial, weight in zip(term.terms, term.weights):
            yield from ((*pair, weight) for *pair, _ in _pairs(monomial) if all(pair))
        return
    for first in closure([term]):
        yield first, tuple(sorted((Counter(term) - Counter(first)).elements())), 1


def _squares(pairs):
    """The same where both factors are one polynomial: equal products once, and doubled."""
    found = {}
    for first, second, weight in pairs:
        twin = second, first
        if first != second and twin in found:
            found[twin] = _multiple(weight, 2)
        else:
            found[first, second] = weight
    return [(*pair, weight) for pair, weight in found.items()]


def _steps(term):
    """(first, second, weight) of the chain rule y' = v z' for one infinitesimal e.

    y_term = sum of weight z_first v_second, weight = the degree of `first` in e over that of
    `term`. The e of the lowest degree gives the fewest summands.
    """
    if isinstance(term, Sum):
        yield term, (), 1
        for monomial, weight in zip(term.terms, term.weights):
            for first, second, part in _steps(monomial):
                if second:
                    yield first, second, _multiple(weight, part)
    elif term:
        chosen = min(set(term), key=term.count)
        for first, second, _ in _pairs(term):
            if chosen in first:
                yield first, second, first.count(chosen) / term.count(chosen)


def _multiple(weight, number):
    return tuple(number * w for w in weight) if isinstance(weight, tuple) else number * weight


def _times(product, weight):
    if not isinstance(weight, tuple):
        return scaled(product, weight)
    if len(set(weight)) == 1:
        return scaled(backend.sum_of_directions(product), weight[0])
    weight = ops.convert_to_tensor(weight, product.dtype)
    weight = ops.reshape(weight, (-1, *[1] * (len(product.shape) - 1)))
    return backend.sum_of_directions(product * weight)

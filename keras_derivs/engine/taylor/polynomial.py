"""Truncated polynomials in formal infinitesimals, with tensors as coefficients.

A polynomial is a table monomial -> coefficient: the Taylor coefficients f^(k)/k! of a tensor as
a function of infinitesimal changes of the inputs. An absent entry is a structural zero. The
value, the coefficient of the empty monomial `()`, is always there.

A coefficient that is the same for every sample may have a batch axis of length one; otherwise
all coefficients have the shape of the value.
"""

import functools
import itertools
import math
from collections import Counter

from keras import ops

from keras_derivs.engine.taylor.shapes import deepen, fit, rank
from keras_derivs.graph.private import numpy as knp
from keras_derivs.reloading import lasting


def closure(terms):
    """The monomials of `terms` and all their factors, in order."""
    closed = {()}
    for term in terms:
        powers = Counter(sorted(term))
        for chosen in itertools.product(*(range(n + 1) for n in powers.values())):
            closed.add(tuple(Counter(dict(zip(powers, chosen))).elements()))
    return sorted(closed, key=lambda term: (len(term), term))


class Space:
    """The monomials that are carried: those asked for and all their factors.

    A monomial is a sorted tuple of infinitesimals. With `directions=n`, the one infinitesimal 0
    stands for n directions at once: coefficients get a leading axis of that length. `weights`
    collapse the second order to one sum over the directions, sum_d w_d c_d: then (0, 0) has no
    such axis. Collapsing is Dangel et al., "Collapsing Taylor Mode Automatic Differentiation"
    (2025); Li et al., "Forward Laplacian" (2023).
    """

    def __init__(self, terms, directions=None, weights=None):
        self.monomials = closure(terms)
        self.order = len(self.monomials[-1])
        self.directions, self.weights = directions, weights
        self.pairs = {term: list(self._pairs(term)) for term in self.monomials}
        self.steps = {term: list(self._steps(term)) for term in self.monomials}
        self.inner = {second for steps in self.steps.values() for _, second, _ in steps}

    def rides(self, term):
        """Whether the coefficient of this monomial has a leading axis of directions."""
        collapsed = self.weights is not None and len(term) == 2
        return self.directions is not None and bool(term) and not collapsed

    def join(self, first, second, product):
        """The product of two coefficients, given their product as tensors."""
        if self.weights is None or not first or not second:
            return product
        if any(weight != 1 for weight in self.weights):
            shape = (-1, *[1] * (len(product.shape) - 1))
            product = product * ops.reshape(
                ops.convert_to_tensor(self.weights, product.dtype), shape
            )
        return ops.sum(product, axis=0)

    def _pairs(self, term):
        """All (first, second) whose product is `term`."""
        for first in closure([term]):
            yield first, tuple(sorted((Counter(term) - Counter(first)).elements()))

    def _steps(self, term):
        """(first, second, weight) of the chain rule y' = v z' for one infinitesimal e.

        y_term = sum of weight z_first v_second, weight = the degree of `first` in e over that
        of `term`. The e of the lowest degree gives the fewest summands.
        """
        if term:
            chosen = min(set(term), key=term.count)
            for first, second in self.pairs[term]:
                if chosen in first:
                    yield first, second, first.count(chosen) / term.count(chosen)


@lasting
class Scaled:
    """A coefficient that is a tensor times a factor which all samples share, not multiplied yet.

    A matrix product that follows takes the factor into its kernel, which is smaller.
    """

    def __init__(self, tensor, factor):
        self.tensor, self.factor = tensor, factor

    @property
    def product(self):
        return self.tensor * self.factor


@lasting
class Polynomial:
    """A table of coefficients over a space of monomials."""

    __array_priority__ = 100  # so that `array * polynomial` comes here
    squared = None  # of a root, see `root_of`: a function that returns its square

    def __init__(self, space, table):
        self.space, self.lazy = space, table

    @property
    def table(self):
        """Monomial -> tensor; `lazy` is the same with products that were not taken yet."""
        if any(isinstance(c, Scaled) for c in self.lazy.values()):
            taken = {t: c.product if isinstance(c, Scaled) else c for t, c in self.lazy.items()}
            self.lazy = taken
        return self.lazy

    @property
    def value(self):
        return self.lazy[()]

    @property
    def shape(self):
        return self.value.shape

    @property
    def ndim(self):
        return len(self.value.shape)

    @property
    def dtype(self):
        return self.value.dtype

    def like(self, table):
        """A polynomial over the same space, without what is structurally zero."""
        return Polynomial(self.space, {term: c for term, c in table.items() if c is not None})

    def with_value(self, value):
        return Polynomial(self.space, {**self.table, (): value})

    def each(self, function):
        """`function` of every coefficient, the same for all."""
        return self.like({term: function(c) for term, c in self.table.items()})

    def __neg__(self):
        return self.each(lambda c: -c)

    def __add__(self, other):
        if not isinstance(other, Polynomial):
            return fit(self, self.value + other)
        value = self.value + other.value
        first, second = fit(self, value).table, fit(other, value).table
        terms = [term for term in self.space.monomials if term in first or term in second]
        rest = {t: total([first.get(t), second.get(t)]) for t in terms if t}
        return self.like({(): value, **rest})

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        if other is self:
            return square(self)
        if isinstance(other, Polynomial):
            return multiply(deepen(self, other.ndim), deepen(other, self.ndim))
        return deepen(self, rank(other)).each(lambda c: c * other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        if not isinstance(other, Polynomial):
            return deepen(self, rank(other)).each(lambda c: c / other)
        return self * other._by_rule("Reciprocal")

    def __rtruediv__(self, other):
        return self._by_rule("Reciprocal") * other

    def __pow__(self, other):
        return self._by_rule("Power", other)

    def __rpow__(self, other):
        return self._by_rule("Power", other, swapped=True)

    def _by_rule(self, name, *others, swapped=False):
        """What the rule of an operation of Keras gives; the rules are written with this class."""
        from keras_derivs.engine.taylor.propagate import apply

        operation = getattr(knp, name)(name=name.lower())
        return apply(operation, *((*others, self) if swapped else (self, *others)))


def multiply(a, b, function=lambda x, y: x * y):
    """The product of two polynomials under a bilinear `function` of their coefficients."""
    return a.like(
        {term: _convolve(a, b, a.space.pairs[term], function) for term in a.space.monomials}
    )


def convolve(a, b, pairs):
    """The sum of a_first b_second over `pairs`; `None` where it is structurally zero."""
    return _convolve(a, b, pairs, lambda x, y: x * y)


def square(a):
    if a.squared is not None:
        return a.squared().with_value(a.value * a.value)
    return a.like({term: convolve_square(a, term) for term in a.space.monomials})


def root_of(root, squared):
    """A root whose square `squared()` has derivatives at zero, too, where the root has none."""
    root.squared = functools.cache(squared)
    return root


def handed_on(result, function, *arguments):
    """The result of a function that maps squares to squares, a root if an argument is one."""
    if any(getattr(x, "squared", None) is not None for x in arguments):
        return root_of(result, lambda: function(*[_square_of(x) for x in arguments]))
    return result


def _square_of(x):
    return square(x) if isinstance(x, Polynomial) else x * x


def convolve_square(a, term):
    """The coefficient of a a at `term`: equal products once, and doubled."""
    pairs = [(first, second) for first, second in a.space.pairs[term] if first <= second]
    mixed = convolve(a, a, [pair for pair in pairs if pair[0] != pair[1]])
    same = convolve(a, a, [pair for pair in pairs if pair[0] == pair[1]])
    return total([scaled(mixed, 2), same])


def _convolve(a, b, pairs, function):
    join = a.space.join
    return total(
        [
            join(first, second, function(a.table[first], b.table[second]))
            for first, second in pairs
            if first in a.table and second in b.table
        ]
    )


def total(parts):
    """The sum of what is not `None`; `None` if there is nothing."""
    parts = [part for part in parts if part is not None]
    return sum(parts[1:], start=parts[0]) if parts else None


def scaled(c, factor):
    """A coefficient times a number, without computing what is 0 or 1 times it."""
    if c is None or (isinstance(factor, (int, float)) and factor == 0):
        return None
    return c if isinstance(factor, (int, float)) and factor == 1 else c * factor


def factorial(term):
    """The partial derivative is this times the Taylor coefficient."""
    return math.prod(math.factorial(count) for count in Counter(term).values())

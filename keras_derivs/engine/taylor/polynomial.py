"""Truncated polynomials in formal infinitesimals, with tensors as coefficients.

A polynomial is a table term -> coefficient: the Taylor coefficients f^(k)/k! of a tensor as a
function of infinitesimal changes of the inputs, or sums of those; see `Space`. An absent entry
is a structural zero. The value, the coefficient of the empty monomial `()`, is always there.

A coefficient that is the same for every sample may have a batch axis of length one; otherwise
all coefficients have the shape of the value.
"""

import functools
import operator

import numpy as np
from keras import ops

from keras_derivs.engine.sums import total
from keras_derivs.engine.taylor.shapes import deepen, fit, rank
from keras_derivs.graph.private import numpy as knp
from keras_derivs.reloading import lasting


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
    """A table of coefficients over a `Space` of terms."""

    __array_priority__ = 100  # so that `array * polynomial` comes here
    squared = None  # of a root, see `root_of`: a function that returns its square
    logits = None  # of a sigmoid or softmax: what it was given
    whole = None  # of a root of another order n: (n, what it is the root of)
    mixed = False  # entries are mixed by a kernel, so that none stands still while others move

    def __init__(self, space, table):
        self.space, self.lazy = space, table

    @property
    def table(self):
        """Term -> tensor; `lazy` is the same with products that were not taken yet."""
        if any(isinstance(c, Scaled) for c in self.lazy.values()):
            taken = {t: c.product if isinstance(c, Scaled) else c for t, c in self.lazy.items()}
            self.lazy = taken
        return self.lazy

    @property
    def value(self):
        return self.lazy[()]

    @property
    def moves(self):
        """The coefficients but the value."""
        return {term: c for term, c in self.table.items() if term}

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
        found = Polynomial(self.space, {term: c for term, c in table.items() if c is not None})
        found.mixed = self.mixed
        return found

    def with_value(self, value):
        return self.like({**self.table, (): value})

    def each(self, function):
        """`function` of every coefficient, the same for all."""
        return self.like({term: function(c) for term, c in self.table.items()})

    def __neg__(self):
        return self.each(lambda c: -c)

    def __add__(self, other):
        if not isinstance(other, Polynomial):
            return fit(self, self.value + self._tensor(other))
        value = self.value + other.value
        first, second = fit(self, value).table, fit(other, value).table
        terms = [term for term in self.space.terms if term in first or term in second]
        rest = {t: total([first.get(t), second.get(t)]) for t in terms if t}
        return self.like({(): value, **rest})

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        if other is self:
            return square(self)
        if isinstance(other, Polynomial):
            return multiply(deepen(self, other.ndim), deepen(other, self.ndim))
        other = self._tensor(other)
        return deepen(self, rank(other)).each(lambda c: c * other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        if not isinstance(other, Polynomial):
            other = self._tensor(other)
            return deepen(self, rank(other)).each(lambda c: c / other)
        return self * other._by_rule("Reciprocal")

    def __rtruediv__(self, other):
        return self._by_rule("Reciprocal") * other

    def __pow__(self, other):
        return self._by_rule("Power", other)

    def __rpow__(self, other):
        return self._by_rule("Power", other, swapped=True)

    def _tensor(self, other):
        """An array as a tensor of the same dtype: PyTorch adds and multiplies no others."""
        is_array = isinstance(other, np.ndarray)
        return ops.convert_to_tensor(other, self.dtype) if is_array else other

    def _by_rule(self, name, *others, swapped=False):
        """What the rule of an operation of Keras gives; the rules are written with this class."""
        from keras_derivs.engine.taylor.propagate import apply

        operation = getattr(knp, name)(name=name.lower())
        return apply(operation, *((*others, self) if swapped else (self, *others)))


def multiply(a, b, function=operator.mul):
    """The product of two polynomials under a bilinear `function` of their coefficients."""
    products = functools.partial(a.space.products, a.table, b.table, function)
    return a.like({term: products(a.space.pairs[term]) for term in a.space.terms})


def square(a):
    if a.squared is not None:
        found = a.squared()
        return _same_root(found.with_value(a.value * a.value), found)
    return a.like({term: square_at(a, term) for term in a.space.terms})


def square_at(a, term):
    """The coefficient of a a at `term`."""
    return a.space.products(a.table, a.table, operator.mul, a.space.squares[term])


def _same_root(y, root):
    """`y`, which differs from a polynomial by rounding of its value, as the same root."""
    return y if root.squared is None else root_of(y, root.squared)


def root_of(root, squared):
    """A root whose square `squared()` has derivatives at zero, too, where the root has none."""
    root.squared = functools.cache(squared)
    return root


def handed_on(result, function, *arguments):
    """The result of a function that maps squares to squares, a root if an argument is one."""
    if any(getattr(x, "squared", None) is not None for x in arguments):
        return root_of(result, lambda: function(*[square_of(x) for x in arguments]))
    return result


def square_of(x):
    return square(x) if isinstance(x, Polynomial) else x * x

"""The coefficients from which partial derivatives, and sums of them, are read."""

import math
from collections import Counter
from dataclasses import dataclass

from keras_derivs.engine.taylor.space import Space
from keras_derivs.engine.terms import Sum, closure, proper_factors, weights_of


@dataclass(frozen=True)
class Carried:
    """A space, and for each derivative that is asked for {term of the space: weight}."""

    space: Space
    readings: list


def carried(terms):
    """What is carried for `terms`: for a `Sum` of highest derivatives one coefficient.

    Those that lead to others, or are asked for alone, are carried one by one, and so are all
    where there are as many sums as derivatives in them.
    """
    asked = [_coefficients(term) for term in terms]
    alone = [monomial for one in asked if len(one) == 1 for monomial in one]
    summed = [monomial for one in asked if len(one) > 1 for monomial in one]
    kept = {*closure(alone), *proper_factors(summed)}
    readings = [_collapsed(one, kept) for one in asked]
    sums = dict.fromkeys(term for one in readings for term in one if isinstance(term, Sum))
    if len(sums) >= len({monomial for each in sums for monomial in each.terms}):
        return Carried(Space([monomial for one in asked for monomial in one]), asked)
    return Carried(Space(alone, list(sums)), readings)


def _coefficients(term):
    """{monomial: weight}: a derivative is a factorial times the Taylor coefficient."""
    return {one: weight * _factorial(one) for one, weight in weights_of(term).items()}


def _factorial(monomial):
    return math.prod(math.factorial(count) for count in Counter(monomial).values())


def _collapsed(asked, kept):
    """The same with one `Sum`, whose first weight is one, in the place of what is not `kept`."""
    rest = {monomial: weight for monomial, weight in asked.items() if monomial not in kept}
    if not rest:
        return asked
    first, *_ = rest.values()
    whole = Sum(tuple(rest), tuple(weight / first for weight in rest.values()))
    return {**{m: asked[m] for m in asked if m in kept}, whole: first}

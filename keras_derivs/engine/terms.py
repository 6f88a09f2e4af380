"""Partial derivatives, sums of them, and which lower ones they are built from."""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, replace

from keras_derivs.reloading import lasting


@lasting
@dataclass(frozen=True)
class Sum:
    """sum_n weights[n] d^terms[n]: a linear combination of partial derivatives, as one term."""

    terms: tuple
    weights: tuple


def sort_term(term):
    """The canonical form of a partial derivative: the order of its coordinates is free."""
    return tuple(sorted(term))


def weights_of(term):
    """{partial derivative: weight} of a term, which may be a `Sum`."""
    if not isinstance(term, Sum):
        return {sort_term(term): 1.0}
    weights = Counter()
    for one, weight in zip(term.terms, term.weights):
        weights[sort_term(one)] += weight
    return {one: weight for one, weight in weights.items() if weight}


def mapped(term, change):
    """The same term, or `Sum`, with each partial derivative changed."""
    if not isinstance(term, Sum):
        return change(term)
    return replace(term, terms=tuple(map(change, term.terms)))


def single_terms(terms):
    """The partial derivatives that terms are made of, each once."""
    return list(dict.fromkeys(one for term in terms for one in weights_of(term)))


def closure(terms):
    """The terms and all their factors, in order."""
    closed = {()}
    for term in terms:
        powers = Counter(sorted(term))
        for chosen in itertools.product(*(range(n + 1) for n in powers.values())):
            closed.add(tuple(Counter(dict(zip(powers, chosen))).elements()))
    return in_order(closed)


def proper_factors(terms):
    """The factors of terms that are of lower order than one of them."""
    return {term[:n] + term[n + 1 :] for term in closure(terms) for n in range(len(term))}


def in_order(terms):
    return sorted(terms, key=lambda term: (len(term), term))


def differentiation_plan(terms):
    """How to reach every term by differentiating as few lower ones as possible.

    Returns `(steps, sources)`. `steps[term] = (lower term, coordinate)` for every term asked for
    or passed on the way; `sources[order]` lists the terms of that order to differentiate. One
    reverse pass over a term gives its derivatives by all coordinates, so a lower term that
    serves several is preferred: (x,) serves (x, x) and (t, x).
    """
    terms = {sort_term(term) for term in terms}
    highest = max(map(len, terms), default=0)
    steps, sources = {}, [[] for _ in range(highest)]
    for order in range(highest, 0, -1):
        waiting = {term for term in terms if len(term) == order}
        for source, served in _covers(waiting, terms):
            sources[order - 1].append(source)
            steps.update((term, (source, _missing(term, source))) for term in served)
        terms |= set(sources[order - 1])
    return steps, sources


def _covers(waiting, terms):
    """Lower terms, and what each serves: those asked for anyway first, then those of the most."""
    serves = {}
    for term in sorted(waiting):
        for lower in sorted(_lower(term)):
            serves.setdefault(lower, []).append(term)
    queue = [(lower not in terms, -len(served), lower) for lower, served in serves.items()]
    heapq.heapify(queue)
    while waiting:
        new, count, source = heapq.heappop(queue)
        served = [term for term in serves[source] if term in waiting]
        if len(served) == -count:
            waiting.difference_update(served)
            yield source, served
        elif served:  # others have served some of them by now
            heapq.heappush(queue, (new, -len(served), source))


def _lower(term):
    return {term[:n] + term[n + 1 :] for n in range(len(term))}


def _missing(term, source):
    (coordinate,) = (Counter(term) - Counter(source)).elements()
    return coordinate

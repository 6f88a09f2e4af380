"""Which lower derivatives a set of partial derivatives is built from."""

from collections import Counter


def sort_term(term):
    """The canonical form of a partial derivative: the order of its coordinates is free."""
    return tuple(sorted(term))


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
        while waiting:
            serves = Counter(lower for term in sorted(waiting) for lower in _lower(term))
            source = max(serves, key=lambda lower: (lower in terms, serves[lower]))
            sources[order - 1].append(source)
            for term in [term for term in waiting if source in _lower(term)]:
                steps[term] = (source, _missing(term, source))
                waiting.remove(term)
        terms |= set(sources[order - 1])
    return steps, sources


def _lower(term):
    return {term[:n] + term[n + 1 :] for n in range(len(term))}


def _missing(term, source):
    (coordinate,) = (Counter(term) - Counter(source)).elements()
    return coordinate

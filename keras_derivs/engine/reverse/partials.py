"""Partial derivatives of any order by nested vector-Jacobian products."""

import itertools
from dataclasses import replace

from keras import ops

from keras_derivs.engine import layout
from keras_derivs.engine.reverse import passes
from keras_derivs.engine.reverse.many import each
from keras_derivs.engine.reverse.strategies import outputs
from keras_derivs.engine.sums import weighted_sum
from keras_derivs.engine.terms import differentiation_plan, single_terms, weights_of


def partials(target, request):
    """For each term, a tensor of y's shape; every lower term is differentiated once."""
    terms = single_terms(request.terms)
    steps, sources = differentiation_plan(terms)
    higher = [term for term in terms if term]

    def evaluate(copies, index):
        components = [component for (component,) in index]
        y, known = _derive(copies, components, steps, sources, len(sources))
        return y, [[_partial(known[n], steps[term]) for term in higher] for n in range(len(index))]

    if not higher:
        y = passes.run(target)
        return y, _sums(request, {(): y})
    y, values = each(target, [outputs(target, request)], evaluate, request.chunk_size)
    values = [ops.reshape(value, ops.shape(y)) for value in values]
    return y, _sums(request, {(): y, **dict(zip(higher, values))})


def partials_by_tangents(target, request):
    """For each term, a tensor of y's shape, by tangents of tangents, however many outputs."""

    def along(at, term):
        if not term:
            return passes.run(at)
        (k, index), lower = term[0], term[1:]
        _, push = passes.push_forward(
            at, lambda slopes: slopes[k], function=lambda z: along(z, lower), order=len(term)
        )
        return push(passes.one_hot(at.xs[k], index))

    known = {term: along(target, term) for term in single_terms(request.terms)}
    y = known[()] if () in known else passes.run(target)
    return y, _sums(request, known)


def _sums(request, known):
    """The derivatives that are asked for, from single ones."""
    weights = map(weights_of, request.terms)
    return [weighted_sum((w, known[term]) for term, w in one.items()) for one in weights]


def by_tangents(target, request):
    """The results of a request of second derivatives, from partial ones."""
    terms = layout.terms(request, target.xs)
    if terms is None:
        raise ValueError(
            f"Second derivatives by places that all rows of the batch share need strategy "
            f"'taylor', or inputs of known shape and no `directions=`. Received: "
            f"'{target.model.name}' on the tape. Repeat the places for each row of the batch."
        )
    y, values = partials_by_tangents(target, replace(request, terms=terms))
    return y, layout.assemble(request, target.xs, dict(zip(terms, values)).get)


def _derive(target, components, steps, sources, order):
    """y, and for each component {term: its gradient for each x}, for all sources below `order`."""
    if order == 0:
        return passes.run(target), [{} for _ in components]
    work = sources[order - 1]

    def lower(at):
        y, known = _derive(at, components, steps, sources, order - 1)
        pairs = [
            _step(found, steps[term]) if term else (y, component)
            for component, found in zip(components, known)
            for term in work
        ]
        return [source for source, _ in pairs], (y, known)

    num_pulls = len(work) * len(components)
    tensors, (y, known), pull = passes.differentiate(target, lower, num_pulls, order)
    asked = itertools.product(range(len(components)), work)
    for n, (which, term) in enumerate(asked):
        index = steps[term][1][1] if term else components[which]
        known[which][term] = pull(n, passes.one_hot(tensors[n], index))
    return y, known


def _step(found, step):
    lower, (k, index) = step
    return found[lower][k], index


def _partial(found, step):
    return passes.entry(*_step(found, step))

"""Several derivatives of one tensor as one layer."""

import itertools

import numpy as np

from keras_derivs import graph
from keras_derivs.between import LAYERS, BetweenTensors
from keras_derivs.engine import together
from keras_derivs.engine.target import Target, size
from keras_derivs.engine.terms import sort_term
from keras_derivs.graph import Coordinates
from keras_derivs.layers.base import register
from keras_derivs.layers.partials import Partials


@register
class Fused(BetweenTensors):
    """A tensor and several of its derivatives from one pass: what `fuse` puts into a model.

    Called on `[y, *roots, *sources]`: the roots are independent tensors that `y` is computed
    from, the sources what the sub-graph between them computes with.

    Args:
        members: A dict for each derivative: `derivative` and `options` as for `Between`; `wrt`, a
            list of `[number of the root, shape, entries or None]`; `listed`, whether the result
            is a list, too; `before`, the sum of derivatives of `y` that is differentiated, a list
            of `[weight, term]`; a term is a list of `[number of the root, entry]`.
        num_wrt: The number of roots.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Output shape:
        A list: that of `y`, and what each of the derivatives returns.
    """

    def __init__(self, members, num_wrt, **kwargs):
        super().__init__(num_wrt, **kwargs)
        self.members = [dict(member) for member in members]
        self.layers, self.order = [], []

    def cut(self, y, wrt):
        """Make the derivative layers of the sub-graph from the roots to `y`; return its sources."""
        sub_graph, _ = graph.cut(y, wrt)
        layers = [_layer(member, sub_graph) for member in self.members]
        terms = [_terms(*pair) for pair in zip(layers, self.members)]
        self.order = [(), *sorted(set(itertools.chain(*terms)) - {()})]
        first, self.layers = layers[0], layers
        self.derivative = Partials(
            sub_graph,
            _numbered(self.order, wrt),
            wrt=[Coordinates(n, tuple(root.shape[1:])) for n, root in enumerate(wrt)],
            strategy=first.strategy,
            chunk_size=first.chunk_size,
            training=first.training,
        )
        return sub_graph.inputs

    def compute_output_spec(self, inputs):
        sources = list(inputs)[self.num_structural :]
        y = self.derivative.compute_output_spec(sources)[0]
        return [y, *(layer.compute_output_spec(sources) for layer in self.layers)]

    def call(self, inputs):
        sources = list(inputs)[self.num_structural :]
        values = dict(zip(self.order, self.derivative(sources)))
        results = [
            _arranged(layer, member, sources, values)
            for layer, member in zip(self.layers, self.members)
        ]
        return [values[()], *results]

    def get_config(self):
        return {**super().get_config(), "members": self.members}


def _layer(member, sub_graph):
    """The derivative layer that a member stands for."""
    wrt = [
        Coordinates(root, tuple(shape), None if entries is None else np.asarray(entries))
        for root, shape, entries in member["wrt"]
    ]
    wrt = wrt if member["listed"] else wrt[0]
    return LAYERS[member["derivative"]](sub_graph, wrt=wrt, **member["options"])


def _terms(layer, member):
    """The partial derivatives that a member is made of, for `Fused.order`."""
    own = together.terms(layer.plan.request, layer.plan.xs)
    return [term for terms in own for _, term in _sum(terms, layer, member)]


def _sum(term, layer, member):
    """A derivative of `before` as a list of (weight, term of entries (number of root, index))."""
    own = [(layer.plan.wrt[k], index) for k, index in term]
    return [
        (weight, sort_term(own + [tuple(entry) for entry in before]))
        for weight, before in member["before"]
    ]


def _numbered(terms, roots):
    """The terms by features counted over all roots, as `Partials` takes them."""
    sizes = [size(root) for root in roots]
    return [tuple(sum(sizes[:n]) + index for n, index in term) for term in terms]


def _arranged(layer, member, sources, values):
    """What the member's layer would return, from the partial derivatives."""
    plan = layer.plan
    target = Target(layer.model, sources, sources, plan.wrt)

    def find(term):
        weights, terms = zip(*_sum(term, layer, member))
        return together.weighted_sum([values[term] for term in terms], weights)

    results = together.assemble(plan.request, target.xs, find)
    return layer.arrange(plan, target, find(()), results)

"""The derivatives in a graph, as partial derivatives of the tensor that was there first."""

import math
from dataclasses import dataclass
from typing import Any

import keras

from keras_derivs import graph
from keras_derivs.engine import together


@dataclass(frozen=True)
class Member:
    """A derivative in the graph: of `before`, a sum of derivatives of the tensor `y`.

    A sum is a list of (weight, term), a term a tuple of entries (root, index) in any order; a
    root is the tensor itself.
    """

    node: Any
    y: keras.KerasTensor
    before: tuple = ((1.0, ()),)

    @property
    def layer(self):
        return self.node.operation.derivative

    @property
    def depth(self):
        """The order of what it differentiates."""
        return max(len(term) for _, term in self.before)

    @property
    def roots(self):
        inputs = self.layer.model.inputs
        before = [root for _, term in self.before for root, _ in term]
        return unique([*(inputs[n] for n in self.layer.plan.wrt), *before])

    def own_terms(self):
        """What it differentiates `before` by, in the order of its results; `None` if unknown."""
        plan, inputs = self.layer.plan, self.layer.model.inputs
        terms = together.terms(plan.request, plan.xs)
        if terms is None:
            return None
        return [tuple((inputs[plan.wrt[k]], index) for k, index in term) for term in terms]

    def terms(self):
        """All partial derivatives of `y` that it is made of; `None` if unknown."""
        own = self.own_terms()
        return own and [term for terms in own for _, term in self.sum_at([(1.0, terms)])]

    def sum_at(self, own):
        """What a sum of derivatives of `before` is as one of derivatives of `y`."""
        return [(v * w, (*first, *then)) for v, then in own for w, first in self.before]

    def config(self, roots):
        number = {id(root): n for n, root in enumerate(roots)}
        inputs, between = self.layer.model.inputs, self.node.operation
        return {
            "derivative": between.kind,
            "options": between.options,
            "listed": between.listed or between.kind == "Partials",
            "wrt": [
                [
                    number[id(inputs[at.position])],
                    list(at.shape),
                    None if at.indices is None else at.indices.tolist(),
                ]
                for at in self.layer.plan.coordinates
            ],
            "before": [
                [weight, [[number[id(root)], index] for root, index in term]]
                for weight, term in self.before
            ],
        }


def unique(tensors):
    return list({id(tensor): tensor for tensor in tensors}.values())


def member_of(node, members):
    """A derivative node; one of a derivative counts as one of the tensor that was there first."""
    y = node.input_tensors[0]
    chain = graph.selections(y, lambda node: id(node) in members)
    inner = members.get(id(graph.producer(chain[-1])))
    if inner is None or not _can_precede(inner, node, y):
        return Member(node, y)
    found = _as_sum(inner, chain)
    return Member(node, y) if found is None else Member(node, inner.y, tuple(inner.sum_at(found)))


def _can_precede(inner, node, y):
    """Whether both are derivatives of one function, sample by sample of the same shape."""
    same = inner.layer.training == node.operation.derivative.training
    known = inner.own_terms() is not None and not inner.layer.return_value
    return same and known and tuple(y.shape) == tuple(inner.y.shape)


def _as_sum(inner, chain):
    """A tensor selected from an inner member's result as a sum of its terms; `None` if it is not.

    `chain` leads from the tensor to the result that it is selected from.
    """
    kind, terms = inner.node.operation.kind, inner.own_terms()
    number = [id(output) for output in inner.node.outputs].index(id(chain[-1]))
    if len(chain) == 1 and kind == "Partials":
        return [(1.0, terms[number])]
    if len(chain) == 1 and kind == "Laplacian":
        weights = inner.layer.plan.request.weights
        return list(zip([1.0] * len(terms) if weights is None else weights.tolist(), terms))
    index = [0] if len(chain) == 1 else graph.selected(chain)
    if kind not in ("Gradient", "HessianDiagonal") or index is None:
        return None
    sizes = [math.prod(at.shape) for at in inner.layer.plan.coordinates]
    return [(1.0, terms[sum(sizes[:number]) + int(index[0])])]

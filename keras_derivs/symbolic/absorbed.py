"""What a shared pass is to compute: results of derivatives, and sums of these that are used."""

import keras

from keras_derivs import graph
from keras_derivs.engine.target import size
from keras_derivs.graph.nodes import operation_name, variables
from keras_derivs.symbolic import combination
from keras_derivs.symbolic.fused import columns

# Operations between derivatives that a shared pass computes itself.
ARITHMETIC = {
    "Add", "Subtract", "Negative", "Multiply", "Divide", "TrueDivide", "Average", "Copy",
}  # fmt: skip


class Uses:
    """Where the tensors of a model are used."""

    def __init__(self, nodes, outputs):
        self.nodes, self._outputs, self._users = nodes, set(map(id, outputs)), {}
        for node in nodes:
            for tensor in node.input_tensors:
                self._users.setdefault(id(tensor), set()).add(id(node))

    def is_output(self, tensor):
        return id(tensor) in self._outputs

    def outside(self, tensor, inside):
        """Whether a tensor is used by others than the nodes `inside`."""
        return self.is_output(tensor) or bool(self._users.get(id(tensor), set()) - inside)


def absorbed(members, uses, expressions):
    """(tensor, its combination) of all that is used outside, and the nodes that are computed.

    Arithmetic that combines derivatives of one pass belongs to it, so that a sum of them may be
    carried as one coefficient.
    """
    pairs = [zip(member.node.outputs, member.results) for member in members]
    found = {id(tensor): (tensor, one) for pair in pairs for tensor, one in pair}
    inside = {id(member.node) for member in members}
    for node in filter(_combines, uses.nodes):
        if id(node) not in inside and any(id(x) in found for x in node.input_tensors):
            result = _combination(node.outputs[0], members, expressions)
            if result is not None:
                found[id(node.outputs[0])] = node.outputs[0], result
                inside.add(id(node))
    return [(y, one) for y, one in found.values() if uses.outside(y, inside)], inside


def _combines(node):
    layer = isinstance(node.operation, keras.layers.Layer)
    return not layer and operation_name(node) in ARITHMETIC and not variables(node)


def _combination(tensor, members, expressions):
    """A tensor in the derivatives of the members, without the value of what they differentiate."""
    roots = combination.unique(root for member in members for root in member.roots)
    found = expressions.find(tensor, roots, combination.settings(members[0].layer))
    if found is None or found.shifted or found.base is not members[0].base:
        return None
    place = {term: n for n, term in enumerate(found.terms)}
    if columns(found.sums(place), size(found.base)) is None:
        return None  # rows of their own factors, which would be picked one by one
    terms = {term for member in members for term in member.terms} - {()}
    return found if found.terms and terms.issuperset(found.terms) else None


def placed(results, found, uses):
    """{id of a tensor: the symbolic result in its place}; outputs of a model keep their names."""
    known = {}
    for (tensor, _), result in zip(results, found):
        made_by = graph.private.source_of(tensor).operation
        kept = uses.is_output(tensor) and not isinstance(made_by, keras.layers.Layer)
        known[id(tensor)] = graph.named(result, made_by.name) if kept else result
    return known

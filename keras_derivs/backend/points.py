"""Selections by whether numbers are equal, which hold at single points.

As 0 in `where(x == 0, 1, sin(x) / x)`: the derivative there is that of the selected branch, not
that of the function. A quotient is no number at a single point either, as 0 / 0. Programs are
nodes of `kinks`.
"""

import collections
import math

from keras_derivs.backend.kinks import COMPARISONS, LOGICAL, SAME, SELECT, SHAPED, STOPPED, value_of

EQUALITY = {"Equal", "NotEqual"}  # of two floats
NOT_A_NUMBER, INFINITE = "NotANumber", "Infinite"
CONDITIONS = {SELECT: 0, "masked_fill": 1}  # which input is the condition
REPLACES = "nan_to_num"  # one operation that selects where its input is no number
ARITHMETIC = {"Add", "Mul", "Neg", "Square", "Sub", SAME, SHAPED}
FOLLOWED = {*LOGICAL, SAME, SHAPED, STOPPED}
LARGEST = {"argmax", "argmin"}


def selections(nodes, starts):
    """The names of the nodes that select at single points of what depends on `starts`."""
    program = _Program(nodes, starts)
    return {node.name for node in nodes if program.selects(node)}


class _Program:
    def __init__(self, nodes, starts):
        self.makers = {y: node for node in nodes for y in node.outputs}
        self.reached, self.readers = set(starts), collections.defaultdict(set)
        for node in nodes:
            for x in node.inputs:
                self.readers[x].add(node.kind)
            if not self.reached.isdisjoint(node.inputs) and not _is_logical(node):
                self.reached.update(node.outputs)

    def selects(self, node):
        if node.kind == REPLACES:
            return self.is_quotient(node.inputs[0])
        position = CONDITIONS.get(node.kind)
        if position is None or set() < self.readers[node.outputs[0]] <= LARGEST:
            return False
        return any(map(self.is_point, self.conditions(node.inputs[position])))

    def conditions(self, tensor):
        """The nodes that a condition is made of; none where what is infinite is told apart."""
        node = self.makers.get(tensor)
        if node is None or node.kind not in FOLLOWED:
            return [] if node is None else [node]
        if any(self.is_infinity(x) for x in node.inputs):
            return []
        return [found for x in node.inputs for found in self.conditions(x)]

    def is_infinity(self, tensor):
        node = self.makers.get(tensor)
        if node is None or node.kind not in EQUALITY:
            return node is not None and node.kind == INFINITE
        return any(abs(self.value(x)) == math.inf for x in node.inputs)

    def is_point(self, node):
        if node.kind == NOT_A_NUMBER or (node.kind in EQUALITY and len({*node.inputs}) == 1):
            return any(map(self.is_quotient, node.inputs))
        moved = node.kind in EQUALITY and not self.reached.isdisjoint(node.inputs)
        return moved and not any(abs(self.value(x)) == math.inf for x in node.inputs)

    def is_quotient(self, tensor):
        node = self.makers.get(tensor)
        if node is None or node.kind not in {"Div", *ARITHMETIC}:
            return False
        if node.kind == "Div":
            return node.inputs[1] in self.reached
        return any(map(self.is_quotient, node.inputs))

    def value(self, tensor):
        """The number that a tensor holds, or 0."""
        return value_of(tensor, self.makers) or 0.0


def _is_logical(node):
    return node.kind in {*COMPARISONS, *EQUALITY, "Logical", NOT_A_NUMBER, INFINITE}

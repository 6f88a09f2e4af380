"""Kinks of several operations at the same inputs, which may cancel: max(x, y) min(x, y) is x y.

At a kink an operation has the derivative of one side, or the mean of both, by convention. If the
kinks cancel, that is exact at every order where all operations take the same side, and at first
order where all take the mean. In all other cases the operations are told of, also where they are
one: M (x + y - M) is x y, where M is the larger of both.
"""

import collections
import itertools
import math
from dataclasses import replace

import tensorflow as tf

LOWER, MEAN, UPPER = -1, 0, 1
# operations of one number z with a kink at 0, and the side of z that they take there
OF_ONE = {"Abs": MEAN, "Elu": UPPER, "LeakyRelu": LOWER, "Relu": LOWER, "Selu": UPPER}
OF_TWO = {"Maximum", "Minimum"}
EXTREMA = {*OF_TWO, "Max", "Min"}  # those of an absolute value are told of as such
OF_MANY = {"Max": MEAN, "Min": MEAN, "MaxPool": UPPER, "TopKV2": UPPER}
# of a - b, where both are equal and the comparison is false, or true
COMPARISONS = {"Greater": LOWER, "GreaterEqual": UPPER, "Less": UPPER, "LessEqual": LOWER}
LOGICAL = {"LogicalAnd", "LogicalNot", "LogicalOr", "BroadcastTo", "Reshape", "ExpandDims"}
JOINED = {"ConcatV2", "Pack"}
SAME = {"Cast", "Identity", "StopGradient"}
FOLLOWED = {
    "Abs", "AddV2", "Cos", "Cosh", "Exp", "Identity", "Log", "Log1p", "Mul", "Neg", "RealDiv",
    "Sigmoid", "Sin", "Sinh", "Softplus", "Sqrt", "Square", "Sub", "Tanh",
}  # fmt: skip
KINKED = {*OF_ONE, *OF_TWO, *OF_MANY, "Relu6", "SelectV2", "Select"}


def marked(steps, nodes):
    """The steps of a graph, with the lowest order at which each may be wrong at a kink."""
    between = {step.name for step in steps if step.on_the_way}
    orders = _cancelling(nodes, [node for node in nodes if node.name in between])
    return [replace(step, cancels=orders.get(step.name)) for step in steps]


def _cancelling(nodes, between):
    """name -> the lowest order at which the derivative of an operation may be wrong at a kink."""
    found = [node for node in between if node.op in KINKED]
    if not found:
        return {}
    graph, groups, orders = _Graph(nodes), collections.defaultdict(list), {}
    again = _used_again(found, between)
    for node in found:
        for difference, side, single in graph.kinks(node):
            key, sign = graph.normal(difference)
            groups[key].append((node.name, side * sign, single))
    for kinks in groups.values():
        alone = len(kinks) == 1 and kinks[0][0] not in again
        sides, single = [side for _, side, _ in kinks], any(single for *_, single in kinks)
        order = None if alone else _order(sides, single)
        orders |= {name: min(order, orders.get(name, order)) for name, *_ in kinks if order}
    return orders


def _order(sides, single):
    """At which order the kinks of one group may be wrong; `None`: they are right."""
    if len(set(sides)) > 1:
        return 1
    return 2 if MEAN in sides and single else None


def _used_again(found, nodes):
    """The names of those whose result, or a function of it, is used by several operations."""
    uses = collections.defaultdict(dict)
    for node in nodes:
        for source in node.input:
            uses[source.split(":")[0]][node.name] = node
    return {node.name for node in found if node.op in EXTREMA and _branches(node.name, uses)}


def _branches(name, uses):
    while len(uses[name]) == 1:
        (node,) = uses[name].values()
        if node.op not in FOLLOWED:
            return False
        name = node.name
    return len(uses[name]) > 1


class _Graph:
    """The nodes of a graph, equal ones with one number, and what differences they compare."""

    def __init__(self, nodes):
        self.nodes, self.numbers, known = {}, {}, {}
        for node in nodes:
            self.nodes[node.name] = node
            options = () if "Random" in node.op else tuple(
                (key, value.SerializeToString(deterministic=True))
                for key, value in sorted(node.attr.items())
                if not key.startswith("_")
            )  # fmt: skip
            own = node.name if "Random" in node.op or not node.input else None
            own = None if node.op == "Const" else own
            key = node.op, own, options, tuple(map(self.number, node.input))
            self.numbers[node.name] = known.setdefault(key, len(known))

    def number(self, source):
        """What stands for a tensor, the same for all that are computed alike."""
        name, *output = source.split(":")
        return self.numbers.get(name, name), tuple(n for n in output if n != "0")

    def node(self, source):
        return self.nodes.get(source.split(":")[0])

    def kinks(self, node):
        """(difference, side, whether it is one number) of each kink: where that is zero."""
        x, *others = node.input
        if node.op in OF_ONE:
            yield from ((self.terms(part), OF_ONE[node.op], True) for part in self.parts(x))
        elif node.op == "Relu6":
            for part in map(self.terms, self.parts(x)):
                yield part, LOWER, True
                yield _plus(part, {(): -6.0}), UPPER, True
        elif node.op in OF_TWO:
            yield self.difference(x, others[0]), MEAN, True
        elif node.op in OF_MANY:
            yield self.of_many(node, x)
        else:
            for comparison in self.comparisons(x):
                yield self.difference(*comparison.input), COMPARISONS[comparison.op], True

    def of_many(self, node, x):
        parts, side = self.parts(x), OF_MANY[node.op]
        if len(parts) == 2:
            return self.difference(*parts), side, True
        entries = {("entries", key): factor for key, factor in self.terms(x).items()}
        return entries, side, side != MEAN or _length(self.node(x), node, self) == 2

    def comparisons(self, source):
        node = self.node(source)
        if node is not None and node.op in COMPARISONS:
            yield node
        elif node is not None and node.op in LOGICAL:
            yield from itertools.chain(*map(self.comparisons, node.input))

    def parts(self, source):
        node = self.node(source)
        if node is None or node.op not in JOINED:
            return [source]
        inputs = node.input
        return inputs[:-1] if node.op == "ConcatV2" else inputs

    def difference(self, a, b):
        return _plus(self.terms(a), self.terms(b), -1)

    def terms(self, source, depth=16):
        """A tensor as a sum: number -> factor, and a constant for `()`."""
        node = self.node(source)
        if node is None or not depth:
            return {self.number(source): 1.0}
        inputs = node.input
        inner = lambda n: self.terms(inputs[n], depth - 1)  # noqa: E731
        if node.op in SAME:
            return inner(0)
        if node.op == "Neg":
            return _plus({}, inner(0), -1)
        if node.op in ("Add", "AddV2", "Sub"):
            return _plus(inner(0), inner(1), -1 if node.op == "Sub" else 1)
        value = _value(node)
        if value is not None:
            return {(): value}
        if node.op in ("Mul", "RealDiv"):
            factors = [_value(self.node(x)) for x in inputs]
            if factors[1]:
                return _plus({}, inner(0), factors[1] if node.op == "Mul" else 1 / factors[1])
            if factors[0] and node.op == "Mul":
                return _plus({}, inner(1), factors[0])
        return {self.number(source): 1.0}

    @staticmethod
    def normal(difference):
        """A difference but for a factor, and the sign of that factor."""
        kept = sorted((str(key), factor) for key, factor in difference.items() if factor)
        lead = next((factor for key, factor in kept if key != "()"), 1.0)
        rounded = tuple((key, float(f"{factor / lead:.6g}")) for key, factor in kept)
        return rounded, 1 if lead > 0 else -1


def _plus(terms, others, factor=1):
    total = collections.Counter(terms)
    for key, other in others.items():
        total[key] += factor * other
    return dict(total)


def _value(node):
    """The number that a node holds; `None` if it does not."""
    if node is None or node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    if any(axis.size != 1 for axis in tensor.tensor_shape.dim):
        return None
    value = tf.make_ndarray(tensor)
    return float(value.ravel()[0]) if value.dtype.kind in "fiu" else None


def _length(x, node, graph):
    """How many entries a reduction compares; `None` if that is not known."""
    axes = graph.node(node.input[1])
    if x is None or axes is None or axes.op != "Const" or "_output_shapes" not in x.attr:
        return None
    dims = x.attr["_output_shapes"].list.shape[0].dim
    axes = tf.make_ndarray(axes.attr["value"].tensor).ravel()
    return math.prod(dims[int(axis)].size for axis in axes) if dims else None

"""Kinks of several operations at the same inputs, which may cancel: max(x, y) min(x, y) is x y.

At a kink an operation has the derivative of one side, or the mean of both, by convention. If the
kinks cancel, that is exact at every order where all operations take the same side, and at first
order where all take the mean. In all other cases the operations are told of, also where they are
one: M (x + y - M) is x y, where M is the larger of both.

Each framework brings its program as nodes; their kinds are those named here.
"""

import collections
import itertools
from dataclasses import dataclass

LOWER, MEAN, UPPER = -1, 0, 1
# operations of one number z with a kink at 0, and the side of z that they take there
OF_ONE = {"Abs": MEAN, "Elu": LOWER, "LeakyRelu": LOWER, "Relu": LOWER, "Selu": LOWER}
OF_TWO = {"Maximum", "Minimum"}
EXTREMA = {*OF_TWO, "Max", "Min"}  # those of an absolute value are told of as such
OF_MANY = {"Max": MEAN, "Min": MEAN, "MaxPool": UPPER, "TopK": UPPER}
# of a - b, where both are equal and the comparison is false, or true
COMPARISONS = {"Greater": LOWER, "GreaterEqual": UPPER, "Less": UPPER, "LessEqual": LOWER}
JOINED = "Joined"
SAME = "Same"  # the same numbers, perhaps in another dtype
SHAPED = "Shaped"  # the same numbers, repeated or in another shape
STOPPED = "Stopped"  # the same numbers, without a gradient
LOGICAL = {"Logical", SAME, SHAPED}
SELECT = "Select"  # by its first input
CONSTANT = "Constant"
KINKED = {*OF_ONE, *OF_TWO, *OF_MANY, "Relu6", SELECT}
FOLLOWED = {  # functions of one value, in lower case
    "abs", "add", "cos", "cosh", "div", "exp", "log", "log1p", "logistic", "mul", "neg", "same",
    "shaped", "sigmoid", "sin", "sinh", "softplus", "sqrt", "square", "sub", "tanh",
}  # fmt: skip
EVEN = {"Cos", "Cosh", "Square"}  # what they return does not depend on a sign
ODD = {SAME, SHAPED, "Neg", "Mul"}  # what they return changes its sign with what they get


@dataclass(frozen=True)
class Node:
    """An operation of a program, whose tensors are known by keys."""

    name: object  # that of the step which tells of it
    kind: str
    inputs: tuple
    outputs: tuple
    options: object = None  # what tells it from others of its kind; `None` for none is like it
    value: float | None = None  # of a constant that is one number
    length: int | None = None  # how many entries a reduction compares


def cancelling(nodes, between):
    """name -> the lowest order at which the derivative of an operation may be wrong at a kink.

    `between` are the names of the nodes on the way from the inputs to the output.
    """
    between = [node for node in nodes if node.name in between]
    found = [node for node in between if node.kind in KINKED]
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


def _used_again(found, nodes):
    """The names of those whose result, or a function of it, is used by several operations."""
    uses = collections.defaultdict(dict)
    for node in nodes:
        for x in node.inputs:
            uses[x][node.name] = node
    return {n.name for n in found if n.kind in EXTREMA and _branches(n.outputs[0], uses)}


def _branches(tensor, uses):
    while len(uses[tensor]) == 1:
        (node,) = uses[tensor].values()
        if node.kind.lower() not in FOLLOWED:
            return False
        tensor = node.outputs[0]
    return len(uses[tensor]) > 1


def on_the_way(nodes, starts, ends):
    """The names of the nodes that depend on `starts`, and that `ends` vary with."""
    reached, needed, found = set(starts), set(ends), set()
    for node in nodes:
        if node.kind not in COMPARISONS and node.kind != "Logical" and reached & {*node.inputs}:
            reached |= {*node.outputs}
    for node in reversed(nodes):
        if node.kind != STOPPED and needed & {*node.outputs}:
            needed |= {*node.inputs}
            found |= {node.name} if reached & {*node.outputs} else set()
    return found


def in_even_functions(nodes, ends):
    """The names of absolute values that enter even functions alone, as squares.

    The larger of x and -x, or the smaller, is one, too. Such functions have derivatives at 0.
    """
    graph, uses = _Graph(nodes), collections.defaultdict(list)
    for node in nodes:
        for x in {*node.inputs}:
            uses[x].append(node)

    def is_even(tensor):
        if tensor in ends:
            return False
        return all(
            node.kind in EVEN
            or (node.kind == "Mul" and node.inputs[0] == node.inputs[1])
            or (node.kind in ODD and is_even(node.outputs[0]))
            for node in uses[tensor]
        )

    return {node.name for node in nodes if graph.is_absolute(node) and is_even(node.outputs[0])}


def _order(sides, single):
    """At which order the kinks of one group may be wrong; `None`: they are right."""
    if len(set(sides)) > 1:
        return 1
    return 2 if MEAN in sides and single else None


class _Graph:
    """The nodes of a program, equal ones with one number, and what differences they compare."""

    def __init__(self, nodes):
        self.makers, self.numbers, known = {}, {}, {}
        for node in nodes:
            own = node.outputs if node.options is None else None
            key = node.kind, own, node.options, node.value, tuple(map(self.number, node.inputs))
            number = known.setdefault(key, len(known))
            for n, tensor in enumerate(node.outputs):
                self.makers[tensor], self.numbers[tensor] = node, (number, n)

    def number(self, tensor):
        """What stands for a tensor, the same for all that are computed alike."""
        return self.numbers.get(tensor, tensor)

    def kinks(self, node):
        """(difference, side, whether it is one number) of each kink: where that is zero."""
        x, *others = node.inputs
        if node.kind in OF_ONE:
            yield from ((self.terms(part), OF_ONE[node.kind], True) for part in self.parts(x))
        elif node.kind == "Relu6":
            for part in map(self.terms, self.parts(x)):
                yield part, LOWER, True
                yield _plus(part, {(): -6.0}), UPPER, True
        elif node.kind in OF_TWO:
            yield self.difference(x, others[0]), MEAN, True
        elif node.kind in OF_MANY:
            yield self.of_many(node, x)
        else:
            for comparison in self.comparisons(x):
                yield self.difference(*comparison.inputs), COMPARISONS[comparison.kind], True

    def is_absolute(self, node):
        """Whether it is the absolute value of a number, or what is larger or smaller, x or -x."""
        if node.kind not in OF_TWO:
            return node.kind == "Abs"
        return not any(_plus(*map(self.terms, node.inputs)).values())

    def of_many(self, node, x):
        parts, side = self.parts(x), OF_MANY[node.kind]
        if len(parts) == 2:
            return self.difference(*parts), side, True
        entries = {("entries", key): factor for key, factor in self.terms(x).items()}
        return entries, side, side != MEAN or node.length == 2

    def comparisons(self, tensor):
        node = self.makers.get(tensor)
        if node is not None and node.kind in COMPARISONS:
            yield node
        elif node is not None and node.kind in LOGICAL:
            yield from itertools.chain(*map(self.comparisons, node.inputs))

    def parts(self, tensor):
        node = self.makers.get(tensor)
        if node is not None and node.kind == SAME:
            return self.parts(node.inputs[0])
        return [tensor] if node is None or node.kind != JOINED else node.inputs

    def difference(self, a, b):
        return _plus(self.terms(a), self.terms(b), -1)

    def terms(self, tensor, depth=24):
        """A tensor as a sum: number -> factor, and a constant for `()`."""
        node = self.makers.get(tensor)
        if node is None or not depth:
            return {self.number(tensor): 1.0}
        inner = lambda n: self.terms(node.inputs[n], depth - 1)  # noqa: E731
        if node.kind in (SAME, STOPPED):
            return inner(0)
        if node.kind == SHAPED:
            shaped = inner(0).items()
            return {(node.options, key) if key else key: factor for key, factor in shaped}
        if node.kind == "Neg":
            return _plus({}, inner(0), -1)
        if node.kind in ("Add", "Sub"):
            return _plus(inner(0), inner(1), -1 if node.kind == "Sub" else 1)
        if node.value is not None:
            return {(): node.value}
        if node.kind in ("Mul", "Div"):
            factors = [value_of(x, self.makers) for x in node.inputs]
            if factors[1]:
                return _plus({}, inner(0), factors[1] if node.kind == "Mul" else 1 / factors[1])
            if factors[0] and node.kind == "Mul":
                return _plus({}, inner(1), factors[0])
        return {self.number(tensor): 1.0}

    @staticmethod
    def normal(difference):
        """A difference but for a factor, and the sign of that factor."""
        kept = sorted((str(key), factor) for key, factor in difference.items() if factor)
        lead = next((factor for key, factor in kept if key != "()"), 1.0)
        rounded = tuple((key, float(f"{factor / lead:.6g}")) for key, factor in kept)
        return rounded, 1 if lead > 0 else -1


def value_of(tensor, makers):
    """The number that a tensor holds; `None` if it is not known."""
    node = makers.get(tensor)
    while node is not None and node.kind in (SAME, SHAPED):
        node = makers.get(node.inputs[0])
    return None if node is None else node.value


def _plus(terms, others, factor=1):
    total = collections.Counter(terms)
    for key, other in others.items():
        total[key] += factor * other
    return dict(total)

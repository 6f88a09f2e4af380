"""Comparisons whose results are added to numbers: steps, of which no derivative is left.

As a factor or a condition a comparison selects, and the derivative is that of what it selects. At
a single point, as in `where(x == 0, 1, sin(x) / x)`, that is not the derivative of the function.
"""

import collections

import tensorflow as tf

from keras_derivs.backend.tensorflow.inlined import sources

COMPARISONS = {"Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "NotEqual"}
SELECTIONS = {"Select", "SelectV2"}
AT_POINTS = {f"{name}, at single points" for name in SELECTIONS}  # as steps, see `traced`
EQUALITY, LARGEST = {"Equal", "NotEqual"}, {"ArgMax", "ArgMin", "Shape"}
LOGICAL = {
    "BroadcastTo", "ExpandDims", "Identity", "LogicalAnd", "LogicalNot", "LogicalOr", "Reshape",
}  # fmt: skip
ARITHMETIC = {
    "Add", "AddV2", "Cast", "ExpandDims", "Identity", "Mul", "Neg", "Reshape", "Square", "Sub",
}  # fmt: skip
SUMS = {"Add", "AddN", "AddV2", "Sub"}


def added(nodes, reached, needed):
    """The names of comparisons of what is `reached` that enter a sum that is `needed`."""
    by_name, terms = {node.name: node for node in nodes}, []
    for node in nodes:
        if node.op in SUMS and node.name in needed:
            terms += sources(node)
    found, done = set(), set()
    waiting = [name for name in terms if name in by_name and _is_number(by_name[name])]
    while waiting:
        node = by_name.get(waiting.pop())
        if node is None or node.name in done:
            continue
        done.add(node.name)
        if node.op in COMPARISONS:
            found |= {node.name} if reached & set(sources(node)) else set()
        elif node.op.startswith("Logical") or node.op == "Cast":
            waiting += sources(node)
    return found


def _is_number(node):
    """Whether a node makes numbers of what is true or false."""
    return node.op == "Cast" and node.attr["SrcT"].type == tf.bool.as_datatype_enum


def at_points(nodes, reached):
    """The selections by whether numbers are equal, or a quotient is none.

    A quotient is no number at a single point, as 0 / 0. What Keras selects before it looks for the
    largest is told of as `ArgMax`.
    """
    by_name = {node.name: node for node in nodes}
    read_by = collections.defaultdict(set)
    for node in nodes:
        for source in sources(node):
            read_by[source].add(node.op)

    def read(node):
        return [by_name[source] for source in sources(node) if source in by_name]

    def conditions(node):
        if node.op not in LOGICAL:
            return [node]
        parts = read(node)
        if any(part.op == "IsInf" for part in parts):
            return []
        return [found for part in parts for found in conditions(part)]

    def is_quotient(node):
        if node.op == "RealDiv":
            return sources(node)[1] in reached
        return node.op in ARITHMETIC and any(map(is_quotient, read(node)))

    def is_point(node):
        if node.op == "IsNan":
            return any(map(is_quotient, read(node)))
        return node.op in EQUALITY and _is_float(node) and bool(reached & set(sources(node)))

    found = [n for n in nodes if n.op in SELECTIONS and not read_by[n.name] <= LARGEST]
    pairs = [(node.name, by_name.get(sources(node)[0])) for node in found]
    return {name for name, node in pairs if node and any(map(is_point, conditions(node)))}


def _is_float(node):
    return tf.dtypes.as_dtype(node.attr["T"].type).is_floating

"""Comparisons whose results are added to numbers: steps, of which no derivative is left.

As a factor or a condition a comparison selects, and the derivative is that of what it selects.
"""

import tensorflow as tf

COMPARISONS = {"Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "NotEqual"}
SUMS = {"Add", "AddN", "AddV2", "Sub"}


def added(nodes, sources, reached, needed):
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

"""The nodes of a graph together with those of the functions that it calls, by names of their own.

A node of a function `f` that a node `call` calls is named `call/node`, and reads what is given to
that call, so that tensors can be compared across functions. What a loop gives to itself, and what
a branch returns, is known by its name alone.
"""

from typing import NamedTuple

CALLED = {"PartitionedCall", "StatefulPartitionedCall"}
BODIES = ("f", "cond", "body", "then_branch", "else_branch")  # attributes that name a function
CHOSEN = {"If", "StatelessIf", "Case", "StatelessCase"}  # by their first input


class Node(NamedTuple):
    name: str
    op: str
    attr: dict
    input: list


def inlined(graph):
    """All nodes of a graph definition."""
    library = {function.signature.name: function for function in graph.library.function}
    return list(_Body(graph.node, library, "", {}).all())


class _Body:
    """The nodes of a graph or function, `given` a source for each of its arguments."""

    def __init__(self, nodes, library, scope, given):
        self.nodes, self.library, self.scope, self.given = nodes, library, scope, given
        self.by_name = {node.name: node for node in nodes}
        self.called = {}

    def all(self):
        for node in self.nodes:
            sources = [self.source(text) for text in node.input if not text.startswith("^")]
            yield Node(self.scope + node.name, node.op, node.attr, sources)
            for key in bodies(node):
                yield from self.inner(node, key).all()

    def inner(self, node, key):
        """The body of a function that a node calls."""
        if (node.name, key) not in self.called:
            function = self.library[bodies(node)[key]]
            sources = given(node)
            names = [argument.name for argument in function.signature.input_arg]
            scope = f"{self.scope}{node.name}/"
            known = not node.op.endswith("While")
            inputs = {
                name: self.source(text) if known else scope + name
                for name, text in zip(names, sources)
            }
            body = _Body(function.node_def, self.library, scope, inputs)
            body.results = [function.ret[result.name] for result in function.signature.output_arg]
            self.called[node.name, key] = body
        return self.called[node.name, key]

    def source(self, text):
        """The name of a tensor, wherever it is computed."""
        name, *output = text.split(":")
        if name in self.given:
            return self.given[name]
        node, number = self.by_name.get(name), int(output[-1]) if output else 0
        if node is not None and node.op in CALLED:
            inner = self.inner(node, "f")
            return inner.source(inner.results[number])
        return f"{self.scope}{name}" + (f":{number}" if number else "")


def bodies(node):
    """The names of the functions that a node calls, by attribute, and number in it."""
    found = {key: node.attr[key].func.name for key in BODIES if key in node.attr}
    branches = node.attr["branches"].list.func if "branches" in node.attr else ()
    return found | {f"branches_{n}": branch.name for n, branch in enumerate(branches)}


def given(node):
    """What a node hands to the functions that it calls."""
    return node.input[1:] if node.op in CHOSEN else node.input


def sources(node):
    """The names of the nodes that a node reads."""
    return [source(text) for text in node.input if not text.startswith("^")]


def source(text):
    return text.split(":")[0]

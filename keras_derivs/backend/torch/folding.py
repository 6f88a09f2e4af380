"""Compute what depends on constants alone, before a program is written to a file.

Vectors of ones and zeros, in the dtypes of numpy, say which derivative is meant. No format needs
to compute them at each call, and some have no float64.
"""

import torch

LARGEST = 10_000  # entries of what is computed from nothing


def folded(module):
    """The module, with constants in place of the operations that make them."""
    graph, known = module.graph, {}
    for node in list(graph.nodes):
        value = _value(module, node, known)
        if value is not None:
            known[node] = value
    for number, (node, value) in enumerate(known.items()):
        if node.op != "get_attr" and any(user not in known for user in node.users):
            _replace(module, node, f"constant_{number}", value)
    graph.eliminate_dead_code()
    module.recompile()
    return module


def _value(module, node, known):
    """What a node returns, if that is known and no weight."""
    if node.op == "get_attr":
        value = getattr(module, node.target)
        return None if isinstance(value, torch.nn.Parameter) else value
    tensor = isinstance(node.meta.get("val"), torch.Tensor)
    if node.op != "call_function" or not tensor or _is_random(node):
        return None
    sources = node.all_input_nodes
    if not all(source in known for source in sources) or not (sources or _is_small(node)):
        return None
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), known.get)
    return node.target(*args, **kwargs)


def _replace(module, node, name, value):
    if {user.target for user in node.users} == {torch.ops.aten.index_select.default}:
        value = value.int()  # LiteRT has no other numbers for places
    module.register_buffer(name, value)
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    node.replace_all_uses_with(constant)


def _is_small(node):
    shape = node.meta["val"].shape
    return all(isinstance(n, int) for n in shape) and shape.numel() <= LARGEST


def _is_random(node):
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())

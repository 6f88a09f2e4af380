"""Merge the derivatives of one tensor in a finished model into one shared pass."""

import itertools
from collections import ChainMap

import keras

from keras_derivs import graph
from keras_derivs.between import Between, BetweenTensors
from keras_derivs.engine import choose
from keras_derivs.engine.target import Request
from keras_derivs.fused import Fused
from keras_derivs.members import member_of, unique


def fuse(model):
    """The same model, in which the derivatives of one tensor share one pass.

    `kd.gradient(u, x)` and `kd.diff(u, x, x)`, written one by one, each run anew through the
    network that made `u`, and a derivative of a derivative nests. This puts one request in their
    place, as if all had been written as one `kd.partials`, wherever that costs fewer passes.
    Weights and layers stay those of the given model.

    Args:
        model: A functional `keras.Model` with derivatives between symbolic tensors in it.

    Returns:
        A functional `keras.Model` with the inputs, outputs and name of the given one, to be
        compiled.

    Raises:
        TypeError: `model` is not a functional model.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((1,))
    >>> u = keras.layers.Dense(1)(keras.layers.Dense(8, "tanh")(x))
    >>> u_x = kd.gradient(u, x)
    >>> model = kd.fuse(keras.Model(x, [u, u_x, kd.gradient(u_x, x)]))
    >>> print(model.layers[-1].explain())
    Partials of 'sub_graph': strategy 'taylor' on polynomials, of 3 passes (against 4 by \
'reverse'): 1 forward pass on polynomials of 3 coefficients
    """
    if not isinstance(model, keras.Model) or not hasattr(model, "_nodes_by_depth"):
        raise TypeError(
            f"`fuse` needs a functional model, keras.Model(inputs, outputs). Received: {model!r}. "
            f"Elsewhere, ask for all derivatives in one `partials` or `Partials`."
        )
    nodes = graph.nodes_of(model)
    groups = _groups([node for node in nodes if isinstance(node.operation, Between)])
    known = _rebuild(nodes, groups)
    outputs = keras.tree.map_structure(lambda y: known.get(id(y), y), model._outputs_struct)
    return keras.Model(model._inputs_struct, outputs, name=model.name)


def _groups(nodes):
    """The members that are worth a shared pass, in lists."""
    members, groups = {}, {}
    for node in nodes:
        member = member_of(node, members)
        members[id(node)] = member
        layer = member.layer
        if member.terms() is not None:
            key = (id(member.y), layer.strategy, layer.chunk_size, layer.training)
            groups.setdefault(key, []).append(member)
    lists = itertools.chain.from_iterable(map(_independent, groups.values()))
    return [group for group in map(_worthwhile, lists) if group]


def _independent(members):
    """Lists of those that can be cut together: no root is computed from another."""
    lists = []
    for member in members:
        for chosen in lists:
            if _all_independent(_roots([*chosen, member])):
                chosen.append(member)
                break
        else:
            lists.append([member])
    return lists


def _all_independent(roots):
    return not any(graph.depends(a, b) for a, b in itertools.permutations(roots, 2))


def _roots(members):
    return unique(root for member in members for root in member.roots)


def _worthwhile(members):
    """As many as cost fewer passes together; those of many terms stay alone first."""
    members = sorted(members, key=lambda member: len(member.terms()))
    while members and _together(members) > sum(map(_alone, members)):
        members.pop()
    nested = any(member.depth for member in members)
    return members if len(members) > 1 or nested else []


def _together(members):
    layer, roots = members[0].layer, _roots(members)
    number = {id(root): n for n, root in enumerate(roots)}
    terms = [
        tuple((number[id(root)], index) for root, index in term)
        for member in members
        for term in member.terms()
    ]
    columns = [(n, None) for n in range(len(roots))]
    request = Request("partials", columns=columns, terms=terms)
    return choose.passes(layer.strategy, request, members[0].y, roots)


def _alone(member):
    """Nested tapes double the passes at each level."""
    layer = member.layer
    own = choose.passes(layer.strategy, layer.plan.request, layer.plan.y, layer.plan.xs)
    return own * 2**member.depth


def _rebuild(nodes, groups):
    """{id of a tensor: the one in its place}, with a layer for each group of members."""
    known, values = {}, {}
    merged = {id(member.node) for group in groups for member in group}
    inside = _inside_derivatives(nodes)
    for node in nodes:
        if id(node) not in merged:
            _run_again(node, known if id(node) in inside else ChainMap(known, values))
        for group in groups:
            if any(group[0].y is y for y in node.outputs):
                _merge(group, known, values)
    return {**values, **known}


def _inside_derivatives(nodes):
    """Derivatives and what they go through: these keep the value they have."""
    derivatives = [node for node in nodes if isinstance(node.operation, BetweenTensors)]
    inside = [node.operation.derivative.model.nodes for node in derivatives]
    return {id(node) for node in itertools.chain(derivatives, *inside)}


def _merge(group, known, values):
    roots = _roots(group)
    layer = Fused([member.config(roots) for member in group], len(roots))
    y, *wrt = [known.get(id(x), x) for x in (group[0].y, *roots)]
    value, *results = layer([y, *wrt, *layer.cut(y, wrt)])
    values[id(group[0].y)] = value
    for member, result in zip(group, results):
        known.update(zip(map(id, member.node.outputs), keras.tree.flatten(result)))


def _run_again(node, known):
    """Call an operation again if something that it is called on was replaced."""
    if not any(id(x) in known for x in node.input_tensors):
        return
    operation = node.operation
    if isinstance(operation, BetweenTensors):
        operation = type(operation).from_config(operation.get_config())
    args, kwargs = node.arguments.fill_in({id(x): known.get(id(x), x) for x in node.input_tensors})
    known.update(zip(map(id, node.outputs), keras.tree.flatten(operation(*args, **kwargs))))

"""Find the first layer of a model that fails a check, and what in it loses a derivative."""

from dataclasses import replace

import keras
import numpy as np

from keras_derivs import backend, graph
from keras_derivs.engine.reverse import passes
from keras_derivs.engine.target import Target
from keras_derivs.graph import private
from keras_derivs.verify.checks import run
from keras_derivs.verify.clock import OutOfTime
from keras_derivs.verify.parts import alone, recorded

SHARE = 0.5  # of the budget, granted even when the budget is spent
SUSPICIOUS = backend.LOST | backend.FLAT | backend.STOPPED | {"CustomGradient"}


def culprit(problem, name, check):
    """(the name of the first layer at fault, the operations in it that lose a derivative)."""
    clock = problem.clock.grant(SHARE * (problem.clock.budget or 0))
    problem = replace(problem, clock=clock, calls=None, directions=problem.pairs)
    try:
        found, inside = _search(problem, name, check)
    except OutOfTime:
        found, inside = problem, "; no time to look for the layer"
    layer = found.model
    words = f"'{layer.name}' (of type {type(layer).__name__}){inside}"
    return words, _operations(found)


def _search(problem, name, check):
    """(the problem of the first layer at fault, the layers around it in words)."""
    functional = private.functional(problem.model)
    nodes = graph.nodes_of(functional)
    deeper = _of_nodes(problem, functional, nodes, name, check) if nodes else None
    if deeper is None and not nodes:
        deeper = _of_calls(problem, name, check)
    if deeper is None:
        return problem, ""
    found, inside = _search(deeper, name, check)
    around = "" if found is deeper else f" in '{deeper.model.name}'"
    return found, inside + around


def _of_nodes(problem, functional, nodes, name, check):
    """The problem of the first node of a graph at fault, alone; `None` if no node shows it."""

    def fails(node):
        return _fails(lambda: _head(problem, functional, node.outputs[0]), name, check)

    start, stop = 0, len(nodes)
    narrow = [n for n in _narrow(nodes) if n < len(nodes) - 1]
    while narrow:  # what fails at a place that all goes through fails from there on
        middle = narrow[len(narrow) // 2]
        if fails(nodes[middle]):
            stop, narrow = middle + 1, [n for n in narrow if n < middle]
        else:
            start, narrow = middle + 1, [n for n in narrow if n > middle]
    node = next((node for node in nodes[start:stop] if fails(node)), None)
    return None if node is None else _node_alone(problem, functional, node)


def _narrow(nodes):
    """The numbers of nodes that everything after them gets its values from, and from no other."""
    made = {id(tensor): n for n, node in enumerate(nodes) for tensor in node.outputs}
    last_use = [n for n in range(len(nodes))]
    for n, node in enumerate(nodes):
        for tensor in node.input_tensors:
            source = made.get(id(tensor), -1)  # an input of the model
            if source >= 0:
                last_use[source] = max(last_use[source], n)
    given = max((n for n, node in enumerate(nodes)
                 for t in node.input_tensors if id(t) not in made), default=0)  # fmt: skip
    reach, found = given, []
    for n, node in enumerate(nodes):
        if reach <= n and len(node.outputs) == 1:
            found.append(n)
        reach = max(reach, last_use[n])
    return found


def _head(problem, functional, y):
    """The same problem for an intermediate result."""
    reached = [k for k in problem.wrt if graph.depends(y, functional.inputs[k])]
    if not reached or not keras.backend.is_float_dtype(y.dtype):
        raise ValueError("nothing to differentiate")
    head = keras.Model(private.tree_of_inputs(functional), y)
    return replace(problem, model=head, output=0, wrt=tuple(reached), calls=None)


def _node_alone(problem, functional, node):
    """The problem of what stands at a node, at what reaches it."""
    layer = node.operation
    before = keras.Model(private.tree_of_inputs(functional), node.input_tensors)
    given = keras.tree.pack_sequence_as(problem.structure, problem.inputs)
    with keras.StatelessScope():
        values = keras.tree.flatten(before(given, training=problem.training))
    structure = private.tree_of_inputs(layer)
    if structure is None:
        structure = values if len(values) > 1 else values[0]
    return _at(problem, layer, structure, values)


def _of_calls(problem, name, check):
    """The problem of the first layer at fault that a model without a graph calls."""
    if not isinstance(problem.model, keras.layers.Layer):
        return None
    layers = private.layers_of(problem.model, include_self=False)
    layers = [layer for layer in layers if type(layer).call is not keras.layers.Layer.call]
    given = keras.tree.pack_sequence_as(problem.structure, problem.inputs)
    for layer, args, kwargs in recorded(problem.model, given, layers):
        part, inputs = alone(layer, args, kwargs)
        found = _at(problem, part, inputs, keras.tree.flatten(inputs))
        if found.wrt and _fails(lambda part=found: part, name, check):
            return found
    return None


def _at(problem, layer, structure, values):
    values = [np.asarray(keras.ops.convert_to_numpy(x)) for x in values]
    wrt = tuple(k for k, x in enumerate(values) if np.issubdtype(x.dtype, np.floating))
    return replace(
        problem,
        model=layer,
        structure=structure,
        inputs=values,
        wrt=wrt,
        output=0,
        directions=None,
        calls=None,
    )


def _fails(make, name, check):
    try:
        found = run(name, check, make())
    except OutOfTime:
        raise
    except Exception:  # what cannot be cut out names nobody
        return False
    if found.status == "left out":
        raise OutOfTime
    return found.status == "FAILED"


def _operations(problem):
    """The types of operations on the way that have no derivative, or one written by hand."""
    tensors = [keras.ops.convert_to_tensor(x) for x in problem.inputs]
    masks = [None] * len(tensors)
    try:
        target = Target(problem.model, problem.structure, tensors, problem.wrt, problem.output,
                        problem.training, masks)  # fmt: skip
        run = lambda inputs: passes.run(target.given(inputs))  # noqa: E731
        traced = backend.traced(run, tensors, problem.wrt)
    except Exception:  # a symbolic operation, or code that cannot be traced
        return ()
    steps, inside, _ = traced or ([], [], 0)
    steps = [*steps, *(inside or [])]
    return tuple(
        dict.fromkeys(step.type for step in steps if step.type in SUSPICIOUS and step.on_the_way)
    )

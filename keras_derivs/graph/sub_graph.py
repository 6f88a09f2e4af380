"""Cut out what lies between two symbolic tensors of a Keras graph."""

import itertools
from dataclasses import dataclass

import keras
import numpy as np

from keras_derivs.graph import private, slices
from keras_derivs.graph.nodes import depends, describe, needs, producer
from keras_derivs.reloading import lasting


@lasting
@dataclass(frozen=True)
class Coordinates:
    """Entries of one input of a model: what a derivative is taken with respect to.

    `position` counts the model's inputs; `indices` are row-major positions of the entries in
    one sample of it (`None`: all of them), arranged in the per-sample `shape`.
    """

    position: int
    shape: tuple
    indices: np.ndarray | None = None


@lasting
class SubGraph(keras.layers.Layer):
    """The operations between `inputs` and `output`, as one layer that shares their weights.

    It is never loaded: a derivative between symbolic tensors is cut again from the loaded graph.
    """

    def __init__(self, inputs, output, nodes):
        super().__init__(autocast=False, name="sub_graph")
        self.inputs, self.outputs, self.nodes = inputs, [output], nodes
        operations = {id(node.operation): node.operation for node in nodes}
        self.layers = [
            operation
            for operation in operations.values()
            if isinstance(operation, keras.layers.Layer)
        ]
        self.supports_masking = True  # a mask goes to the layers inside and ends there
        self.built = True

    def compute_mask(self, inputs, previous_mask):
        return None

    def compute_output_spec(self, inputs, training=None):
        return self._run(inputs, training, lambda operation: operation.compute_output_spec)

    def call(self, inputs, training=None):
        return self._run(inputs, training, lambda operation: operation)

    def get_config(self):
        """Nothing of the graph: a copy of the layer around it is given the sub-graph itself."""
        return {"name": self.name}

    def _run(self, inputs, training, evaluate):
        values = {id(tensor): value for tensor, value in zip(self.inputs, inputs)}
        for node in self.nodes:
            args, kwargs = node.arguments.fill_in(values)
            if training is not None and "training" in kwargs:  # as in a functional model
                kwargs["training"] = training
            outputs = evaluate(node.operation)(*args, **kwargs)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(outputs)))
        return values[id(self.outputs[0])]


def cut(y, wrt, batch_dims=1):
    """The sub-graph from the tensors `wrt` to `y`.

    What does not depend on `wrt` enters as further inputs of the sub-graph. A slice of a tensor
    that `y` was computed from stands for the matching entries of the whole tensor.

    With `batch_dims=2` the second axis of a tensor of three is one of rows, too.

    Returns `(sub_graph, coordinates)`, one `Coordinates` for each tensor in `wrt`.
    """
    sources = [slices.source(x, y, batch_dims) for x in wrt]
    roots = list({id(root): root for root, _ in sources}.values())
    for x, root in itertools.permutations(roots, 2):
        if x is not root and depends(x, root):
            raise ValueError(
                f"One request needs tensors that are independent of each other. Received: "
                f"{describe(x)}, which is computed from {describe(root)}. Ask for one "
                f"derivative at a time."
            )
    nodes, dependent = _between(y, roots)
    if id(y) not in dependent or any(not depends(y, root) for root in roots):
        raise ValueError(_independence(y, [x for x, root in zip(wrt, roots)], wrt))
    extras = {
        id(tensor): tensor
        for node in nodes
        for tensor in needs(node)
        if id(tensor) not in dependent
    }
    inputs = roots + list(extras.values())
    position = {id(root): index for index, root in enumerate(roots)}
    coordinates = [
        Coordinates(position[id(root)], slices.shape_of_row(x, root, batch_dims), indices)
        for x, (root, indices) in zip(wrt, sources)
    ]
    return SubGraph(inputs, y, nodes), coordinates


def _between(y, roots):
    """The nodes from `roots` to `y`, in order, and the ids of the tensors that depend on them."""
    dependent = {id(root) for root in roots}
    nodes, done, waiting = [], set(), [y]
    while waiting:
        tensor = waiting[-1]
        node = producer(tensor)
        if id(tensor) in dependent or node is None or node in done:
            waiting.pop()
            continue
        missing = [t for t in needs(node) if _unknown(t, dependent, done)]
        if missing:
            waiting.extend(missing)
            continue
        waiting.pop()
        done.add(node)
        if any(id(t) in dependent for t in needs(node)):
            nodes.append(node)
            dependent.update(id(t) for t in node.outputs)
    return nodes, dependent


def _unknown(tensor, dependent, done):
    node = producer(tensor)
    return id(tensor) not in dependent and node is not None and node not in done


def _independence(y, roots, wrt):
    lost = next((x for x in wrt if not depends(y, x)), wrt[0])
    return (
        f"A derivative needs a `y` that is computed from `x`. Received: y = {describe(y)} and "
        f"x = {describe(lost)}, with no path between them (nor from a tensor that `x` is a slice "
        f"of). Differentiate with respect to a tensor that `y` was computed from."
    )


def used_elsewhere(model):
    """Whether layers of `model` also stand in a graph outside of it."""
    layers = [model, *private.layers_of(model, include_self=False)]
    inside = set()
    for layer in layers:
        inside.update(nodes_of(layer))
        inside.update(nodes_of(private.functional(layer)))
        if isinstance(layer, keras.Sequential):
            inside.update(_earlier_nodes(layer))
    return any(
        node not in inside for layer in layers if layer.weights for node in private.uses_of(layer)
    )


def _earlier_nodes(sequential):
    """What `Sequential.add` leaves behind: nodes between its own layers that lead nowhere else."""
    own = private.added_to(sequential)
    return [
        node
        for layer in own
        for node in private.uses_of(layer)
        if all(private.source_of(x).operation in own for x in node.input_tensors)
        and all(consumer.operation in own for consumer in _consumers(node))
    ]


def _consumers(node):
    made = set(map(id, node.outputs))
    following = private.users_of(node.operation)
    return [other for other in following if made & set(map(id, other.input_tensors))]


def nodes_of(model):
    """The nodes of a functional model or sub-graph in the order of computation."""
    if isinstance(model, SubGraph):
        return model.nodes
    return [node for node in private.nodes_of(model) if not node.is_input]

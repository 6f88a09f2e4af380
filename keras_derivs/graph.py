"""Cut out what lies between two symbolic tensors of a Keras graph."""

import itertools
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

SLICING = ("GetItem", "Slice", "Split", "Take", "Unstack")  # the names of Keras operations


@dataclass(frozen=True)
class Coordinates:
    """Entries of one input of a model: what a derivative is taken with respect to.

    `position` counts the model's inputs; `indices` are row-major positions of the entries in
    one sample of it (`None`: all of them), arranged in the per-sample `shape`.
    """

    position: int
    shape: tuple
    indices: np.ndarray | None = None


class SubGraph(keras.layers.Layer):
    """The operations between `inputs` and `output`, as one layer that shares their weights.

    It is never saved: a derivative between symbolic tensors is cut again from the loaded graph.
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
        return self._run(inputs, lambda operation: operation.compute_output_spec)

    def call(self, inputs, training=None):
        return self._run(inputs, lambda operation: operation)

    def _run(self, inputs, evaluate):
        values = {id(tensor): value for tensor, value in zip(self.inputs, inputs)}
        for node in self.nodes:
            args, kwargs = node.arguments.fill_in(values)
            outputs = evaluate(node.operation)(*args, **kwargs)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(outputs)))
        return values[id(self.outputs[0])]


def cut(y, wrt):
    """The sub-graph from the tensors `wrt` to `y`.

    What does not depend on `wrt` enters as further inputs of the sub-graph. A slice of a tensor
    that `y` was computed from stands for the matching entries of the whole tensor.

    Returns `(sub_graph, coordinates)`, one `Coordinates` for each tensor in `wrt`.
    """
    sources = [_source(x, y) for x in wrt]
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
        Coordinates(position[id(root)], tuple(x.shape[1:]), indices)
        for x, (root, indices) in zip(wrt, sources)
    ]
    return SubGraph(inputs, y, nodes), coordinates


def needs(node):
    """The tensors that a node computes with; a derivative does not compute with its `y`."""
    return node.input_tensors[getattr(node.operation, "num_structural", 0) :]


def producer(tensor):
    """The node that made a symbolic tensor; `None` for an input."""
    operation, index, _ = tensor._keras_history
    node = operation._inbound_nodes[index] if operation is not None else None
    return None if node is None or node.is_input else node


def depends(y, x, blocked=()):
    """Whether `y` is computed from `x` on a path that avoids the `blocked` tensors."""
    seen, waiting = {id(tensor) for tensor in blocked}, [y]
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        if tensor is x:
            return True
        seen.add(id(tensor))
        node = producer(tensor)
        waiting.extend(needs(node) if node is not None else ())
    return False


def describe(tensor):
    """A symbolic tensor in an error message: its name, its shape and what made it."""
    made_by = tensor._keras_history.operation
    return f"'{tensor.name}' of shape {tuple(tensor.shape)} (made by '{made_by.name}')"


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


def _source(x, y):
    """The tensor to differentiate for `x`, and the indices of `x` in it (`None`: `x` itself).

    `x` may be selected from a tensor that `y` is computed from on other ways, as in
    `t, x = tx[:, :1], tx[:, 1:]; u = net(tx)`. Every such way counts.
    """
    reached = depends(y, x)
    chain = selections(x)
    for child, root in reversed(list(itertools.pairwise(chain))):
        if depends(y, root, blocked=(child,)):
            steps = chain[: chain.index(root) + 1]
            indices, apart = selected(steps), reached and not _is_slice(steps)
            if indices is not None and not (apart and _sizes_agree(x, root)):
                return root, indices
    return x, None


def selections(x, ends=lambda node: False):
    """`x`, what it may be selected from, what that may be selected from, …"""
    chain = [x]
    while (node := producer(chain[-1])) is not None and _may_select(node) and not ends(node):
        chain.append(needs(node)[0])
    return chain


def _may_select(node):
    return len(needs(node)) == 1 and not getattr(node.operation, "weights", None)


def _is_slice(chain):
    """Whether a step slices, be it all there is (`x[:, 0:1]` of one column), not reshapes."""
    return any(type(producer(x).operation).__name__ in SLICING for x in chain[:-1])


def _sizes_agree(x, root):
    return np.prod(_known(x)) == np.prod(_known(root))


def _known(tensor, unknown=3):
    return [unknown if size is None else size for size in tensor.shape[1:]]


def selected(chain):
    """The indices of `chain[0]` in `chain[-1]` if every step only selects, else `None`.

    Found by running the steps on numbers that are all different; their negatives and a
    permutation tell a selection from a maximum or a sort.
    """
    x, root = chain[0], chain[-1]
    shape = (1, *_known(root))
    numbers = np.random.default_rng(0).permutation(np.prod(shape)) + 1.0
    found = [
        _positions(chain, probe.reshape(shape)) for probe in (numbers, -numbers, numbers[::-1])
    ]
    if any(indices is None or not np.array_equal(indices, found[0]) for indices in found):
        return None
    if None in root.shape[1:]:
        raise ValueError(
            f"A derivative with respect to a slice needs a tensor whose axes are known. Received: "
            f"{describe(x)}, selected from {describe(root)}. Differentiate with respect to the "
            f"whole tensor and slice the result."
        )
    return found[0]


def _positions(chain, probe):
    values = {id(chain[-1]): ops.convert_to_tensor(probe, dtype=chain[-1].dtype)}
    try:
        for tensor in reversed(chain[:-1]):
            node = producer(tensor)
            args, kwargs = node.arguments.fill_in(values)
            outputs = keras.tree.flatten(node.operation(*args, **kwargs))
            values.update(zip(map(id, node.outputs), outputs))
        selected = ops.convert_to_numpy(values[id(chain[0])])
    except Exception:  # an operation that cannot run on a probe does not merely select
        return None
    where = {number: index for index, number in enumerate(probe.reshape(-1).tolist())}
    indices = [where.get(number) for number in selected.reshape(-1).tolist()]
    return None if None in indices else np.asarray(indices)


def _independence(y, roots, wrt):
    lost = next((x for x in wrt if not depends(y, x)), wrt[0])
    return (
        f"A derivative needs a `y` that is computed from `x`. Received: y = {describe(y)} and "
        f"x = {describe(lost)}, with no path between them (nor from a tensor that `x` is a slice "
        f"of). Differentiate with respect to a tensor that `y` was computed from."
    )


def used_elsewhere(model):
    """Whether layers of `model` also stand in a graph outside of it."""
    layers = [model, *model._flatten_layers(include_self=False)]
    inside = set()
    for layer in layers:
        inside.update(nodes_of(layer))
        inside.update(nodes_of(getattr(layer, "_functional", None)))
    return any(
        node not in inside for layer in layers if layer.weights for node in layer._inbound_nodes
    )


def nodes_of(model):
    """The nodes of a functional model or sub-graph in the order of computation."""
    if isinstance(model, SubGraph):
        return model.nodes
    by_depth = getattr(model, "_nodes_by_depth", None) or {}
    depths = sorted(by_depth, reverse=True)
    return [node for depth in depths for node in by_depth[depth] if not node.is_input]

"""Steps through a symbolic Keras graph: what made a tensor, and what it depends on."""

import keras

from keras_derivs.graph import private


def needs(node):
    """The tensors that a node computes with; a derivative does not compute with its `y`."""
    return node.input_tensors[getattr(node.operation, "num_structural", 0) :]


def producer(tensor):
    """The node that made a symbolic tensor; `None` for an input."""
    operation, index, _ = private.source_of(tensor)
    node = private.uses_of(operation)[index] if operation is not None else None
    return None if node is None or node.is_input else node


def consumers(tensor):
    """The nodes that a symbolic tensor goes into."""
    return [
        node
        for node in private.users_of(private.source_of(tensor).operation)
        if any(given is tensor for given in node.input_tensors)
    ]


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
    made_by = private.source_of(tensor).operation
    return f"'{tensor.name}' of shape {tuple(tensor.shape)} (made by '{made_by.name}')"


def is_derivative(operation):
    """Whether it is a derivative layer, or one between tensors."""
    return getattr(type(operation), "is_derivative", False) is True


def operation_name(node):
    """The class of an operation of Keras; `None` for others, and for an input."""
    kind = None if node is None else type(node.operation)
    return kind.__name__ if kind and kind.__module__.split(".")[0] == "keras" else None


def variables(node):
    """Whether an operation is called on variables, which change with time."""
    if node is None:
        return False
    flat = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return any(isinstance(x, keras.Variable) or hasattr(x, "assign") for x in flat)

"""Names of symbolic tensors: what a user called one, and how a result gets a name of its own.

Keras calls a model's outputs by the operations that made them.
"""

import re

from keras_derivs.graph import private, slices
from keras_derivs.graph.nodes import consumers, producer


def named(tensor, name):
    """The tensor as the result of an operation of that name, which does nothing else."""
    return private.numpy.Copy(name=name)(tensor)


def given_name(tensor):
    """What a user called the operation that made a tensor; `None` if Keras chose the name."""
    operation = private.source_of(tensor).operation
    if operation is None:
        return None
    chosen = rf"({private.to_snake_case(type(operation).__name__)}|keras_tensor|functional)(_\d+)?"
    return None if re.fullmatch(chosen, operation.name) else operation.name


def speaking_name(y, coordinates, batch_dims=1):
    """`u_xx` for the derivative of u by x and x; `None` where one of them has no name."""
    names = [_name(tensor, batch_dims) for tensor in (y, *coordinates)]
    if None in names:
        return None
    own, *by = names
    return "_".join([own, "".join(by) if all(len(name) == 1 for name in by) else "_".join(by)])


def _name(tensor, batch_dims):
    """What a user called a tensor; `tx1` for entry 1 of what was called `tx`."""
    whole = slices.whole(tensor, lambda x: given_name(x) is not None)
    own = whole is not None and given_name(whole)
    if not own or whole is tensor:
        return own or None
    entry = slices.entry(tensor, whole, batch_dims)
    return None if entry is None else own + "_".join(map(str, entry))


def free(name, tensor, sideways=False):
    """The name, or one with a number where an operation that `tensor` needs has it already.

    With `sideways`, where any operation of the same graph has it.
    """
    taken = _names(tensor, sideways)
    number = 0
    while (f"{name}_{number}" if number else name) in taken:
        number += 1
    return f"{name}_{number}" if number else name


def _names(tensor, sideways):
    """The names of all operations that a tensor is computed by, and with `sideways` of others."""
    names, seen, waiting = set(), set(), [tensor]
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        names.add(private.source_of(tensor).operation.name)
        node = producer(tensor)
        waiting.extend(node.input_tensors if node is not None else ())
        if sideways:
            waiting.extend(y for other in consumers(tensor) for y in other.outputs)
    return names

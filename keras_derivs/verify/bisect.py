"""Find the first layer of a model that fails a check."""

from dataclasses import replace

import keras

from keras_derivs import graph
from keras_derivs.verify.checks import run


def culprit(problem, name, check):
    """The name of the first layer at fault; that of the model where its graph is not known."""
    functional = getattr(problem.model, "_functional", None) or problem.model
    for node in graph.nodes_of(functional):
        try:
            fails = run(name, check, _head(problem, functional, node.outputs[0])).status == "FAILED"
        except Exception:  # what cannot be cut out names nobody
            continue
        if fails:
            return _inside(problem, functional, node, name, check)
    model = problem.model
    return f"'{model.name}' (of type {type(model).__name__})"


def _head(problem, functional, y):
    """The same problem for an intermediate result."""
    reached = [k for k in problem.wrt if graph.depends(y, functional.inputs[k])]
    if not reached or not keras.backend.is_float_dtype(y.dtype):
        raise ValueError("nothing to differentiate")
    head = keras.Model(functional._inputs_struct, y)
    return replace(problem, model=head, output=0, wrt=tuple(reached))


def _inside(problem, functional, node, name, check):
    """The layer of a node, or the layer at fault inside of it."""
    layer = node.operation
    inner = getattr(layer, "_functional", None) or layer
    if not graph.nodes_of(inner):
        return f"'{layer.name}' (of type {type(layer).__name__})"
    before = keras.Model(functional._inputs_struct, node.input_tensors)
    given = keras.tree.pack_sequence_as(problem.structure, problem.inputs)
    values = keras.tree.flatten(before(given, training=problem.training))
    values = [keras.ops.convert_to_numpy(x) for x in values]
    wrt = tuple(k for k, x in enumerate(values) if keras.backend.is_float_dtype(x.dtype.name))
    deeper = replace(
        problem, model=layer, structure=inner._inputs_struct, inputs=values, wrt=wrt, output=0
    )
    return f"{culprit(deeper, name, check)} in '{layer.name}'"

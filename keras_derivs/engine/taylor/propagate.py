"""Run a Keras model on polynomials: walk its graph, and apply the rule of each operation."""

import contextlib
import inspect

import keras
from keras import ops

from keras_derivs.engine.taylor import symbols
from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.engine.taylor.rules import (
    UnsupportedOperation,
    find,
    polynomials,
    unsupported,
    unsupported_function,
    values,
)
from keras_derivs.engine.taylor.scope import scope
from keras_derivs.graph import SubGraph, is_derivative, nodes_of, private


def apply(operation, *args, **kwargs):
    """What an operation returns for polynomials and tensors."""
    with _naming(operation):
        _check_arguments(operation, args, kwargs)
        if not polynomials((args, kwargs)):
            return _run(operation, args, kwargs)
        return _propagate(operation, args, kwargs)


symbols.install(apply)


def apply_output(model, inputs, output):
    """One of the flat outputs of a model; of its graph, only what leads there is run."""
    with scope(model):
        if find(model) is not None or not _has_graph(model):
            return keras.tree.flatten(apply(model, inputs))[output]
        with _naming(model):
            (inputs,), _ = _check_layer(model, (inputs,), {})
            return _run_graph(model, inputs, lambda outputs: [outputs[output]])[0]


@contextlib.contextmanager
def _naming(operation):
    """Whatever fails on polynomials is an operation that does not support them."""
    try:
        yield
    except UnsupportedOperation as error:
        inner = isinstance(operation, keras.layers.Layer) and not _has_graph(operation)
        raise (error.within(operation) if inner else error) from error.__cause__
    except Exception as error:
        raise unsupported(operation, error=error) from error


def _check_arguments(operation, args, kwargs):
    """Every tensor must have a value, and all infinitesimals must be of one pass."""
    leaves = keras.tree.flatten((args, kwargs))
    if any(keras.backend.is_keras_tensor(x) for x in leaves):
        raise unsupported(operation, "is called on a symbolic tensor from outside of the model")
    options = [] if isinstance(operation, keras.layers.Layer) else list(vars(operation).values())
    if any(keras.backend.is_keras_tensor(x) for x in keras.tree.flatten(options)):
        raise unsupported(operation, "has an option that depends on the input")
    if len({id(x.space) for x in leaves if isinstance(x, Polynomial)}) > 1:
        raise unsupported(operation, "mixes tensors of two passes through a model")


def _run(operation, args, kwargs):
    """An operation that no infinitesimal reaches, in inference mode."""
    functions = [x for x in keras.tree.flatten((args, kwargs)) if inspect.isroutine(x)]
    if functions and not isinstance(operation, keras.layers.Layer):
        raise unsupported(operation, "takes functions, which may depend on the input")
    if getattr(operation, "_call_has_training_arg", False):
        kwargs = {**kwargs, "training": False}
    outputs = operation(*args, **kwargs)
    leaves = keras.tree.flatten(outputs)
    if any(keras.backend.is_keras_tensor(y) for y in leaves):
        raise unsupported(operation, "returns a symbolic tensor")
    if any(getattr(y, "_keras_mask", None) is not None for y in leaves):
        raise unsupported(operation, "makes a mask")
    return outputs


def _propagate(operation, args, kwargs):
    if isinstance(operation, keras.layers.Layer):
        args, kwargs = _check_layer(operation, args, kwargs)
        if not operation.built:  # it was made in the `call` of another
            operation(*values(args), **values(kwargs))
    else:
        args, kwargs = _promote((args, kwargs))
    rule = find(operation)
    if rule is not None:
        return rule(operation, *args, **kwargs)
    if _has_graph(operation):
        outputs = _run_graph(operation, args[0])
        return keras.tree.pack_sequence_as(_structure(operation), outputs)
    if isinstance(operation, keras.layers.Layer):
        return call_layer(operation, args, kwargs)
    raise unsupported(operation)


def _promote(arguments):
    """Polynomials in the dtype that Keras computes in beside a float64 of numpy, for example."""
    dtypes = {
        keras.backend.standardize_dtype(x.dtype)
        for x in keras.tree.flatten(arguments)
        if hasattr(x, "dtype")
    }
    dtypes = [dtype for dtype in dtypes if keras.backend.is_float_dtype(dtype)]
    if len(dtypes) < 2:
        return arguments
    widest = keras.backend.result_type(*dtypes)
    return keras.tree.map_structure(lambda x: _cast(x, widest), arguments)


def _check_layer(layer, args, kwargs):
    """The arguments as the layer's own `__call__` would hand them on."""
    own_dtype = private.own_dtype(layer)
    if own_dtype not in (None, layer.variable_dtype):
        raise unsupported(layer, f"computes in {own_dtype} with weights of {layer.variable_dtype}")
    if _makes_mask(layer, args):
        raise unsupported(layer, "makes a mask")
    if is_derivative(layer):
        raise unsupported(layer, "is a derivative itself")
    if getattr(layer, "quantization_mode", None) is not None:
        raise unsupported(layer, "is quantized")
    kwargs = {key: value for key, value in kwargs.items() if key != "training"}
    if polynomials(kwargs):
        bound = inspect.signature(layer.call).bind(*args, **kwargs)
        args, kwargs = bound.args, bound.kwargs
    if own_dtype is not None:
        args, kwargs = keras.tree.map_structure(lambda x: _cast(x, own_dtype), (args, kwargs))
    return args, kwargs


def _makes_mask(layer, args):
    if type(layer).compute_mask is keras.layers.Layer.compute_mask:
        return False
    given = args[0].value if isinstance(args[0], Polynomial) else args[0]
    try:
        mask = layer.compute_mask(given, None)
    except Exception:  # of layers that take several masks, and hand them on
        return False
    return any(part is not None for part in keras.tree.flatten(mask))


def _cast(x, dtype):
    known = isinstance(x, Polynomial) or ops.is_tensor(x)
    if not known or x.dtype == dtype or not keras.backend.is_float_dtype(x.dtype):
        return x
    return x.each(lambda c: ops.cast(c, dtype)) if isinstance(x, Polynomial) else ops.cast(x, dtype)


def _has_graph(operation):
    """Whether a layer does nothing but run its graph of operations."""
    own = type(operation).call
    return own in (private.Functional.call, private.Sequential.call, SubGraph.call)


def _run_graph(model, inputs, choose=list):
    """The flat outputs of a model, or those that `choose` takes of them."""
    if isinstance(model, private.Sequential):
        model = private.functional(model)
        if not private.is_functional(model):
            raise unsupported(model, "is not built")
    flat = keras.tree.flatten(inputs)
    if len(flat) != len(model.inputs):
        raise unsupported(model, f"needs {len(model.inputs)} inputs and got {len(flat)}")
    flat = [_standardize(model, x, spec) for x, spec in zip(flat, model.inputs)]
    outputs = choose(model.outputs)
    return run_nodes(_leading_to(outputs, nodes_of(model)), model.inputs, flat, outputs)


def _leading_to(outputs, nodes):
    """The nodes that `outputs` depend on."""
    needed, kept = set(map(id, outputs)), []
    for node in reversed(nodes):
        if needed & set(map(id, node.outputs)):
            kept.append(node)
            needed |= set(map(id, node.input_tensors))
    return kept[::-1]


def _standardize(model, x, spec):
    if len(x.shape) != len(spec.shape):
        raise unsupported(model, f"needs an input of {len(spec.shape)} axes")
    if not model.autocast:
        return x
    return _cast(x, keras.backend.standardize_dtype(spec.dtype))


def _structure(model):
    model = private.functional(model)
    return model.outputs[0] if isinstance(model, SubGraph) else private.tree_of_outputs(model)


def run_nodes(nodes, inputs, values, outputs):
    """The values of the symbolic `outputs` where the symbolic `inputs` have `values`."""
    known = {id(tensor): value for tensor, value in zip(inputs, values)}
    for node in nodes:
        args, kwargs = node.arguments.fill_in(known)
        results = keras.tree.flatten(apply(node.operation, *args, **kwargs))
        known.update(zip(map(id, node.outputs), results))
    return [known[id(tensor)] for tensor in outputs]


def call_layer(layer, args, kwargs):
    """A layer without a rule, by its own `call`; what its activation refuses is named so."""
    try:
        return _called(layer.call, args, kwargs)
    except UnsupportedOperation:
        raise
    except Exception as error:
        activation, given = getattr(layer, "activation", None), polynomials((args, kwargs))[0]
        if callable(activation) and not isinstance(activation, keras.layers.Layer):
            call(activation, given)  # raises, and names it, if it is at fault
        raise error


def call(function, *args, **kwargs):
    """What a function written in `keras.ops` returns for polynomials and tensors."""
    try:
        return _called(function, args, kwargs)
    except UnsupportedOperation:
        raise
    except Exception as error:
        raise unsupported_function(function, error) from error


def _called(function, args, kwargs):
    if "training" in inspect.signature(function).parameters:
        kwargs = {**kwargs, "training": False}
    args, kwargs = symbols.wrap((args, kwargs))
    outputs = symbols.unwrap(function(*args, **kwargs))
    if any(keras.backend.is_keras_tensor(y) for y in keras.tree.flatten(outputs)):
        raise ValueError("a symbolic tensor from outside of the model is returned")
    return outputs

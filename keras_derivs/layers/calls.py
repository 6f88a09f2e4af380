"""What a derivative layer is called on: check it before a model meets it."""

import contextlib
import difflib
import inspect
import threading

import keras

from keras_derivs import limits
from keras_derivs.graph import nodes, private

_active = threading.local()
OF_KERAS = ("name", "dtype", "trainable", "autocast", "activity_regularizer")


def check_arguments(layer, given):
    """Raise for an unknown keyword argument, naming the one that may have been meant."""
    unknown = [name for name in given if name not in OF_KERAS]
    if unknown:
        known = [*_own(layer), *OF_KERAS]
        close = difflib.get_close_matches(str(unknown[0]), known, 1)
        hint = f"Did you mean `{close[0]}`?" if close else f"It takes {', '.join(known)}."
        raise TypeError(
            f"`{layer.__name__}` needs arguments that it knows. Received: "
            f"`{unknown[0]}={limits.shown(given[unknown[0]])}`. {hint}"
        )


def _own(layer):
    ours = [part for part in layer.__mro__ if part.__module__.startswith(__package__)]
    signatures = [inspect.signature(part.__init__).parameters for part in ours]
    names = dict.fromkeys(name for parameters in signatures for name in parameters)
    return [name for name in names if name not in ("self", "kwargs")]


def check_tensors(args, kwargs, layer):
    """Raise unless a layer is called on one argument, of tensors or arrays."""
    args = [*args, *(kwargs[name] for name in kwargs if name == "inputs")]
    if len(args) != 1:
        raise TypeError(
            f"'{layer.name}' needs one argument, as the model it wraps. Received: {len(args)}. "
            f"Put several tensors into a list; a mask is given as `mask=`."
        )
    for x in keras.tree.flatten(args):
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            raise TypeError(
                f"'{layer.name}' needs tensors or arrays. Received: {limits.shown(x)} (of type "
                f"{type(x).__name__}). Put numbers into an array, such as "
                f"`numpy.array([[1.0, 2.0]])`."
            )


@contextlib.contextmanager
def not_inside_itself(layer):
    """Raise where the model that a layer differentiates calls that layer again."""
    outer = getattr(_active, "layers", ())
    if any(layer is other for other in outer):
        raise ValueError(
            f"'{layer.name}' needs a model that can be computed without it. Received: "
            f"'{layer.model.name}', whose `call` calls '{layer.name}', the derivative of all that "
            f"it returns. Put what is differentiated into a model of its own, and differentiate "
            f"that one."
        )
    _active.layers = (*outer, layer)
    try:
        yield
    finally:
        _active.layers = outer


def check_shapes(inputs, model, owner):
    """Raise where inputs have not the shapes that the model was made for."""
    flat = keras.tree.flatten(inputs)
    expected, _ = _graph_of(model, inputs)
    if expected is None:
        _check_number(flat, model, owner)
        return
    if not all(_fits(tuple(x.shape)[1:], spec.shape[1:]) for x, spec in zip(flat, expected)):
        raise ValueError(
            f"'{owner}' needs inputs of the shapes {[tuple(x.shape) for x in expected]}, which "
            f"'{model.name}' was made for. Received: {[tuple(x.shape) for x in flat]}. Give "
            f"every sample the shape of an input."
        )


def _check_number(flat, model, owner):
    names = [x.name for x in getattr(model, "inputs", None) or []]
    if isinstance(model, keras.Model) and names and len(flat) != len(names):
        raise ValueError(
            f"'{owner}' needs {len(names)} inputs for '{model.name}': {names}. Received: "
            f"{len(flat)} tensors. Call it on what the model is called on."
        )


def _graph_of(model, inputs):
    """The inputs and outputs of a functional model in the order of `inputs`, or `(None, None)`."""
    model = private.functional(model)
    if not type(model).__module__.startswith("keras.") or not private.is_functional(model):
        return None, None
    try:
        keras.tree.assert_same_structure(inputs, private.tree_of_inputs(model))
    except (ValueError, TypeError):
        return None, None
    return model.inputs, model.outputs


def _fits(shape, spec):
    """Keras adds or drops a last axis of one."""
    shorter, longer = sorted((shape, tuple(spec)), key=len)
    if len(longer) == len(shorter) + 1 and longer[-1] in (1, None):
        longer = longer[:-1]
    same = len(shorter) == len(longer)
    return same and all(None in (m, n) or m == n for m, n in zip(shorter, longer))


def check_dependence(model, inputs, output, wrt, owner):
    """Raise where the graph of a model tells that an output is not computed from an input."""
    given, outputs = _graph_of(model, inputs)
    if given is None:
        return
    y = outputs[output]
    for x in (given[position] for position in wrt):
        if not nodes.depends(y, x):
            raise ValueError(
                f"'{owner}' needs an output that is computed from the input. Received: y = "
                f"{nodes.describe(y)} and x = {nodes.describe(x)} of '{model.name}', with no path "
                f"between them. Choose other inputs with `wrt=`, or another output with `output=`."
            )


def quantised(model):
    """A sentence on layers of the model whose gradient is an estimate of Keras."""
    modes = {
        layer.name: mode
        for layer in private.layers_of(model)
        if (mode := getattr(layer, "quantization_mode", None)) in ("int8", "int4")
    }
    if not modes:
        return []
    places = ", ".join(f"'{name}' ({mode})" for name, mode in modes.items())
    return [
        f"Quantised layers: {places}. Their derivative is Keras's straight-through estimate, which "
        f"takes rounding for the identity. Differentiate the model before `quantize` for the "
        f"derivative of its float weights."
    ]


def check_quantised(model, owner):
    """Raise for a quantisation whose gradient Keras computes in training only."""
    layers = private.layers_of(model)
    found = [x.name for x in layers if getattr(x, "quantization_mode", None) == "float8"]
    if found:
        raise ValueError(
            f"'{owner}' needs layers whose gradient Keras knows outside of training. Received: "
            f"'{model.name}' with {found} quantised to float8. Differentiate the model before "
            f"`quantize`, or quantise it to int8."
        )


def check_dense(tensor, owner):
    if _declared_sparse(tensor) or type(tensor).__name__ in ("SparseTensor", "RaggedTensor"):
        raise TypeError(
            f"'{owner}' needs dense inputs. Received: a sparse or ragged tensor of shape "
            f"{tuple(tensor.shape)}. Convert it to a dense one."
        )


def _declared_sparse(tensor):
    """Of an input: Keras marks what operations return too, wrongly for a number times a tensor."""
    history = private.source_of(tensor)
    if history is not None and not isinstance(history.operation, keras.layers.InputLayer):
        return False
    return getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False)


def check_differentiable(tensor, role, name, owner):
    """A float tensor with a batch axis, or an error."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise TypeError(
            f"'{owner}' needs an {role} of a float dtype. Received: {role} '{name}' of shape "
            f"{tuple(tensor.shape)} and dtype {dtype}. Differentiate a float {role}; for token "
            f"ids, differentiate with respect to the embedding's output."
        )
    if len(tensor.shape) == 0:
        raise ValueError(
            f"'{owner}' needs an {role} with a batch axis. Received: {role} '{name}' of shape (). "
            f"A derivative is per sample: give it the shape (batch, …)."
        )
    if 0 in tensor.shape[1:]:
        raise ValueError(
            f"'{owner}' needs an {role} with at least one entry per sample. Received: {role} "
            f"'{name}' of shape {tuple(tensor.shape)}. Leave it out: there is nothing to derive."
        )


def check_batches(flat, declared, owner, own_rows=()):
    """The inputs of one call have as many rows, save those that a model declares to have one.

    Those at the positions `own_rows` have rows of their own.
    """
    pairs = [pair for n, pair in enumerate(zip(flat, declared)) if n not in own_rows]
    sizes = [x.shape[0] for x, spec in pairs if spec.shape[0] != 1 and x.shape[0] is not None]
    if any(size != sizes[0] for size in sizes):  # one of PyTorch may be a symbol, without a hash
        raise ValueError(
            f"'{owner}' needs inputs with the same number of rows. Received: shapes "
            f"{[tuple(x.shape) for x in flat]}. Repeat what is the same for all rows."
        )


def check_rows(y, x, model):
    """A derivative is per sample: the output has the rows of the input."""
    rows, given = y.shape[0], x.shape[0]
    if rows != given and rows is not None and (given is not None or rows == 1):
        raise ValueError(
            f"A derivative is per sample: it needs an output with one row for each row of the "
            f"input. Received: '{model.name}', which returns shape {tuple(y.shape)} for an input "
            f"of shape {tuple(x.shape)}. Keep the batch axis in front: reduce, or reshape, the "
            f"other axes."
        )


def check_real(tensor, owner):
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "float" not in dtype and "int" not in dtype:
        raise TypeError(
            f"'{owner}' needs v of real numbers. Received: a tensor of shape "
            f"{tuple(tensor.shape)} and dtype {dtype}. Convert it to a float dtype."
        )

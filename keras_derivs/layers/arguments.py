"""Arguments of derivative layers: check them, resolve names, say what is wrong."""

import difflib
import math
import numbers
import sys
import warnings

import keras
import numpy as np

from keras_derivs import limits
from keras_derivs.engine import choose
from keras_derivs.graph import Coordinates, SubGraph, private
from keras_derivs.layers import precision, selection

HALF = ("float16", "bfloat16")


def check_model(model, layer):
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(
            f"`{layer}` needs a `keras.Model` or a `keras.layers.Layer`. Received: "
            f"{limits.shown(model)} (of type {type(model).__name__}). Put a function into a "
            f"layer's `call`; between symbolic tensors use the lower-case function."
        )
    depth = 1 + max((getattr(inner, "depth", 0) for inner in private.layers_of(model)), default=0)
    limits.check(depth, limits.MAX_NESTED, layer, "derivatives of derivatives")
    return depth


def check_strategy(strategy):
    if not isinstance(strategy, str) or strategy not in choose.NAMES:
        word = strategy.lower()[:20] if isinstance(strategy, str) else ""
        close = difflib.get_close_matches(word, choose.NAMES, 1)
        hint = f"Did you mean {close[0]!r}?" if close else "Use 'auto' to let the package choose."
        raise ValueError(
            f"`strategy=` needs one of {choose.NAMES}. Received: {limits.shown(strategy)}. {hint}"
        )
    return strategy


def check_count(count, name, most=limits.MAX_INTEGER):
    """A positive number of things, at most `most`, or `None`."""
    whole = isinstance(count, numbers.Integral) and not isinstance(count, bool)
    if count is not None and not (whole and count > 0):
        raise ValueError(
            f"`{name}=` needs a positive integer or None. Received: {limits.shown(count)}. Leave "
            f"it out for the exact result in the fastest setting."
        )
    if count is None:
        return None
    limits.check(count, most, f"{name}=", "of them")
    return int(count)


def check_seed(seed):
    """The seed of a random generator, or `None` for one that differs each time."""
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
    if seed is not None and not (whole and -(2**31) <= seed < 2**32):
        raise ValueError(
            f"`seed=` needs an integer of 32 bits or None. Received: {limits.shown(seed)}. Leave "
            f"it out for other numbers in every run."
        )
    return None if seed is None else int(seed)


def generator(seed):
    """A generator of random numbers, which not every framework has for every seed."""
    try:
        return keras.random.SeedGenerator(seed)
    except (OverflowError, RuntimeError):
        raise ValueError(
            f"`seed=` needs an integer below 2^31 on this backend. Received: {seed}. Give a "
            f"smaller one."
        ) from None


def check_flag(flag, name):
    if not isinstance(flag, (bool, np.bool_)):
        raise TypeError(
            f"`{name}=` needs True or False. Received: {limits.shown(flag)} (of type "
            f"{type(flag).__name__}). Give one of the two."
        )
    return bool(flag)


def check_training(training):
    if training is not None and not isinstance(training, (bool, np.bool_)):
        raise TypeError(
            f"`training=` needs True or False, or None for the mode of each call. Received: "
            f"{limits.shown(training)} (of type {type(training).__name__}). Give one of the three."
        )
    return None if training is None else bool(training)


def check_number(count, name, least):
    whole = isinstance(count, numbers.Integral) and not isinstance(count, bool)
    if not whole or count < least:
        raise ValueError(
            f"`{name}=` needs an integer of at least {least}. Received: {limits.shown(count)}. Use "
            f"the functions of `keras_derivs`, which count the tensors themselves."
        )
    return int(count)


def check_option(option, name, options):
    """One of a few words."""
    if not isinstance(option, str) or option not in options:
        raise ValueError(
            f"`{name}=` needs one of {tuple(options)}. Received: {limits.shown(option)}. Leave it "
            f"out for {next(iter(options))!r}."
        )
    return option


def check_real_number(number, name, least):
    real = isinstance(number, numbers.Real) and not isinstance(number, bool)
    if not real or not least <= number <= sys.float_info.max:
        raise (ValueError if real else TypeError)(
            f"`{name}=` needs a finite number of at least {least}. Received: "
            f"{limits.shown(number)} (of type {type(number).__name__}). Leave it out for {least}."
        )
    return float(number)


def check_choice(choice, name):
    """A position or a name."""
    whole = isinstance(choice, numbers.Integral) and not isinstance(choice, bool)
    if choice is not None and not whole and not isinstance(choice, str):
        raise TypeError(
            f"`{name}=` needs a name or a position. Received: {limits.shown(choice)} (of type "
            f"{type(choice).__name__}). Give the name or the number of one of the model's."
        )
    return int(choice) if whole else choice


def check_wrt(wrt):
    """A position or a name, or a list of those; `None` stands for every input."""
    if isinstance(wrt, (list, tuple)):
        limits.check(len(wrt), limits.MAX_TERMS, "wrt=", "inputs")
        if not wrt:
            raise ValueError(
                "`wrt=` needs at least one input. Received: an empty list. Leave it out to "
                "differentiate with respect to every input."
            )
        return [x if isinstance(x, Coordinates) else check_choice(x, "wrt") for x in wrt]
    return wrt if isinstance(wrt, Coordinates) else check_choice(wrt, "wrt")


def float_dtype(model):
    """The dtype of a model's derivatives: that of its inputs, float32 at least."""
    dtypes = [x.dtype for x in getattr(model, "inputs", None) or []]
    dtypes = [dtype for dtype in dtypes if keras.backend.is_float_dtype(dtype)]
    dtype = dtypes[0] if dtypes else model.compute_dtype
    known = dtype is not None and keras.backend.is_float_dtype(dtype)
    return "float32" if not known or dtype in HALF else dtype


def casts(model):
    """Whether inputs are cast to the dtype of a derivative.

    Those of a sub-graph are not, unless they have half precision: Keras declares float32 for
    some operations, such as `logsumexp`, whatever they compute in.
    """
    return not isinstance(model, SubGraph) or any(x.dtype in HALF for x in model.inputs)


def warn_of_dtypes(model, dtype, name):
    """Warn where a derivative cannot have the precision that its own dtype promises."""
    layers = private.layers_of(model)
    computed = {private.own_dtype(layer) for layer in layers if layer.built}
    lower = [
        other for other in computed if other in HALF or (dtype, other) == ("float64", "float32")
    ]
    if lower:
        warnings.warn(
            f"'{name}' returns {dtype} derivatives of '{model.name}', which computes in "
            f"{', '.join(sorted(lower))}: they are no more accurate than that. Build the model "
            f"with dtype='{dtype}' for accurate derivatives.",
            stacklevel=3,
        )
    if "float64" in computed:
        precision.warn_of_inputs(model, name)


def input_names(model, structure):
    """A name for each flat input: its path of keys, else the name of the model's input."""
    return _names(structure, [x.name for x in getattr(model, "inputs", None) or []])


def output_names(model, outputs):
    """A name for each flat output: its path of keys, else the name of the model's output."""
    return _names(outputs, getattr(model, "output_names", None) or [])


def _names(structure, names):
    paths = [path for path, _ in keras.tree.flatten_with_path(structure)]
    keys = ["/".join(map(str, path)) for path in paths]
    if len(names) != len(keys):
        return keys
    named = [any(isinstance(key, str) for key in path) for path in paths]
    return [key if by_key else name for key, by_key, name in zip(keys, named, names)]


def position_of(choice, names, name, model):
    """The position that a name, a path or a number stands for."""
    if isinstance(choice, int) and -len(names) <= choice < len(names):
        return choice % len(names)
    found = [n for n, path in enumerate(names) if path == choice] or [
        n for n, path in enumerate(names) if path.split("/")[-1] == choice
    ]
    if len(found) == 1:
        return found[0]
    if found:
        places = {names[n]: n for n in found}
        raise ValueError(
            f"`{name}=` needs a name that stands for one tensor. Received: {choice!r}, which is "
            f"the name of several of '{model.name}': {', '.join(places)}. Choose by path, such as "
            f"{names[found[0]]!r}, or by position: {list(places.values())}."
        )
    raise ValueError(
        f"`{name}=` needs one of {names} or a position below {len(names)}. Received: "
        f"{limits.shown(choice)} for '{model.name}'. Choose one of them."
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
    sizes = [x.shape[0] for x, spec in pairs if spec.shape[0] != 1]
    if len(set(sizes) - {None}) > 1:
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


def check_component(component, names=()):
    """An index for each axis of one sample of the output, as a tuple; or one of the names."""
    if component is None or (isinstance(component, str) and component in names):
        return component
    axes = component if isinstance(component, (tuple, list)) else (component,)
    for index in axes:
        if not isinstance(index, numbers.Integral) or isinstance(index, bool):
            raise TypeError(
                f"`component=` needs an int, or a tuple with one int for each axis of the output, "
                f"or one of {names}. Received: {limits.shown(component)}. Give the position of one "
                f"entry; labels come with the call, `Gradient(model, component='labels')([x, "
                f"labels])`."
            )
    return tuple(int(index) for index in axes)


def check_vectors(vectors):
    """The constant vectors of a product: an array, or a list of those where shapes differ."""
    limits.check(limits.size_of(vectors), limits.MAX_NUMBERS, "vectors=", "numbers")
    try:
        return _as_array(vectors)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        if isinstance(vectors, (list, tuple)) and len(vectors):
            return [_as_array(v) for v in vectors]
        raise TypeError
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"`vectors=` needs finite numbers, as an array or a list of arrays. Received: "
            f"{limits.shown(vectors)}. Call the layer on [x, v] for other vectors."
        ) from None


def _as_array(numbers):
    array = np.asarray(numbers, "float64")
    if not np.all(np.isfinite(array)):
        raise ValueError
    return array


def vectors_config(vectors):
    """Constant vectors as a config takes them."""
    if isinstance(vectors, list):
        return [v.tolist() for v in vectors]
    return None if vectors is None else vectors.tolist()


def check_real(tensor, owner):
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "float" not in dtype and "int" not in dtype:
        raise TypeError(
            f"'{owner}' needs v of real numbers. Received: a tensor of shape "
            f"{tuple(tensor.shape)} and dtype {dtype}. Convert it to a float dtype."
        )


def single_row(shape, component, layer):
    """The one selected entry of an output of this per-sample shape; it has no axis."""
    if isinstance(component, str):
        return np.zeros(1, "int64"), ()  # which one, tells the call
    if component is not None:
        positions, _ = selection.resolve(component, tuple(shape), "component")
        return selection.flat_indices(positions, shape), ()
    if not is_scalar(shape):
        raise ValueError(
            f"'{layer.name}' needs a scalar output, of shape (batch,) or (batch, 1). Received: "
            f"shape {(None, *shape)} from '{layer.model.name}'. Choose one entry with "
            f"`component=`, or use `Jacobian`, which keeps every output apart."
        )
    return np.zeros(1, "int64"), ()


def is_scalar(shape):
    return all(isinstance(n, int) for n in shape) and tuple(shape) in ((), (1,))


def every_entry(shape):
    """All entries of a tensor of this per-sample shape; `None` where an axis is unknown."""
    known = all(isinstance(n, int) for n in shape)
    return range(math.prod(shape)) if known else None

"""Arguments of derivative layers: check them, resolve names, say what is wrong."""

import difflib
import math
import sys

import keras
import numpy as np

from keras_derivs import limits
from keras_derivs.engine import choose
from keras_derivs.graph import Coordinates, private
from keras_derivs.layers import selection


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
    if count is not None and not (limits.is_whole(count) and count > 0):
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
    if seed is not None and not (limits.is_whole(seed) and -(2**31) <= seed < 2**32):
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
    if not limits.is_whole(count) or count < least:
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
    real = limits.is_real(number)
    if not real or not least <= number <= sys.float_info.max:
        raise (ValueError if real else TypeError)(
            f"`{name}=` needs a finite number of at least {least}. Received: "
            f"{limits.shown(number)} (of type {type(number).__name__}). Leave it out for {least}."
        )
    return float(number)


def check_choice(choice, name):
    """A position or a name."""
    whole = limits.is_whole(choice)
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


def check_component(component, names=()):
    """An index for each axis of one sample of the output, as a tuple; or one of the names."""
    if component is None or (isinstance(component, str) and component in names):
        return component
    axes = component if isinstance(component, (tuple, list)) else (component,)
    for index in axes:
        if not limits.is_whole(index):
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

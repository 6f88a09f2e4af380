"""Try a model on a few random rows before its derivatives are trusted."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.backend import NO_GRADIENT
from keras_derivs.engine.notes import notes, places, without_gradient
from keras_derivs.engine.reverse import passes
from keras_derivs.engine.target import Target

NUM_ROWS = 2
LOUD = 1e4  # factor on other rows: shows a limit relative to the maximum of a batch
UNKNOWN_LENGTH = 4


def check(model, structure, specs, wrt, output, training, order):
    """Raise unless rows are independent and a gradient reaches each of the inputs `wrt`.

    Returns the steps of the model, for derivatives up to `order`; see `traced`.
    """
    return eagerly(_check, Target(model, structure, specs, wrt, output, training), order)


def eagerly(function, *args):
    """Call a function eagerly, also while a graph is being built."""
    if not backend.tracing():
        return function(*args)
    with ThreadPoolExecutor(1) as thread:  # a thread of its own builds no graph
        return thread.submit(function, *args).result()


def _check(specified, order):
    target = specified.given(_probe(specified.inputs, seed=0))
    y = _try(target)
    if y is None or len(y.shape) == 0 or y.shape[0] != NUM_ROWS:
        return []
    _check_rows(target, y)
    steps = (
        backend.steps(
            lambda inputs: passes.run(target.given(inputs)), target.inputs, target.wrt, order
        )
        or []
    )
    _check_lost(target.model, steps)
    try:
        passes.value(target)[1]()
    except NO_GRADIENT as error:
        raise without_gradient(error, target.model, steps, 1) from error
    except ValueError as error:
        raise ValueError(" ".join([str(error), *notes(target.model, steps, order)])) from None
    return steps


def _check_lost(model, steps):
    lost = places(model, steps, backend.LOST)
    if lost:
        raise ValueError(
            f"A derivative needs operations that TensorFlow can differentiate. Received: {lost} on "
            f"the way from the inputs to the output: what passes there would be missing. Write it "
            f"in `keras.ops`, or give it a gradient with `tf.custom_gradient`."
        )


def _check_rows(target, y):
    again = _try(target)
    if again is None or not _same(again, y):
        return  # a random model: nothing to compare
    _compare_rows(target, y, _probe(target.inputs, seed=1), passes.run)
    _compare_rows(target, y, _probe(target.inputs, seed=1, scale=LOUD), _try)


def _compare_rows(target, y, others, run):
    for row in range(NUM_ROWS):
        mixed = [
            keras.ops.stack([x[n] if n == row else other[n] for n in range(NUM_ROWS)])
            for x, other in zip(target.inputs, others)
        ]
        y_mixed = run(target.given(mixed))
        if y_mixed is not None and not _same(y_mixed[row], y[row]):
            raise ValueError(
                f"A derivative needs a model whose rows are independent. Received: "
                f"{_name_culprit(target, mixed, row)}, whose result for one row of the batch "
                f"changes with the other rows. Use it in inference mode (`training=False`), or "
                f"replace what mixes the batch axis."
            )


def _name_culprit(target, mixed, row):
    """The first layer of the model whose own output couples rows; the model, if none shows it."""
    model = target.model
    for layer in getattr(model, "layers", []):
        try:
            head = keras.Model(model.inputs, layer.output)
            pairs = zip(_outputs(head, target, target.inputs), _outputs(head, target, mixed))
            coupled = any(not _same(a[row], b[row]) for a, b in pairs)
        except Exception:  # a layer that cannot be cut out names nobody
            continue
        if coupled:
            return f"layer '{layer.name}' of '{model.name}'"
    return f"'{model.name}' (of type {type(model).__name__})"


def _outputs(head, target, inputs):
    with keras.StatelessScope():
        inputs = keras.tree.pack_sequence_as(target.structure, inputs)
        return keras.tree.flatten(head(inputs, training=target.training))


def _try(target):
    try:
        return passes.run(target)
    except Exception:  # the probe does not fit the model: the first real call will tell
        return None


def _same(a, b):
    a, b = keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
    scale = np.max(np.abs(a), initial=0, where=np.isfinite(a))
    tolerance = 1e-5 if a.dtype in ("float32", "float64") else 1e-2
    return np.allclose(a, b, rtol=0, atol=tolerance * scale, equal_nan=True)


def _probe(specs, seed, scale=1):
    random = np.random.default_rng(seed)
    return [_random(random, spec, scale) for spec in specs]


def _random(random, spec, scale):
    shape = [NUM_ROWS, *(UNKNOWN_LENGTH if n is None else n for n in spec.shape[1:])]
    values = scale * random.uniform(0.1, 0.9, shape)  # in the domain of a logarithm and a root
    if not keras.backend.is_float_dtype(spec.dtype):
        values = np.zeros(shape)
    return keras.ops.convert_to_tensor(values, dtype=spec.dtype)

"""Which strategy of a derivative layer is the fastest here."""

import statistics
import time

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.engine import choose
from keras_derivs.timing.call import Call, with_strategy
from keras_derivs.timing.table import Comparison, Entry
from keras_derivs.typing import Any, Layer

SECONDS = 20.0  # for all rounds together
FEWEST, MOST = 5, 30  # rounds
NAMES = {"tf.function": "graph", None: "eager"}  # of modes, in the table


def compare(layer: Layer, x: Any, training: bool = False) -> Any:
    """Time a derivative layer by every strategy, compiled in every way.

    The entries take turns, each on new inputs at every call, so that a busy machine slows all of
    them, and no compiler takes the inputs for constants. The time of an entry is the median of 5
    to 30 calls, without the first ones, which trace and compile. The memory is by how much the
    memory in use rises at its peak during one more call: by the counters of the framework on
    TensorFlow and on CUDA with PyTorch, else that of the process, where Linux counts it.

    Args:
        layer: A derivative layer.
        x: What it is called on: arrays or tensors, of the batch size that matters. The calls are
            on rows of it in random order, changed by a thousandth.
        training: Measure a training step, the gradient of the mean square of the results by all
            weights, rather than the call alone. The weights stay as they are.

    Returns:
        A `Comparison`, which prints as a table; `entries` holds its numbers, `fastest` the
        fastest entry. A strategy that is refused has no time, but a reason.

    Raises:
        TypeError: `layer` is not a derivative layer, or `x` has no arrays.
        ValueError: `training=True`, and the layer has no weights.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "tanh")])
    >>> found = kd.compare(kd.Gradient(net), np.ones((8, 2), "float32"))
    >>> sorted({entry.strategy for entry in found.entries})
    ['forward', 'reverse', 'taylor']
    """
    _check(layer, x, training)
    source = _fresh(x)
    chosen = _chosen(layer, next(source))
    entries, calls = [], []
    for strategy in choose.STRATEGIES[layer.kind]:
        for mode in backend.MODES or (None,):
            entry = Entry(strategy, NAMES.get(mode, mode), chosen=strategy == chosen)
            entries.append(entry)
            try:
                call = Call(with_strategy(layer, strategy), mode, training)
                call(next(source))
                call(next(source))
            except Exception as error:  # whatever refuses it is the reason
                entry.reason = _words(error)
            else:
                calls.append((entry, call))
    _time(calls, source)
    return Comparison(layer.name, layer.model.name, training, entries)


def _time(calls, source):
    seconds, start, rounds = {id(entry): [] for entry, _ in calls}, time.perf_counter(), 0
    while rounds < FEWEST or (rounds < MOST and time.perf_counter() - start < SECONDS):
        rounds += 1
        for entry, call in calls:
            inputs, before = next(source), time.perf_counter()
            call(inputs)
            seconds[id(entry)].append(time.perf_counter() - before)
    for entry, call in calls:
        inputs = next(source)
        entry.seconds = statistics.median(seconds[id(entry)])
        entry.peak_bytes = backend.peak_memory(lambda call=call, inputs=inputs: call(inputs))


def _chosen(layer, inputs):
    layer = with_strategy(layer, "auto")
    layer(inputs)
    return layer.plan.choice.strategy


def _fresh(x):
    """Endless inputs like x: its rows in another order, and a little different."""
    random = np.random.default_rng(0)
    arrays = keras.tree.map_structure(lambda z: keras.ops.convert_to_numpy(z), x)
    rows = max(len(z) for z in keras.tree.flatten(arrays))

    def changed(z, order):
        z = z[order] if len(z) == rows else z
        if np.issubdtype(z.dtype, np.floating):
            z = (z * (1 + 1e-3 * random.uniform(-1, 1, z.shape))).astype(z.dtype)
        return keras.ops.convert_to_tensor(z)

    while True:
        order = random.permutation(rows)
        yield keras.tree.map_structure(lambda z, order=order: changed(z, order), arrays)


def _words(error):
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def _check(layer, x, training):
    if not hasattr(layer, "with_vectors"):
        raise TypeError(
            f"`compare` needs a derivative layer, such as `Hessian(model)`. Received: "
            f"{type(layer).__name__}. Wrap the model in the derivative that matters."
        )
    leaves = keras.tree.flatten(x)
    if not leaves or not all(hasattr(z, "shape") and len(z.shape) for z in leaves):
        raise TypeError(
            f"`compare` needs arrays or tensors with samples in `x=`. Received: "
            f"{type(x).__name__}. Give what the layer is called on."
        )
    if not isinstance(training, (bool, np.bool_)):
        raise TypeError(
            f"`training=` needs True or False. Received: {training!r}. True measures a training "
            f"step."
        )
    if training and layer.model.built and not layer.trainable_variables:
        raise ValueError(
            f"`training=True` needs weights to train. Received: '{layer.name}' of "
            f"'{layer.model.name}', which has none. Leave it out to measure the call alone."
        )

"""Whether the rows of a batch are independent, and which layer couples them if not."""

import contextlib
import threading

import keras
import numpy as np

_lock = threading.RLock()


def changed(a, b, rows):
    """Whether two results differ in these rows, beyond rounding."""
    a, b = numpy(a)[rows], numpy(b)[rows]
    scale = np.max(np.abs(a), initial=0, where=np.isfinite(a))
    return not np.allclose(a, b, rtol=0, atol=tolerance(a) * scale, equal_nan=True)


def tolerance(values):
    """Of rounding, relative to the largest."""
    return 1e-5 if values.dtype in ("float32", "float64") else 1e-2


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def coupled(model, run, probe, fold=None):
    """An error that names the first layer or operation whose rows change with other rows."""
    try:
        with _recorded() as before:
            run(probe.inputs)
        with _recorded() as after:
            run(probe.mixed)
        culprit = _first(before, after, probe, fold)
    except Exception:  # naming is a service: without it the error stands
        culprit = None
    place = _place(culprit, model)
    if fold is not None:
        return ValueError(
            f"A derivative with `batch_dims=2` needs a model whose rows (batch, places) are "
            f"independent along both axes. Received: {place}, whose result at one place of axis 1 "
            f"changes with the other places, or rows of the batch. Replace what mixes them, or "
            f"take the derivative of the whole sample, with `batch_dims=1`."
        )
    return ValueError(
        f"A derivative needs a model whose rows are independent. Received: {place}, whose result "
        f"for one row of the batch changes with the other rows. Use it in inference mode "
        f"(`training=False`), replace what mixes the batch axis, or give `coupled=True` to "
        f"`Gradient`, `GradientPenalty`, `JVP`, `VJP` or `HVP` for the derivative of the sum over "
        f"the batch."
    )


def placed(model, run, inputs, order):
    """A sentence that names the first layer or operation whose rows change with their place."""
    try:
        with _recorded() as before:
            run(inputs)
        with _recorded() as after:
            run(ordered(inputs, order))
        culprit = _first_placed(before, after, order)
    except Exception:  # as above
        culprit = None
    return (
        f"A derivative of several outputs, or of higher order, needs a model that treats all rows "
        f"of a batch alike. Received: {_place(culprit, model)}, whose result for a row changes "
        f"with the place of that row in the batch. Keep the batch axis out of what counts places."
    )


def ordered(tensors, order):
    return [keras.ops.take(x, order, axis=0) for x in tensors]


def _place(culprit, model):
    if culprit in (None, model):
        return f"'{model.name}' (of type {type(model).__name__})"
    kind = "layer" if isinstance(culprit, keras.layers.Layer) else "operation"
    return f"{kind} '{culprit.name}' (of type {type(culprit).__name__}) of '{model.name}'"


def _first(before, after, probe, fold):
    """The operation that finished first with rows that others changed."""
    rows, count = probe.rows("stays"), len(probe.roles)
    for (operation, ys), (other, zs) in zip(before, after):
        if operation is not other:
            return None
        for y, z in zip(ys, zs):
            if tuple(y.shape) != tuple(z.shape):
                continue
            if fold is not None and tuple(y.shape[:2]) == fold.batch:
                y, z = fold.output(y), fold.output(z)
            shape = tuple(y.shape)
            alone = not shape or shape[0] == 1 != count
            if (alone or shape[0] == count) and changed(y, z, ... if alone else rows):
                return operation
    return None


def _first_placed(before, after, order):
    """The operation that finished first with rows that their places changed."""
    for (operation, ys), (other, zs) in zip(before, after):
        if operation is not other:
            return None
        for y, z in zip(ys, zs):
            if tuple(y.shape[:1]) == (len(order),) and changed(numpy(y)[order], z, ...):
                return operation
    return None


@contextlib.contextmanager
def _recorded():
    """The operations of Keras that finish meanwhile in this thread, with their flat results."""
    calls, plain = [], keras.Operation.__call__
    thread = threading.get_ident()

    def record(operation, *args, **kwargs):
        results = plain(operation, *args, **kwargs)
        if threading.get_ident() == thread:
            found = [y for y in keras.tree.flatten(results) if keras.ops.is_tensor(y)]
            calls.append((operation, found))
        return results

    with _lock:
        keras.Operation.__call__ = record
        try:
            yield calls
        finally:
            keras.Operation.__call__ = plain

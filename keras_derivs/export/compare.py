"""What a file computes, against what the model predicts."""

import warnings
from dataclasses import dataclass

import keras
import numpy as np

from keras_derivs.backend.switch import Switch

# on where a file is compared already; kept when this module is loaded again
comparing = globals().get("comparing") or Switch()


@dataclass(frozen=True)
class Case:
    """Flat inputs, and what the model predicts of them."""

    inputs: list
    expected: list


def cases(model, samples):
    """All samples, and one of them alone if the model is not made for one size of batch."""
    batches = [samples]
    if not _has_batch(model) and len(keras.tree.flatten(samples)[0]) > 1:
        batches.append(keras.tree.map_structure(lambda x: x[-1:], samples))
    known = [_case(model, batch) for batch in batches]
    _check_same(model, known[0].expected, _case(model, samples).expected)
    return known


def _check_same(model, expected, again):
    for pair in zip(expected, again):
        y, z = (np.asarray(values).astype("float64") for values in pair)
        finite, near = np.isfinite(y), 1e-3 * _scale(y)
        if not np.array_equal(finite, np.isfinite(z)) or np.any(np.abs(y - z)[finite] > near):
            raise Random(model)


class Random(ValueError):
    """A model that computes something else each time."""

    def __init__(self, model):
        super().__init__(
            f"`export` needs a model that computes the same each time. Received: '{model.name}', "
            f"which draws random numbers, so that its file cannot be compared with it. Take the "
            f"derivative without `num_samples=`, say."
        )


def _case(model, batch):
    flat = keras.tree.flatten(batch)
    expected = model.predict(batch, batch_size=len(flat[0]), verbose=0)
    return Case(flat, keras.tree.flatten(expected))


def _has_batch(model):
    """Whether the model is made for batches of one size."""
    return any(x.shape[0] is not None for x in getattr(model, "inputs", None) or [])


def compare(model, run, known, tolerance):
    """The largest relative difference in the cases that are `known`; raises beyond."""
    names = [x.name for x in getattr(model, "inputs", None) or []]
    worst, rows = 0.0, getattr(run, "rows", None)
    known = known if rows is None else known[:1]
    scales = [_scale(expected) for expected in known[0].expected]  # one row may nearly cancel
    for case in known:
        found = run(case.inputs, names)
        worst = max(worst, _difference(model, case.expected, found, scales, tolerance))
    if rows is not None:
        _warn_of_rows(model, rows)
    elif not _has_batch(model):
        _try_empty(model, lambda: run([x[:0] for x in known[0].inputs], names), known[0])
    return worst


def _scale(expected):
    """The largest entry that is finite."""
    expected = np.abs(np.asarray(expected, "float64"))
    return np.max(expected[np.isfinite(expected)], initial=np.finfo("float32").tiny)


def _difference(model, expected, found, scales, tolerance):
    if len(found) != len(expected):
        raise ValueError(f"the file has {len(found)} outputs, and the model {len(expected)}.")
    outputs = zip(output_names(model, len(expected)), expected, found, scales)
    return max(_relative(*output, tolerance) for output in outputs)


def _relative(name, expected, found, scale, tolerance):
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape:
        raise ValueError(
            f"output {name} of the file has shape {found.shape}, that of the model "
            f"{expected.shape}."
        )
    if not expected.size:
        return 0.0
    expected, found = expected.astype("float64"), found.astype("float64")
    if not np.array_equal(np.isfinite(expected), np.isfinite(found)):
        raise ValueError(f"output {name} of the file is infinite or NaN where the model is not.")
    finite = np.isfinite(expected)
    off = np.max(np.abs(found - expected)[finite], initial=0.0) / scale
    if off > tolerance:
        raise ValueError(
            f"output {name} of the file differs from the model by {off:.1e} of its largest entry, "
            f"more than {tolerance:.1e}."
        )
    return float(off)


def output_names(model, count):
    """Names for messages: those of the outputs, as far as they are told."""
    names = getattr(model, "output_names", None) or []
    return [f"'{name}'" for name in names] if len(names) == count else list(range(count))


def _warn_of_rows(model, rows):
    warnings.warn(
        f"The file of '{model.name}' was found right, and takes {rows} rows, no more and no less. "
        f"Give `input_signature=` for another number.",
        stacklevel=6,
    )


def _try_empty(model, run, case):
    """Warn if the file takes no empty batch, as some runtimes do not."""
    try:
        pairs = zip(map(np.shape, run()), (e[:0].shape for e in case.expected))
        wrong = [f"shape {found} instead of {right}" for found, right in pairs if found != right]
    except Exception as error:
        wrong = " ".join(str(error).split())[:300]
    if wrong:
        warnings.warn(
            f"The file of '{model.name}' was found right, but takes no empty batch: {wrong}. Do "
            f"not call it without samples.",
            stacklevel=6,
        )

"""The second derivative against differences of the first, where the user's own code has a part.

A custom gradient whose backward part leaves the framework has a second derivative of zero; called
eagerly, so that it leaves no trace in a graph.
"""

import numpy as np
from keras import ops

from keras_derivs import backend
from keras_derivs.audit.notes import place
from keras_derivs.audit.probe import MAGNITUDES, probe
from keras_derivs.audit.rows import numpy
from keras_derivs.engine.reverse import passes

TOLERANCE = 0.05  # of derivatives: a difference has an error of its own
STEP = 0.02
SIZES = (2, 8, 1)  # of the batch, where the model does not have one of its own


def may_lack(steps):
    """Whether the user's own code computes gradients."""
    return not steps or any(_is_own(step) for step in steps)


def _is_own(step):
    return step.own and step.on_the_way


def _on_purpose(steps):
    """Whether gradients are stopped, so that a part of the second derivative is not meant."""
    return any(step.type in backend.STOPPED and step.on_the_way for step in steps)


def check_second_differences(specified, steps):
    """Raise where the second derivative is not that of the first, in each of the rows tried."""
    for num_rows in _sizes(specified):
        inputs = probe(specified.inputs, specified.wrt, num_rows, MAGNITUDES[1]).inputs
        try:
            with backend.held():
                found = _compare(specified.given(inputs))
        except backend.NO_GRADIENT:
            return  # told where the derivative is computed
        except Exception:  # rows that do not fit the model
            continue
        _judge(found, specified.model, steps)
        return


def _sizes(specified):
    fixed = {specified.inputs[position].shape[0] for position in specified.wrt} - {None}
    return list(fixed) or SIZES


def _compare(target):
    """Slopes before and after a step, and the second derivative at both, along the step."""
    random = np.random.default_rng(0)
    steps = [STEP * random.choice([-1.0, 1.0], tuple(x.shape)) for x in target.xs]
    after = [x + ops.convert_to_tensor(step, x.dtype) for x, step in zip(target.xs, steps)]
    return [_along(at, steps) for at in (target, target.at(after))]


def _along(target, steps):
    """The derivatives of first and second order along a step, for each row."""
    vectors = [ops.convert_to_tensor(step, x.dtype) for x, step in zip(target.xs, steps)]

    def slopes(at):
        _, pull = passes.value(at)
        return [pull()], None

    (first,), _, pull = passes.differentiate(target, slopes, order=2)
    return [_product(parts, steps) for parts in (first, pull(0, vectors))]


def _product(parts, steps):
    return sum((numpy(g) * v).reshape(len(v), -1).sum(axis=1) for g, v in zip(parts, steps))


def _judge(found, model, steps):
    (before, curved), (after, curved_after) = found
    change, mean = after - before, (curved + curved_after) / 2
    rounding = 1e-4 * np.maximum(abs(before), abs(after))
    allowed = TOLERANCE * np.maximum(abs(change), abs(mean)) + abs(curved_after - curved)
    right = np.isfinite(mean) if _on_purpose(steps) else abs(change - mean) <= allowed + rounding
    if np.all(np.isfinite(change) & ~right):
        own = dict.fromkeys(
            place(model, step, "the gradient of ") for step in steps if _is_own(step)
        )
        where = f"{', '.join(own)} of '{model.name}'" if own else f"'{model.name}'"
        raise ValueError(
            f"A second derivative needs gradients that the framework can differentiate again. "
            f"Received: {where}, whose second derivative is not that of the first: a part of a "
            f"gradient is computed outside of the framework, such as by numpy, or has no finite "
            f"derivative. Write the gradient in `keras.ops`, or ask for first derivatives."
        )

"""The tape's first derivative against a difference, where the operations are not known."""

import numpy as np

from keras_derivs import backend
from keras_derivs.audit.rows import numpy

TOLERANCE = 0.05  # of slopes: a difference has an error of its own


def check_differences(trial, mixed, slopes):
    """Raise where the slopes of rows that moved a little are not those of their difference."""
    moves = trial.probe.rows("moves")
    if mixed is None or not len(moves):
        return
    try:
        after = mixed.pull()
    except ValueError:
        return
    steps = [numpy(z) - numpy(x) for x, z in zip(trial.target.xs, mixed.target.xs)]
    before, after = _along(slopes, steps, moves), _along(after, steps, moves)
    found = _sum(numpy(mixed.y)[moves] - numpy(trial.y)[moves])
    rounding = 1e-4 * _sum(np.abs(numpy(trial.y)[moves])) * np.max(np.abs(steps[0][moves]))
    allowed = np.maximum(TOLERANCE * np.maximum(abs(found), abs(before)), abs(after - before))
    if np.all(abs(found - (before + after) / 2) > allowed + rounding):
        raise ValueError(
            f"A derivative needs operations that {backend.FRAMEWORK} can differentiate. Received: "
            f"'{trial.target.model.name}', whose output changes by {found} where its gradient "
            f"says {(before + after) / 2}: a part of it is computed outside of "
            f"{backend.FRAMEWORK}, such as by numpy. Write it in `keras.ops`, or give it a "
            f"gradient with `keras.ops.custom_gradient`."
        )


def _along(slopes, steps, moves):
    return sum(_sum(numpy(slope)[moves] * step[moves]) for slope, step in zip(slopes, steps))


def _sum(values):
    return values.reshape(len(values), -1).sum(axis=1)

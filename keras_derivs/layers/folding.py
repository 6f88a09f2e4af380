"""`batch_dims=2`: which axes of a model's tensors are rows, and the trial of the audit."""

import math
from dataclasses import dataclass, replace

import keras
from keras import ops

from keras_derivs.engine.fold import Fold, rows
from keras_derivs.layers import arguments

LEAST_ROWS, UNKNOWN_LENGTH, FUNCTIONS = 64, 32, 3  # of the trial
TOLD = ("jacobian", "hessian", "hessian_diagonal", "laplacian", "partials", "jvp")  # if shared


@dataclass(frozen=True)
class Folded:
    """What an engine sees of the inputs and of an output of a model, as specs."""

    specs: list
    y: keras.KerasTensor
    fold: Fold  # of the trial, with numbers

    def xs(self, wrt):
        found = [self.specs[position] for position in wrt]
        return [keras.KerasTensor((None, *x.shape[1:]), dtype=x.dtype) for x in found]

    def at(self, flat):
        """The `Fold` of a call on these flat inputs of the model."""
        shape = ops.shape(flat[self.fold.positions[0]])
        return replace(self.fold, batch=(-1, shape[0]) if self.fold.shared else shape[:2])

    def lead(self, flat):
        """(functions, places) of a call on these specs, as far as they are known."""
        x = flat[self.fold.positions[0]]
        return (None, x.shape[0]) if self.fold.shared else tuple(x.shape[:2])


def check_dims(batch_dims):
    if not arguments.limits.is_whole(batch_dims) or batch_dims not in (1, 2):
        raise ValueError(
            f"`batch_dims=` needs 1, or 2 for tensors of shape (batch, places, …) whose places are "
            f"independent, too. Received: {arguments.limits.shown(batch_dims)}. Reshape tensors of "
            f"more such axes."
        )
    return int(batch_dims)


def row_shape(x, batch_dims):
    """The shape of one row of an input: of (places, d) as of (batch, places, d) it is (d,)."""
    return tuple(x.shape[batch_dims if len(x.shape) > batch_dims else 1 :])


def folded(layer, declared, wrt, y):
    """The `Folded` inputs and output of a derivative layer, or an error that says what fits."""
    xs = [declared[position] for position in wrt]
    shared = all(len(x.shape) == 2 for x in xs)
    if len(y.shape) < 2 or len({len(x.shape) == 2 for x in xs}) > 1 or not _fit(xs, y, shared):
        raise ValueError(
            f"'{layer.name}' with `batch_dims=2` needs y of shape (batch, places, …) and x of "
            f"shape (batch, places, d), or (places, d) where all rows of the batch share them. "
            f"Received: y of shape {tuple(y.shape)} and x of shapes "
            f"{[tuple(x.shape) for x in xs]}. Give x an axis of its own for the coordinates."
        )
    if shared and layer.kind not in TOLD:
        raise ValueError(
            f"'{layer.name}' with `batch_dims=2` needs x of shape (batch, places, d). Received: x "
            f"of shape {tuple(xs[0].shape)}, places that all rows of the batch share. Repeat them "
            f"for each row, or multiply the result of `Jacobian` or `Hessian`."
        )
    batch = _trial(xs[0], declared, wrt, shared)
    fold = Fold(batch, tuple(wrt), shared)
    specs = [_of_engine(x, fold, n) for n, x in enumerate(declared)]
    return Folded(specs, keras.KerasTensor((None, *y.shape[2:]), dtype=y.dtype), fold)


def _fit(xs, y, shared):
    pairs = [((x.shape[0], y.shape[1]) if shared else (x.shape[1], y.shape[1])) for x in xs]
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _trial(x, declared, wrt, shared):
    """(functions, places) of the audit: those that are declared, else some."""
    if shared:
        others = [z.shape[0] for n, z in enumerate(declared) if n not in wrt]
        return next((n for n in others if n is not None), FUNCTIONS), x.shape[0] or LEAST_ROWS
    places = x.shape[1] or UNKNOWN_LENGTH
    return x.shape[0] or max(2, math.ceil(LEAST_ROWS / places)), places


def _of_engine(x, fold, n):
    functions, places = fold.batch
    if n not in fold.positions:
        shape = [functions if x.shape[0] is None else x.shape[0], *x.shape[1:]]
        if len(shape) > 1 and shape[1] is None and not fold.shared:
            shape[1] = places  # more that is given for each place
    else:
        shape = (places, *x.shape[1:]) if fold.shared else (functions * places, *x.shape[2:])
    return keras.KerasTensor(shape, dtype=x.dtype)


def vector(v, ndim, plan):
    """A vector of a product, one for each row, as an engine takes it; `ndim` is that of a row."""
    if plan.folded is None or plan.folded.fold.shared or len(v.shape) != ndim + 2:
        return v
    if keras.backend.is_keras_tensor(v):
        return keras.KerasTensor((None, *v.shape[2:]), dtype=v.dtype)
    return rows(v)

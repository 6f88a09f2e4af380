"""A derivative of one entry of an output, which a position, its size or data choose."""

import keras
from keras import ops

from keras_derivs import backend, limits
from keras_derivs.engine.target import ARGMAX, size
from keras_derivs.layers import arguments
from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.reloading import lasting
from keras_derivs.typing import Any

LABELS = "labels"


@lasting
class OneEntry(DerivativeLayer):
    """Abstract: takes `component=`.

    With `"labels"` it is called on `[x, labels]`, where labels are the positions of the entries,
    one for each row of the batch.
    """

    def __init__(self, model, wrt=None, output=None, component=None, **kwargs):
        super().__init__(model, wrt, output, **kwargs)
        self.component = arguments.check_component(component, (ARGMAX, LABELS))

    def rows(self, shape):
        if self.component == LABELS and len(shape) > 1:
            raise ValueError(
                f"'{self.name}' needs an output of one axis per sample for labels to choose from. "
                f"Received: shape {(None, *shape)} from '{self.model.name}'. Reshape it, or "
                f"choose by position, `component=(0, …)`."
            )
        return arguments.single_row(shape, self.component, self)

    def split(self, inputs):
        if self.component != LABELS:
            return super().split(inputs)
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            raise ValueError(
                f"'{self.name}' needs to be called on [x, labels], as `component='labels'` says. "
                f"Received: {type(inputs).__name__} of {len(keras.tree.flatten(inputs))} tensors. "
                f"Put the labels last, after the model's inputs and the vectors of a product."
            )
        *given, labels = inputs
        inputs, vectors, _ = super().split(given[0] if len(given) == 1 else given)
        if self.batch_dims == 1:
            check_count(labels, keras.tree.flatten(inputs), self.name)
        return inputs, vectors, labels

    def entry(self, labels, y):
        if self.component != LABELS:
            return ARGMAX if self.component == ARGMAX else None
        check_labels(labels, self.batch_dims, self.name)
        if not backend.tracing() and not keras.backend.is_keras_tensor(labels):
            check_range(ops.convert_to_numpy(labels), size(y), self.name)
        return labels if len(labels.shape) == 1 else ops.reshape(labels, (-1,))

    def arrange(self, plan, target, y, results):
        """Not a number where a label counts no entry, which only a graph lets pass."""
        if target.by_data:
            known = ops.logical_and(target.entry >= 0, target.entry < size(y))
            results = keras.tree.map_structure(lambda z: _where(known, z), results)
        return super().arrange(plan, target, y, results)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "component": self.component}


def _where(known, x):
    known = ops.reshape(known, (-1, *[1] * (len(x.shape) - 1)))
    return ops.where(known, x, ops.full((), float("nan"), x.dtype))


def check_labels(labels, num_dims, owner):
    """Raise unless these can be one index for each row."""
    dtype, shape = keras.backend.standardize_dtype(labels.dtype), tuple(labels.shape)
    if "int" not in dtype:
        raise TypeError(
            f"'{owner}' needs integer labels, the position of an entry for each row. Received: "
            f"shape {shape} and dtype {dtype}. Declare `keras.Input((), dtype='int32')`, or cast "
            f"them; take the argmax of one-hot labels."
        )
    if len(shape) != num_dims and not (len(shape) == num_dims + 1 and shape[-1] == 1):
        raise ValueError(
            f"'{owner}' needs one label for each row, of shape (batch,) or (batch, 1). Received: "
            f"shape {shape}. Take the argmax of one-hot labels."
        )


def check_count(labels, inputs, owner):
    """Raise where there are more or fewer of them than rows, as far as both are known."""
    shapes = [getattr(x, "shape", ()) for x in (labels, *inputs)]
    counts = [shape[0] for shape in shapes if len(shape)]
    if None in counts or not len(shapes[0]) or len(counts) < 2:
        return
    count, *rows = counts
    if count != max(rows):
        raise ValueError(
            f"'{owner}' needs one label for each row, of shape (batch,) or (batch, 1). Received: "
            f"{count} labels for {max(rows)} rows. Give each row its own."
        )


def check_range(labels, count, owner):
    """Raise for a label that counts no entry."""
    outside = labels[(labels < 0) | (labels >= count)].reshape(-1)
    if outside.size:
        raise ValueError(
            f"'{owner}' needs labels from 0 to {count - 1}, for an output of {count} entries. "
            f"Received: {limits.shown(outside[:8].tolist())}. Leave those rows out; in a graph "
            f"their derivative is NaN."
        )

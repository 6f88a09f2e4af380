"""A model of (batch, places) as one of single rows, each at its own place.

So a row may be moved, or looked at alone: it stands at every place of a row of the batch of its
own, and the result at its own place is taken.
"""

import keras
import numpy as np
from keras import ops


class Places(keras.layers.Layer):
    """Called on the flat inputs of the model, with a row for each (batch, place), and the places.

    Args:
        model: The model, or a derivative layer of it.
        structure: What the model is called on.
        plan: That of a derivative layer with `batch_dims=2`.
        batch: The numbers of functions and of places.
    """

    def __init__(self, model, structure, plan, batch):
        super().__init__(autocast=False)
        self.model, self.structure, self.number = model, structure, plan.output
        self.fold, self.batch = plan.folded.fold, batch

    def build(self, input_shape=None):
        self.built = True

    def rows(self, flat):
        """The flat inputs of the model, or others of its shapes, as rows, and the places."""
        functions, places = self.batch
        index = np.tile(np.arange(places), functions).astype("int32")
        which = np.repeat(np.arange(functions), places)
        found = [self._rows_of(np.asarray(x), n, which, index) for n, x in enumerate(flat)]
        return [*found, index]

    def _rows_of(self, x, n, which, index):
        if n not in self.fold.positions:
            return x[which] if len(x) == self.batch[0] else x
        return x[index] if self.fold.shared else x[which, index]

    def spread(self, x):
        """One value for each row as one for each place of it."""
        if self.fold.shared:
            return x
        x = ops.convert_to_tensor(x)
        return ops.broadcast_to(x[:, None], (ops.shape(x)[0], self.batch[1], *x.shape[1:]))

    def given(self, rows):
        """What the model is called on."""
        positions = self.fold.positions
        flat = [self.spread(x) if n in positions else x for n, x in enumerate(rows)]
        return keras.tree.pack_sequence_as(self.structure, flat)

    def own(self, y, index):
        """Of a result at (row, place), that at the place of each row."""
        if self.fold.shared:  # each row is a place of all functions
            return ops.moveaxis(ops.diagonal(y, axis1=0, axis2=1), -1, 0)
        index = ops.reshape(ops.convert_to_tensor(index), (-1, *[1] * (len(y.shape) - 1)))
        return ops.take_along_axis(y, index, axis=1)[:, 0]

    def call(self, inputs, training=None):
        *rows, index = inputs
        y = keras.tree.flatten(self.model(self.given(rows), training=training))[self.number]
        return self.own(y, index)

"""The rule of maximum pooling: each window passes the coefficients of its largest entry on."""

import itertools

import keras
from keras import ops

from keras_derivs.engine.sums import total
from keras_derivs.engine.taylor.rules import taylor_rule, unsupported
from keras_derivs.engine.taylor.shapes import map_linear, spread
from keras_derivs.graph.private import nn


@taylor_rule(nn.MaxPool)
def max_pool(operation, x):
    pool = Pool(operation, x)
    lowest = -float("inf") if pool.padded else 0.0
    largest = operation.call(x.value)
    taken, masks = ops.zeros_like(largest, dtype="bool"), []
    for window in pool.windows(x.value, lowest):
        chosen = ops.logical_and(window == largest, ops.logical_not(taken))
        taken = ops.logical_or(taken, chosen)
        masks.append(chosen)

    def pick(parts):
        windows = zip(pool.windows(parts[0], 0.0), masks)
        return [total([ops.where(mask, w, ops.zeros_like(w)) for w, mask in windows])]

    return map_linear(pick, [spread(x)], keeps_batch=False)[0].with_value(largest)


class Pool:
    """The windows of a pooling as strided slices, one for each place in a window."""

    def __init__(self, operation, x):
        layout = operation.data_format or keras.config.image_data_format()
        first = layout == "channels_first"
        axes = range(2, x.ndim) if first else range(1, x.ndim - 1)
        if any(x.shape[axis] is None for axis in axes):
            raise unsupported(operation, "needs axes of known length")
        self.axes, self.ndim = tuple(axes), x.ndim
        self.sizes = _each(operation.pool_size, len(self.axes))
        strides = operation.strides
        self.strides = self.sizes if strides is None else _each(strides, len(self.axes))
        self.lengths = [x.shape[axis] for axis in self.axes]
        self.padded = operation.padding == "same"

    def windows(self, x, fill):
        counts = [
            -(-length // stride) if self.padded else (length - size) // stride + 1
            for length, size, stride in zip(self.lengths, self.sizes, self.strides)
        ]
        if self.padded:
            x = self._pad(x, counts, fill)
        for place in itertools.product(*map(range, self.sizes)):
            key = [slice(None)] * self.ndim
            for axis, start, stride, count in zip(self.axes, place, self.strides, counts):
                key[axis] = slice(start, start + (count - 1) * stride + 1, stride)
            yield x[tuple(key)]

    def _pad(self, x, counts, fill):
        widths = [(0, 0)] * self.ndim
        for axis, length, size, stride, count in zip(
            self.axes, self.lengths, self.sizes, self.strides, counts
        ):
            missing = max((count - 1) * stride + size - length, 0)
            widths[axis] = (missing // 2, missing - missing // 2)
        return ops.pad(x, widths, constant_values=fill)


def _each(sizes, count):
    return (sizes,) * count if isinstance(sizes, int) else tuple(sizes)

"""Models and functions on which nested passes go wrong, for the tests of these."""

import keras
import numpy as np
import zoo
from keras import layers, ops
from zoo import Resampled

UP, RESIZE, POOL = layers.UpSampling2D, layers.Resizing, layers.MaxPooling2D
SMALL = (2, 2, 1)


class Function(layers.Layer):
    """A layer of one function, as users write them."""

    def __init__(self, function, name=None):
        super().__init__(name=name)
        self.function = function

    def call(self, x):
        return self.function(x)


def around(layer, shape=(3,)):
    """x^3, the layer, tanh, one output; the weights are the same for the same shapes."""
    keras.utils.set_random_seed(0)
    x = keras.Input(shape, dtype=keras.config.dtype_policy().compute_dtype)
    h = layer(x * x * x)
    h = h if len(h.shape) == 2 else layers.Flatten()(h)
    model = keras.Model(x, layers.Dense(1)(ops.tanh(h)))
    zoo.scatter(model)
    return model


def apart(shape, samples=2):
    """Distinct numbers, away from ties and kinks."""
    numbers = np.linspace(0.3, 1.2, samples * int(np.prod(shape)))
    return np.random.default_rng(3).permutation(numbers).reshape(samples, *shape)


def resampling(cls, *args, **options):
    def layer():
        return cls(*args, **options)

    return layer, lambda: Resampled(cls(*args, **options, dtype="float32"))


class Recurrence(layers.Layer):
    """A `scan` over time, and a count of turns."""

    def call(self, x):
        add = lambda c, t: (ops.tanh(c + t), ops.sin(c) * t)  # noqa: E731
        _, y = ops.scan(add, x[:, 0] ** 2, ops.swapaxes(x, 0, 1))
        return ops.fori_loop(0, 2, lambda n, z: ops.sin(z) * z, ops.swapaxes(y, 0, 1))


NESTED = {  # loops within loops, whose number of iterations a gradient hands from one to the other
    "fori_loop": lambda x: ops.fori_loop(0, 3, lambda _, y: _twice(x, y), x),
    "scan": lambda x: ops.scan(lambda y, _: (_twice(x, y), None), x, None, 3)[0],
    "vectorized_map": lambda x: ops.vectorized_map(lambda row: _twice(row, row), x),
}


def _twice(x, y):
    return ops.fori_loop(0, 2, lambda _, z: ops.sin(z) + x, y)


def before_each_sine(x, outer):
    found = [x]
    for _ in range(2 * outer - 1):
        found.append(np.sin(found[-1]) + x)
    return found

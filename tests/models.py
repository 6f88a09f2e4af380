"""A small model of every kind that is wrapped: name -> function -> (model, input)."""

import keras
import numpy as np
from keras import layers, ops
from precision import precision


def points(shape, dtype=None, seed=0):
    dtype = dtype or keras.config.floatx()
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


def build(name, dtype, **options):
    """The model and its input, in the given dtype."""
    with precision(dtype):
        return MODELS[name](**options)


def sequential(num_outputs=2, num_inputs=3):
    return keras.Sequential(
        [
            keras.Input((num_inputs,)),
            layers.Dense(6, "tanh"),
            layers.Dense(num_outputs),
        ]
    ), points((4, num_inputs))


def scalar():
    return sequential(num_outputs=1)


def rank_one():
    x = keras.Input((3,))
    h = layers.Dense(6, "sigmoid")(x)
    return keras.Model(x, ops.sum(h * h, axis=-1)), points((4, 3))


def scalar_input():
    x = keras.Input(())
    return keras.Model(x, ops.sin(2 * x)), points((5,))


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(5, "tanh")
        self.outer = layers.Dense(2)

    def call(self, x):
        return self.outer(self.hidden(x) ** 2)


def subclassed():
    return Subclassed(), points((4, 3))


def nested():
    inner, x = sequential(num_outputs=3)
    z = keras.Input((3,))
    return keras.Model(z, layers.Dense(2)(ops.sin(inner(z)) * z)), x


def plain_layer():
    return layers.Dense(2, "softplus"), points((4, 3))


def normalised():
    x = keras.Input((4,))
    h = layers.LayerNormalization()(layers.Dense(6)(x))
    h = layers.GroupNormalization(2)(layers.Reshape((3, 2))(h))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(h))), points((3, 4))


def image():
    x = keras.Input((5, 4, 2))
    h = layers.Conv2D(3, 2, activation="tanh")(x)
    return keras.Model(x, layers.GlobalAveragePooling2D()(h)), points((2, 5, 4, 2))


def sequence():
    x = keras.Input((None, 2))
    h = layers.LSTM(3, return_sequences=True)(x)
    return keras.Model(x, layers.Dense(1)(h)), points((2, 4, 2))


MODELS = {
    function.__name__: function
    for function in (
        sequential, scalar, rank_one, scalar_input, subclassed, nested, plain_layer, normalised,
        image, sequence,
    )
}  # fmt: skip

"""What a program that `clients.py` times is made of."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers

OURS = "keras_derivs"
random = np.random.default_rng(0)


@dataclass
class Program:
    """`sides` by name, ours first; `inputs()` are fresh; `without_xla` names graph-only sides."""

    weights: list
    inputs: callable
    sides: dict
    without_xla: tuple = ()

    @staticmethod
    def loss(tensors):
        return sum(tf.reduce_mean(tf.square(tensor)) for tensor in tensors)


def uniform(*shape):
    return lambda: (tf.constant(random.uniform(-1, 1, shape).astype("float32")),)


def net(inputs, outputs=1, width=64, depth=4, activation="tanh"):
    hidden = [layers.Dense(width, activation) for _ in range(depth)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(outputs)])


def columns(x):
    return [x[:, n : n + 1] for n in range(x.shape[1])]

"""What counts as a slice of a tensor, and what does not."""

import keras
import numpy as np
import pytest
from framework import BACKEND
from keras import layers, ops
from models import points
from truth import EXACT, close

import keras_derivs as kd
from keras_derivs.graph import slices


def evaluate(x, outputs):
    return keras.Model(x, outputs)(points((7, *x.shape[1:])))


def own_and_whole(h, x):
    """A function of h that also takes another way from x."""
    flat = ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))
    return ops.sum(ops.sin(h) * ops.cumsum(ops.cos(flat), axis=1), axis=1)


FEATURES = {
    "dropout": layers.Dropout(0.5),
    "noise": layers.GaussianNoise(1.0),
    "activation": layers.Activation("tanh"),
    "flatten": layers.Flatten(),
    "reshape": lambda x: ops.reshape(x, (-1, 4)),
    "identity": layers.Identity(),
    "copy": ops.copy,
    "clip": lambda x: ops.clip(x, -2, 2),
    "round": lambda x: x - ops.round(x),
    "stopped": lambda x: x * 0 + ops.stop_gradient(x),
    "leaky": layers.LeakyReLU(1.0),
    "flipped": lambda x: ops.flip(x, axis=1),
    "of another row": lambda x: x + ops.flip(x, axis=0) * 0,
    "slice": lambda x: x[:, 0:4],
}


@pytest.mark.filterwarnings(
    "ignore:.*(Constant piece|Gradients are stopped|Piecewise|stop_gradient)"
)
@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("other_way", [False, True])
@pytest.mark.slow
def test_slices_of_every_feature(name, other_way):
    test_the_derivative_by_a_slice_is_the_slice_of_the_derivative(name, other_way)


@pytest.mark.filterwarnings(
    "ignore:.*(Constant piece|Gradients are stopped|Piecewise|stop_gradient)"
)
@pytest.mark.parametrize(
    "name, other_way",
    [("dropout", True), ("flatten", True), ("clip", True), ("round", False), ("slice", True)],
)
def test_the_derivative_by_a_slice_is_the_slice_of_the_derivative(name, other_way):
    x = keras.Input((4,))
    h = FEATURES[name](x)
    y = own_and_whole(h, x) if other_way else ops.sum(ops.sin(h) ** 2, axis=1)
    y = layers.Dense(1)(layers.Dense(3, "tanh")(ops.expand_dims(y, 1)))
    whole, part = evaluate(x, [kd.gradient(y, h), kd.gradient(y, h[:, :1])])
    close(part, whole[:, :1], EXACT["float32"])


MIXED = {
    "flipped rows": lambda x: ops.flip(x, axis=0),
    "a flip of all axes": ops.flip,
    "rolled rows": lambda x: ops.roll(x, 1, axis=0),
    "rolled entries of all rows": lambda x: ops.roll(x, 4),
    "gathered rows": lambda x: ops.take(x, [0, 0, 0], axis=0),
    "the first rows": lambda x: x[:3],
    "rows of three": lambda x: ops.reshape(x, (3, -1)),
    "every other row": lambda x: x[::-1],
    "round": ops.round,
    "floor": ops.floor,
    "clip": lambda x: ops.clip(x, -1e9, 1e9),
    "absolute": ops.abs,
    "relu": ops.relu,
    "stopped": ops.stop_gradient,
    "dropout": layers.Dropout(0.5),
    "alpha dropout": layers.AlphaDropout(0.5),
    "noise": layers.GaussianNoise(0.1),
    "a Lambda": layers.Lambda(lambda x: ops.where(x < 1e6, x, 0 * x)),
    "activity regularization": layers.ActivityRegularization(0.1),
    "sorted": lambda x: ops.sort(x, axis=1),
    "the largest": lambda x: ops.max(x, axis=1),
    "nan to num": ops.nan_to_num,
    "rows by another tensor": lambda x: ops.take(
        x, ops.cast(ops.round(x[:, 0] * 0), "int32"), axis=1
    ),
    "maximum with itself": lambda x: ops.maximum(x, x),
    "a cast": lambda x: ops.cast(ops.cast(x, "float16"), "float32"),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_is_no_slice(name):
    x = keras.Input((4,))
    y = layers.Dense(1)(layers.Dense(3, "tanh")(x))
    with pytest.raises(ValueError, match="no path between them|Unsupported key"):
        kd.gradient(y, MIXED[name](x))


BACKWARDS = {"backwards": (lambda x: x[..., ::-1], [7, 6, 5, 4, 3, 2, 1, 0])}
SLICED = {
    "a step": (lambda x: x[:, ::2], [0, 2, 4, 6]),
    "all rows from the first": (lambda x: x[0:, 6:], [6, 7]),
    **({} if BACKEND == "torch" else BACKWARDS),  # which has no such slices
    "of a reshaped": (lambda x: layers.Reshape((2, 4))(x)[:, 1, 1:3], [5, 6]),
    "of a permuted": (
        lambda x: layers.Permute((2, 1))(layers.Reshape((2, 4))(x))[:, :2, 0],
        [0, 1],
    ),
    "transposed": (lambda x: ops.transpose(ops.reshape(x, (-1, 2, 4)), (0, 2, 1))[:, 0], [0, 4]),
    "cropped": (lambda x: layers.Cropping1D(2)(ops.expand_dims(x, 2))[:, :, 0], [2, 3, 4, 5]),
    "taken": (lambda x: ops.take(x, [3, 1], axis=1), [3, 1]),
    "joined": (lambda x: ops.concatenate([x[:, 5:], x[:, :1]], axis=1), [5, 6, 7, 0]),
    "joined by a layer": (lambda x: layers.Concatenate()([x[:, 7:], x[:, 2:3]]), [7, 2]),
    "stacked": (lambda x: ops.stack([x[:, 0], x[:, 3]], axis=1), [0, 3]),
    "split": (lambda x: ops.split(x, 4, axis=1)[2], [4, 5]),
    "unstacked": (lambda x: ops.unstack(x, axis=1)[6], [6]),
    "rolled": (lambda x: ops.roll(x, 2, axis=1)[:, :3], [6, 7, 0]),
    "flipped": (lambda x: layers.Identity()(ops.flip(x, axis=1))[:, 0:1], [7]),
    "moved": (lambda x: ops.moveaxis(ops.reshape(x, (-1, 2, 2, 2)), 3, 1)[:, 1, 1], [5, 7]),
}


@pytest.mark.parametrize("name", SLICED)
def test_what_is_a_slice(name):
    select, columns = SLICED[name]
    x = keras.Input((8,))
    y = layers.Dense(1)(layers.Dense(3, "tanh")(x))
    root, indices = slices.source(select(x), y)
    assert root is x and indices.tolist() == columns


def test_a_slice_of_a_fixed_batch():
    x = keras.Input(batch_shape=(3, 4))
    y = layers.Dense(1)(layers.Dense(3, "tanh")(x))
    fixed = ops.reshape(x, (3, -1))[:, :2]
    root, indices = slices.source(fixed, y)
    assert root is x and indices.tolist() == [0, 1]


def test_a_variable_selects_nothing():
    x, place = keras.Input((4,)), keras.Variable([1], dtype="int32", trainable=False)
    y = layers.Dense(1)(x)
    with pytest.raises(ValueError, match="no path"):
        kd.gradient(y, ops.take(x, place, axis=1))

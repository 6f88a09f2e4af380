"""Projective transforms of images are differentiated by the images and by the transforms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from truth import EXACT, SINGLE, close, jacobian

import keras_derivs as kd

IMAGE = np.random.default_rng(0).normal(size=(4, 5, 1)).astype("float32")
TURN = np.array([0.9, -0.3, 0.53, 0.25, 1.1, -0.37, 0.0, 0.0], "float32")
IDENTITY = np.array([1, 0, 0, 0, 1, 0, 0, 0], "float32")
POINTS = np.array([[0.2, 0.1], [3.3, 0.4], [0.1, 3.2], [3.6, 2.9]], "float32")
CORNERS = np.array([[0, 0], [4, 0], [0, 3], [4, 3]], "float32")


def made(function, shape):
    x = keras.Input(shape)
    return keras.Model(x, layers.Flatten()(layers.Lambda(function)(x)))


def numbers(model):
    return lambda x: np.asarray(model(tf.constant(x, "float32")), "float64")


LINEAR = [
    (i, m) for i in ("bilinear", "nearest") for m in ("constant", "nearest", "reflect", "wrap")
]


@pytest.mark.parametrize(
    "interpolation, mode",
    LINEAR[:1] + [pytest.param(*pair, marks=pytest.mark.slow) for pair in LINEAR[1:]],
)
def test_a_linear_map_of_images(interpolation, mode):
    options = {"interpolation": interpolation, "fill_mode": mode}
    model = made(lambda x: ops.image.affine_transform(x, TURN, **options), IMAGE.shape)
    slopes = np.asarray(kd.Jacobian(model, strategy="reverse")(IMAGE[None]))
    close(slopes.reshape(-1, IMAGE.size) @ IMAGE.ravel(), model(IMAGE[None])[0], EXACT["float32"])


@pytest.mark.parametrize("start", [TURN, IDENTITY], ids=["turned", "identity"])
def test_the_matrix(start):
    """At whole coordinates the slopes of both sides are averaged, as central differences do."""

    def function(x):
        images = ops.tile(ops.convert_to_tensor(IMAGE)[None], (ops.shape(x)[0], 1, 1, 1))
        return ops.image.affine_transform(images, x, fill_value=0.5)

    model, at = made(function, (8,)), start[None]
    found, columns = kd.Jacobian(model, strategy="reverse")(at), 6 if start is IDENTITY else 8
    true = jacobian(numbers(model), at, step=2e-3)
    close(found[..., :columns], true[..., :columns], SINGLE[2])


@pytest.mark.slow
def test_perspective():
    image = lambda x: ops.image.perspective_transform(x, POINTS, CORNERS)  # noqa: E731
    model = made(image, IMAGE.shape)
    slopes = np.asarray(kd.Jacobian(model, strategy="reverse")(IMAGE[None]))
    close(slopes.reshape(-1, IMAGE.size) @ IMAGE.ravel(), model(IMAGE[None])[0], EXACT["float32"])

    def points(x):
        images = ops.tile(ops.convert_to_tensor(IMAGE)[None], (ops.shape(x)[0], 1, 1, 1))
        ends = ops.tile(ops.convert_to_tensor(CORNERS)[None], (ops.shape(x)[0], 1, 1))
        return ops.image.perspective_transform(images, x, ends)

    model, at = made(points, (4, 2)), POINTS[None]
    found = kd.Jacobian(model, strategy="reverse")(at)
    close(found, jacobian(numbers(model), at, step=2e-3), SINGLE[3])


def test_the_second_derivative():
    """The transform is the image's: a product of the two has the Hessian of the map alone."""

    def function(x):
        images = ops.reshape(x, (-1, 2, 2, 1)) * np.ones((1, 1, 1, 1), "float32")
        shift = ops.concatenate([x[:, :1] * np.array([[0, 0, 1, 0, 0, 0, 0, 0]], "float32")], 1)
        return ops.sum(ops.image.affine_transform(images, IDENTITY + shift), (1, 2, 3))[:, None]

    model, x = made(function, (4,)), np.array([[0.3, 0.7, 0.2, 0.9]], "float32")
    hessian = np.asarray(kd.Hessian(model, strategy="reverse")(x))[0]
    # sum over rows of (1 - s) a + s b + (1 - s) b, where s = a_0: columns a, b
    true = np.zeros((4, 4))
    true[0, 0] = -2
    true[0, 2] = true[2, 0] = -1
    close(hessian, true, SINGLE[2])

"""Projective transforms of images are differentiated by the images and by the transforms."""

import keras
import numpy as np
import pytest
from framework import BACKEND
from keras import layers, ops
from truth import EXACT, SINGLE, close, jacobian, numpy, predict

import keras_derivs as kd

# On JAX and PyTorch a transform is made of operations, which round coordinates to pixels; on
# PyTorch it takes image after image.
pytestmark = pytest.mark.filterwarnings(
    "ignore:(?s).*(Constant piece by piece.*'lambda|Rows of the batch.*'getitem' in 'lambda)"
)

IMAGE = np.random.default_rng(0).normal(size=(4, 5, 1)).astype("float32")
TURN = np.array([0.9, -0.3, 0.53, 0.25, 1.1, -0.37, 0.0, 0.0], "float32")
IDENTITY = np.array([1, 0, 0, 0, 1, 0, 0, 0], "float32")
POINTS = np.array([[0.2, 0.1], [3.3, 0.4], [0.1, 3.2], [3.6, 2.9]], "float32")
CORNERS = np.array([[0, 0], [4, 0], [0, 3], [4, 3]], "float32")


def made(function, shape, result=IMAGE.shape):
    x = keras.Input(shape)
    return keras.Model(x, layers.Flatten()(layers.Lambda(function, output_shape=result)(x)))


def for_each(x, constant):
    """A constant for every row of x, as Keras needs it on JAX and PyTorch."""
    return ops.tile(ops.convert_to_tensor(constant)[None], (ops.shape(x)[0], *[1] * constant.ndim))


def slopes(model, x):
    return numpy(kd.Jacobian(model, strategy="reverse")(x))


LINEAR = [
    (i, m) for i in ("bilinear", "nearest") for m in ("constant", "nearest", "reflect", "wrap")
]


@pytest.mark.parametrize(
    "interpolation, mode",
    LINEAR[:1] + [pytest.param(*pair, marks=pytest.mark.slow) for pair in LINEAR[1:]],
)
def test_a_linear_map_of_images(interpolation, mode):
    options = {"interpolation": interpolation, "fill_mode": mode}
    turned = lambda x: ops.image.affine_transform(x, for_each(x, TURN), **options)  # noqa: E731
    model = made(turned, IMAGE.shape)
    found = slopes(model, IMAGE[None]).reshape(-1, IMAGE.size) @ IMAGE.ravel()
    close(found, numpy(model(IMAGE[None]))[0], EXACT["float32"])


def with_matrix():
    def function(x):
        x = x + 0.0  # Keras on PyTorch writes into it
        return ops.image.affine_transform(for_each(x, IMAGE), x, fill_value=0.5)

    return made(function, (8,))


def test_the_matrix():
    model, at = with_matrix(), TURN[None]
    close(slopes(model, at), jacobian(predict(model), at, step=2e-3), SINGLE[2])


def test_the_matrix_at_whole_coordinates():
    """There are kinks: TensorFlow's slope is the mean of both sides, that of the others is one."""
    model, at = with_matrix(), IDENTITY[None]
    below = 2e-3 if BACKEND == "tensorflow" else 0.0
    value, moves = predict(model), 2e-3 * np.eye(8, dtype="float32")[:6]
    true = [(value(at + move) - value(at - below * (move > 0))) / (2e-3 + below) for move in moves]
    close(slopes(model, at)[..., :6], np.stack(true, axis=-1), SINGLE[2])


@pytest.mark.slow
def test_perspective():
    def images(x):
        return ops.image.perspective_transform(x, for_each(x, POINTS), for_each(x, CORNERS))

    def points(x):
        return ops.image.perspective_transform(for_each(x, IMAGE), x, for_each(x, CORNERS))

    model = made(images, IMAGE.shape)
    found = slopes(model, IMAGE[None]).reshape(-1, IMAGE.size) @ IMAGE.ravel()
    close(found, numpy(model(IMAGE[None]))[0], EXACT["float32"])
    model, at = made(points, (4, 2)), POINTS[None]
    close(slopes(model, at), jacobian(predict(model), at, step=2e-3), SINGLE[3])


def test_the_second_derivative():
    """The transform is the image's: a product of the two has the Hessian of the map alone."""

    def function(x):
        images = ops.reshape(x, (-1, 2, 2, 1))
        shift = ops.multiply(x[:, :1], np.array([[0, 0, 1, 0, 0, 0, 0, 0]], "float32"))
        moved = for_each(x, IDENTITY) + shift
        return ops.sum(ops.image.affine_transform(images, moved), (1, 2, 3))[:, None]

    model, x = made(function, (4,), (1,)), np.array([[0.3, 0.7, 0.2, 0.9]], "float32")
    hessian = numpy(kd.Hessian(model, strategy="reverse")(x))[0]
    # sum over rows of (1 - s) a + s b + (1 - s) b, where s = a_0: columns a, b
    true = np.zeros((4, 4))
    true[0, 0] = -2
    true[0, 2] = true[2, 0] = -1
    close(hessian, true, SINGLE[2])

"""Custom gradients whose backward part leaves TensorFlow: exact, or an error that names them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from truth import EXACT, close

import keras_derivs as kd


def sine(slope):
    @tf.custom_gradient
    def function(x):
        return tf.sin(x), lambda dy: dy * slope(x)

    return function


OUTSIDE = {
    "numpy where it is eager": sine(
        lambda x: tf.cos(x) if isinstance(x, tf.__internal__.SymbolicTensor) else np.cos(x.numpy())
    ),
    "py_function": sine(lambda x: tf.py_function(lambda v: np.cos(v.numpy()), [x], x.dtype)),
    "numpy": sine(lambda x: tf.constant(np.cos(np.asarray(x)))),
}


@pytest.mark.filterwarnings("ignore:(?s).*(cannot be traced|__array__)")
@pytest.mark.parametrize("name", OUTSIDE)
def test_what_leaves_the_framework(name):
    x = keras.Input((2,))
    y = keras.layers.Lambda(OUTSIDE[name], name="planted")(x)
    model = keras.Model(x, ops.sum(y, axis=1, keepdims=True))
    at = np.array([[0.3, 0.7]], "float32")
    close(kd.Gradient(model)(at), np.cos(at), EXACT["float32"])
    for made in (kd.Hessian, kd.Laplacian, kd.HVP):
        with pytest.raises(ValueError, match="(?s)second derivative.*Write the gradient"):
            made(model)([at, at] if made is kd.HVP else at)


@pytest.mark.filterwarnings("ignore:(?s).*Gradients are stopped")
def test_a_loss_of_the_framework_that_has_first_derivatives_only():
    def loss(x):
        ones = ops.ones_like(x[:, 0, 0], dtype="int32")
        labels = ops.stack([ones, 2 * ones], axis=1)
        return ops.ctc_loss(labels, x, 2 * ones, 6 * ones, mask_index=0)[:, None]

    x = keras.Input((6, 4))
    model = keras.Model(x, keras.layers.Lambda(loss, output_shape=(1,), name="planted")(x))
    at = np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    h = 1e-2 * np.eye(24).reshape(24, 1, 6, 4)
    after, before = (model(np.concatenate(list(at + step))) for step in (h, -h))
    true = np.reshape(after - before, (24, 2)).T.reshape(2, 6, 4) / 2e-2
    close(kd.Gradient(model)(at), true, 1e-2)
    for derive in (lambda: kd.Hessian(model)(at), lambda: kd.laplacian(model(x), x)):
        with pytest.raises(ValueError, match="(?s)second derivative.*'planted'.*first deriv"):
            derive()


@pytest.mark.filterwarnings("ignore:(?s).*Gradients are stopped")
def test_what_stays_in_it():
    """Also an estimate that is no derivative, and a part that is stopped on purpose."""
    identity = tf.custom_gradient(lambda x: (tf.round(x), lambda dy: dy))
    reversed_ = tf.custom_gradient(lambda x: (tf.identity(x), lambda dy: -dy))
    stopped = sine(lambda x: tf.stop_gradient(tf.cos(x)))
    at = np.array([[0.3]], "float32")
    for function, true in [
        (sine(tf.cos), -np.sin(at)),
        (identity, 0),
        (reversed_, 0),
        (stopped, 0),
    ]:
        x = keras.Input((1,))
        model = keras.Model(x, keras.layers.Lambda(function)(x))
        close(kd.Laplacian(model)(at), true + 0 * at, EXACT["float32"])

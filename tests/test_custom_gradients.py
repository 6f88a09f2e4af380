"""Custom gradients: derivatives of the second order are exact, or an error that says why not."""

import keras
import numpy as np
import pytest
from framework import BACKEND, by_numpy, tf, with_gradient
from keras import ops
from truth import EXACT, close, hessian, jacobian, numpy, predict

import keras_derivs as kd

AT = np.array([[0.3, 0.7]], "float32")
ORDER_TWO = (kd.Hessian, kd.Laplacian, kd.HVP)


def sine(slope):
    return with_gradient(ops.sin, lambda x, g: g * slope(x))


def planted(function):
    x = keras.Input((2,))
    y = keras.layers.Lambda(lambda z: function(z), name="planted", output_shape=(2,))(x)
    return keras.Model(x, ops.sum(y, axis=1, keepdims=True))


def derived(layer, model):
    return layer(model)([AT, AT] if layer is kd.HVP else AT)


OUTSIDE = {"numpy": lambda: sine(by_numpy(np.cos))}
if BACKEND == "tensorflow":
    OUTSIDE["numpy where it is eager"] = lambda: sine(
        lambda x: tf.cos(x) if isinstance(x, tf.__internal__.SymbolicTensor) else np.cos(x.numpy())
    )
    OUTSIDE["py_function"] = lambda: sine(
        lambda x: tf.py_function(lambda v: np.cos(v.numpy()), [x], x.dtype)
    )
    OUTSIDE["numpy, as a constant"] = lambda: sine(lambda x: tf.constant(np.cos(np.asarray(x))))


@pytest.mark.filterwarnings("ignore:(?s).*(cannot be traced|__array__)")
@pytest.mark.parametrize("name", OUTSIDE)
def test_what_leaves_the_framework(name):
    model = planted(OUTSIDE[name]())
    close(kd.Gradient(model)(AT), np.cos(AT), EXACT["float32"])
    words = "second derivative.*Write the gradient|'PyFunc' in 'planted'|callbacks do not support"
    for layer in ORDER_TWO:
        with pytest.raises(ValueError, match=f"(?s){words}"):
            derived(layer, model)


def test_what_is_stopped_inside():
    """TensorFlow's tape takes it for a constant and says so; else it is an error."""
    model = planted(sine(lambda x: ops.stop_gradient(ops.cos(x))))
    close(kd.Gradient(model)(AT), np.cos(AT), EXACT["float32"])
    for layer in ORDER_TWO:
        if BACKEND == "tensorflow":
            with pytest.warns(UserWarning, match="(?s)Gradients are stopped.*'planted'"):
                found = numpy(derived(layer, model))
            close(found, np.zeros(found.shape), EXACT["float32"])
        else:
            with pytest.raises(ValueError, match="(?s)second derivative.*'planted'"):
                derived(layer, model)


def identity(x):
    return 1 * x


@pytest.mark.parametrize(
    "function, slope, second",
    [
        (sine(ops.cos), np.cos(AT), -np.sin(AT)),
        (with_gradient(lambda x: ops.round(x), lambda x, g: g), 1, 0),  # an estimate
        (with_gradient(identity, lambda x, g: -g), -1, 0),
    ],
    ids=["sine", "straight through", "reversed"],
)
def test_what_stays_in_it(function, slope, second):
    model, tolerance = planted(function), EXACT["float32"]
    close(kd.Gradient(model)(AT), slope + 0 * AT, tolerance)
    close(kd.HessianDiagonal(model)(AT), second + 0 * AT, tolerance)
    close(kd.Laplacian(model)(AT), np.sum(second + 0 * AT, axis=1, keepdims=True), tolerance)


def loss(x):
    ones = ops.ones_like(x[:, 0, 0], dtype="int32")
    labels = ops.stack([ones, 2 * ones], axis=1)
    return ops.ctc_loss(labels, x, 2 * ones, 6 * ones, mask_index=0)[:, None]


@pytest.mark.filterwarnings("ignore:(?s).*(Gradients are stopped|Not verified.*ctc_loss)")
def test_a_loss_that_may_have_first_derivatives_only():
    x = keras.Input((6, 4))
    y = keras.layers.Lambda(loss, output_shape=(1,), name="planted")(x)
    model, at = keras.Model(x, y), np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    close(kd.Gradient(model)(at), jacobian(predict(model), at, step=5e-2)[:, 0], 1e-2)
    if BACKEND == "jax":  # which writes it in operations that can be differentiated again
        found = kd.Hessian(model)(at)
        close(found, hessian(predict(model), at, step=2e-1)[:, 0], 5e-2)
        return
    words = "second derivative.*'planted'.*first deriv|order 2 needs operations.*'ctc_loss' in 'planted'"
    with pytest.raises(ValueError, match=f"(?s){words}"):
        kd.Hessian(model)(at)
    if BACKEND == "tensorflow":  # which tells when a graph is built
        with pytest.raises(ValueError, match="(?s)second derivative.*'planted'.*first deriv"):
            kd.laplacian(model(x), x)

"""Eager derivatives on JAX: programs that look alike share a compilation, and no numbers."""

import keras
import numpy as np
import pytest
from framework import BACKEND
from truth import EXACT, close

import keras_derivs as kd

pytestmark = pytest.mark.skipif(BACKEND != "jax", reason="it is about JAX")
X = np.array([[0.3, -0.7], [1.2, 0.4]])


class Scaled(keras.layers.Layer):
    """Sines of scaled numbers, by a function that JAX compiles with the scales inside."""

    def __init__(self, scales):
        super().__init__(dtype="float64")
        self.scales = scales

    def call(self, x):
        import jax

        return jax.jit(lambda x: jax.numpy.sin(x * self.scales).sum(1, keepdims=True))(x)


@pytest.mark.parametrize("make", [np.asarray, keras.ops.convert_to_tensor], ids=["numpy", "tensor"])
def test_numbers_inside_of_compiled_functions(make):
    for scales in ([1.0, 2.0], [3.0, 0.5], [3.0, 0.5000001]):
        scales = np.array(scales)
        found = kd.HessianDiagonal(Scaled(make(scales)))(X)
        close(found, -(scales**2) * np.sin(X * scales), EXACT["float64"])


def test_an_audit_while_keras_holds_the_weights():
    x = keras.Input((2,))
    net = keras.Sequential([keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model = keras.Model(x, kd.laplacian(net(x), x))
    model.compile("sgd", loss="mse")
    model.fit(X, X[:, :1], verbose=0)
    expected = model.predict(X, verbose=0)
    net.trainable = False  # so that it is examined anew, while a program is traced
    close(model.predict(X[:1], verbose=0), expected[:1], EXACT["float32"])


def planted(name):
    """The sine, whose gradient JAX cannot differentiate again."""
    import jax

    def stopped(x):
        return jax.lax.stop_gradient(jax.numpy.cos(x))

    sine = getattr(jax, f"custom_{name}")(lambda x: jax.numpy.sin(x))
    if name == "vjp":
        sine.defvjp(lambda x: (sine(x), x), lambda x, g: (g * stopped(x),))
    else:
        sine.defjvp(lambda at, move: (sine(*at), move[0] * stopped(*at)))
    return keras.layers.Lambda(lambda x: sine(x).sum(1, keepdims=True))


def test_gradients_given_to_a_function_of_jax_are_the_models_own():
    jax = pytest.importorskip("jax")
    sine = jax.custom_vjp(jax.numpy.sin)
    sine.defvjp(
        lambda x: (jax.numpy.sin(x), jax.lax.stop_gradient(jax.numpy.cos(x))),
        lambda slope, g: (g * slope,),
    )
    with pytest.raises(ValueError, match="second derivative is not that of the first"):
        kd.HessianDiagonal(keras.layers.Lambda(lambda x: sine(x).sum(1, keepdims=True)))(X)


def test_what_changes_bits_is_named():
    jax = pytest.importorskip("jax")

    def bits(x):
        return x * jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(x, "int32"), "float32")

    with pytest.warns(UserWarning, match="Constant piece by piece: 'bitcast_convert_type'"):
        kd.Jacobian(keras.layers.Lambda(bits))(X)
    with pytest.warns(UserWarning, match="Rounded: 'reduce_precision'"):
        kd.Jacobian(keras.layers.Lambda(lambda x: jax.lax.reduce_precision(x, 8, 7)))(X)


@pytest.mark.parametrize("name", ["vjp", "jvp"])
def test_gradients_that_cannot_be_differentiated_are_refused(name):
    with pytest.raises(ValueError, match="second derivative is not that of the first"):
        kd.HessianDiagonal(planted(name))(X)

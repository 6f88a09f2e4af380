"""Many pulls through one recorded pass at once, in graphs of TensorFlow."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from truth import EXACT, close, hessian, jacobian, predict

import keras_derivs as kd
from keras_derivs.backend.tensorflow import vectorised

INPUTS, TOLERANCE = 6, EXACT["float64"]


def net(outputs=1, hidden=(), **options):
    dense = layers.Dense(8, "tanh", dtype="float64")
    last = layers.Dense(outputs, dtype="float64", **options)
    return keras.Sequential([keras.Input((INPUTS,), dtype="float64"), dense, *hidden, last])


def pairs():
    x, z = (keras.Input((INPUTS,), dtype="float64") for _ in range(2))
    h = layers.Dense(7, "softplus", dtype="float64")(ops.concatenate([x * z, ops.sin(z)], axis=1))
    return keras.Model([x, z], layers.Dense(1, dtype="float64")(h))


@pytest.fixture
def taken(monkeypatch):
    """Whether each loop was vectorised."""
    found, original = [], vectorised.at_each

    def at_each(function, columns):
        result = original(function, columns)
        found.append(result is not None)
        return result

    monkeypatch.setattr("keras_derivs.backend.at_each", at_each)
    return found


def points(seed=0, rows=5):
    return np.random.default_rng(seed).uniform(-1, 1, (rows, INPUTS))


LAYERS = {
    "Hessian": (kd.Hessian, lambda model: lambda x: hessian(predict(model), x)),
    "Jacobian": (kd.Jacobian, lambda model: lambda x: jacobian(predict(model), x)),
}


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("name", LAYERS)
def test_as_differences(name, outputs, taken):
    model = net(outputs)
    layer, truth = LAYERS[name]
    derivative = tf.function(layer(model, strategy="reverse"))
    found, expected = derivative(tf.constant(points())).numpy(), truth(model)(points())
    close(found, expected.reshape(found.shape), 1e-6)
    assert taken == ([True] if (name, outputs) != ("Jacobian", 1) else [])


def test_several_inputs_as_one_by_one(taken):
    model = pairs()
    x = [tf.constant(points(seed)) for seed in (1, 2)]
    found = tf.function(kd.Hessian(model, strategy="reverse"))(x)
    expected = kd.Hessian(model, strategy="reverse", chunk_size=1)(x)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        close(a, b, TOLERANCE)
    assert taken == [True, True]


def stepping(derivative, model, jit_compile, signature=None):
    """A function of x: the slopes of a loss by the weights."""

    @tf.function(jit_compile=jit_compile, input_signature=signature)
    def run(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(derivative(x)))
        return tape.gradient(loss, [weight.value for weight in model.trainable_variables])

    return run


def slopes(derivative, model, x, jit_compile):
    return stepping(derivative, model, jit_compile)(x)


def parameters(step, x):
    """What a compiled program takes; what XLA takes for a constant is not among it."""
    program = step.experimental_get_compiler_ir(x)(stage="hlo")
    (entry,) = [line for line in program.splitlines() if line.startswith("ENTRY")]
    return entry.split("->")[0]


def test_trains_as_compiled_by_xla(taken):
    model, x = net(), tf.constant(points())
    layer = kd.Hessian(model, strategy="reverse")
    plain, compiled = (stepping(layer, model, jit) for jit in (False, True))
    for a, b in zip(plain(x)[:3], compiled(x)[:3], strict=True):
        close(a, b, TOLERANCE)
    assert f"f64[5,{INPUTS}]" in parameters(compiled, x)
    assert taken == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "gelu", "elu", "selu"])
def test_xla_compiles_a_step_once(activation, taken):
    """It would compile anew at other inputs if these were constants to it."""
    hidden = layers.Dense(8, activation, dtype="float64")
    model = net(hidden=[hidden, layers.LayerNormalization(dtype="float64")])
    layer = kd.Hessian(model, strategy="reverse")
    one_by_one = kd.Hessian(model, strategy="reverse", chunk_size=1)
    step = stepping(layer, model, True, [tf.TensorSpec((None, INPUTS), "float64")])
    for seed in (0, 1):
        x = tf.constant(points(seed))
        for a, b in zip(step(x), stepping(one_by_one, model, False)(x)):
            if a is not None:
                close(a, b, TOLERANCE)
    assert f"f64[5,{INPUTS}]" in parameters(step, x)
    assert taken == [True]


def test_a_function_inside_of_a_compiled_one_goes_another_way(taken):
    """What one function hands to another would be a constant to XLA."""
    model, x = net(), tf.constant(points())
    layer = kd.Hessian(model, strategy="reverse")
    found = slopes(tf.function(layer), model, x, True)
    assert taken == [False]
    close(found[0], slopes(layer, model, x, False)[0], TOLERANCE)


class Looped(layers.Layer):
    def call(self, x):
        return ops.fori_loop(0, 2, lambda n, z: ops.sin(z), x)


SUMS = layers.Lambda(lambda x: tf.cumsum(x, axis=1), dtype="float64")


@pytest.mark.parametrize("hidden", [[Looped(dtype="float64")], [SUMS]])
def test_what_is_not_known_goes_another_way(hidden, taken):
    model, x = net(hidden=hidden), tf.constant(points())
    layer = kd.Hessian(model, strategy="reverse", audit=False)
    close(tf.function(layer)(x), layer(x), TOLERANCE)
    assert not any(taken)


EMPTY = {
    "Jacobian": lambda model: kd.Jacobian(model, strategy="reverse"),
    "by columns": lambda model: kd.Jacobian(model, strategy="forward"),
    "Hessian": lambda model: kd.Hessian(model, strategy="reverse"),
    "Laplacian": lambda model: kd.Laplacian(model, strategy="reverse"),
}


@pytest.mark.parametrize("rows", [0, None])
@pytest.mark.parametrize("name", EMPTY)
def test_empty_batches(name, rows, taken):
    """One layer alone, whose slope by x is a product of matrices, and two."""
    x, signature = tf.zeros((0, INPUTS), "float64"), [tf.TensorSpec((rows, INPUTS), "float64")]
    x0 = keras.Input((INPUTS,), dtype="float64")
    single = keras.Model(x0, layers.Dense(5, "tanh", dtype="float64")(x0))
    for model in (single, net(4)):
        derivative = EMPTY[name](model)
        found = tf.function(derivative, input_signature=signature)(x)
        assert found.shape == derivative(x).shape
    assert taken == [True, False, True, False]  # in the graph, and not eagerly


def test_the_slope_of_tanh_has_derivatives_itself():
    """In a graph it has a gradient of its own, exact far out at every order."""
    x = tf.constant([-40.0, -9.0, -1.0, 0.0, 0.3, 5.0, 200.0], "float64")

    @tf.function
    def derivatives(x):
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                slope = kd.backend.slope_of_tanh(x)
            found = first.gradient(slope, x)
        return slope, found, second.gradient(found, x)

    s, t = 1 / np.cosh(x.numpy()) ** 2, np.tanh(x.numpy())
    for found, expected in zip(derivatives(x), (s, -2 * t * s, 4 * t**2 * s - 2 * s**2)):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=0)

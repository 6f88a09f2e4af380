"""Eager, graph, XLA, fit and predict: the same numbers, one compilation, no trace left behind."""

import time

import keras
import numpy as np
import pytest
from framework import BACKEND, compiled, gradients, on_tensorflow, tf
from keras import layers, ops
from models import build, points
from truth import EXACT, close, numpy

import keras_derivs as kd
from keras_derivs import backend
from keras_derivs.backend import override

LAYERS = {
    "Jacobian": kd.Jacobian,
    "forward": lambda m: kd.Jacobian(m, strategy="forward"),
    "Hessian": lambda m: kd.Hessian(m, strategy="tape"),
    "chunks": lambda m: kd.Hessian(m, strategy="tape", chunk_size=2),
    "HessianDiagonal": lambda m: kd.HessianDiagonal(m, strategy="tape"),
    "Laplacian": kd.Laplacian,
    "Partials": lambda m: kd.Partials(m, [(0, 1), (2,)], strategy="tape"),
    "taylor": lambda m: kd.Partials(m, [(0, 1), (2,)], strategy="taylor"),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", ["sequential", "nested", "subclassed"])
def test_every_mode_agrees(name, kind):
    model, x = build(kind, "float32")
    layer = LAYERS[name](model)
    expected = keras.tree.flatten(layer(x))
    for function in compiled(lambda x: layer(x)).values():
        found = keras.tree.flatten(function(x))
        for one, other in zip(found, expected):
            close(one, other, 10 * EXACT["float32"])
    inputs = keras.Input((3,))
    found = keras.tree.flatten(keras.Model(inputs, layer(inputs)).predict(x, verbose=0))
    for one, other in zip(found, expected):
        close(one, other, 10 * EXACT["float32"])


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_the_weights_match_differences(name):
    model, x = build("sequential", "float64")
    layer = LAYERS[name](model)
    weight = model.trainable_variables[0]

    def loss(shift):
        before = weight.numpy()
        moved = before.copy()
        moved[1, 2] += shift
        weight.assign(moved)
        value = sum(np.sum(np.sin(numpy(y))) for y in keras.tree.flatten(layer(x)))
        weight.assign(before)
        return value

    def function():
        return sum(ops.sum(ops.sin(y)) for y in keras.tree.flatten(layer(x)))

    (found,) = gradients(lambda: function(), [weight])
    found = found[1, 2]
    expected = (loss(1e-5) - loss(-1e-5)) / 2e-5
    # on JAX and PyTorch, Keras has the sine and the sum in float32
    close(found, expected, 1e-7 if BACKEND == "tensorflow" else 1e-5)


@on_tensorflow
@pytest.mark.parametrize("name", ["Jacobian", "Hessian", "Partials", "taylor"])
def test_xla_compiles_once_over_batches_and_updates(name):
    model, _ = build("sequential", "float32")
    layer, traces = LAYERS[name](model), []

    @tf.function(jit_compile=True)
    def step(x):
        traces.append(x.shape)
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_mean(y**2) for y in tf.nest.flatten(layer(x)))
        for weight, gradient in zip(
            model.trainable_variables, tape.gradient(loss, model.trainable_variables)
        ):
            if gradient is not None:
                weight.assign_sub(0.1 * gradient)
        return loss

    losses, seconds = [], []
    for seed in range(20):
        start = time.perf_counter()
        losses.append(float(step(tf.constant(points((8, 3), seed=seed)))))
        seconds.append(time.perf_counter() - start)
    assert len(traces) == 1 and len(set(losses)) == 20
    # XLA compiles behind TensorFlow's back, too: no later call may take as long as the first
    assert np.median(seconds[1:]) < seconds[0] / 5 and max(seconds[3:]) < seconds[0] / 2


@pytest.mark.parametrize("jit", [False] if BACKEND == "torch" else [False, True])
@pytest.mark.parametrize("order", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_fit_on_a_derivative(jit, order):
    tx = keras.Input((2,))
    u = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(1)])(tx)
    residual = kd.partials(u, (tx[:, :1],), (tx[:, 1:],) * order)
    pinn = keras.Model(tx, {"u": u, "residual": residual[0] - residual[1]})
    pinn.compile(loss="mse", optimizer=keras.optimizers.Adam(0.01), jit_compile=jit)
    targets = {"u": np.sin(points((64, 1))), "residual": np.zeros((64, 1))}
    losses = pinn.fit(points((64, 2)), targets, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert pinn.evaluate(points((64, 2)), targets, verbose=0, return_dict=True)["loss"] < losses[0]


class Counted(layers.Layer):
    """Counts how often Python comes by: at every trace, at no step."""

    count = 0

    def call(self, x):
        Counted.count += 1
        return ops.tanh(x)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch runs step by step")
@pytest.mark.parametrize("recurrent", [False, True])
def test_fit_is_traced_once_over_batches_and_updates(recurrent):
    first = layers.GRU(4) if recurrent else layers.Flatten()
    net = keras.Sequential([keras.Input((3, 2)), first, Counted(), layers.Dense(1)])
    x = keras.Input((3, 2))
    model = keras.Model(x, [net(x), kd.Gradient(net, strategy="reverse")(x)])
    model.compile(loss=["mse", "mse"], optimizer="adam", jit_compile=BACKEND == "jax")
    values = points((32, 3, 2), "float32")
    fit = lambda: model.fit(values, [values[:, 0, :1], values], batch_size=8, verbose=0)  # noqa: E731
    fit()
    count, weights = Counted.count, [w.numpy() for w in model.trainable_weights]
    fit()
    assert Counted.count == count
    assert all(np.any(w.numpy() != old) for w, old in zip(model.trainable_weights, weights))


def test_a_derivative_leaves_no_trace():
    x = keras.Input((3,))
    h = layers.Dense(4, activity_regularizer="l2", kernel_regularizer="l2")(x)
    h = layers.Dropout(0.5)(layers.BatchNormalization(momentum=0.5)(h))
    net = keras.Model(x, layers.Dense(1)(h))
    z = keras.Input((3,))
    u = net(z)
    alone, beside = keras.Model(z, u), keras.Model(z, [u, kd.gradient(u, z), kd.hessian(u, z)])
    values = points((8, 3), "float32")
    before = [weight.numpy() for weight in net.non_trainable_variables]
    kd.Gradient(net)(values)
    kd.Gradient(net, training=False)(values)
    for old, weight in zip(before, net.non_trainable_variables):
        np.testing.assert_array_equal(old, weight.numpy())
    alone(values, training=True)
    once = [weight.numpy() for weight in net.non_trainable_variables]
    losses = [float(numpy(loss)) for loss in alone.losses]
    for weight, old in zip(net.non_trainable_variables, before):
        weight.assign(old)
    beside(values, training=True)
    assert len(beside.losses) == len(losses)
    for old, weight in zip(once[:2], net.non_trainable_variables):
        np.testing.assert_allclose(old, weight.numpy(), rtol=1e-6)


def test_a_derivative_is_that_of_inference():
    net = keras.Sequential([keras.Input((3,)), layers.Dropout(0.5), layers.Dense(1)])
    x = keras.Input((3,))
    model = keras.Model(x, kd.gradient(net(x), x))
    values = points((4, 3), "float32")
    close(model(values, training=True), model(values), 0)


@on_tensorflow
def test_the_place_where_keras_takes_moments():
    """If Keras moves it, second derivatives through normalisations are wrong without a word."""
    assert override.plain(tf.nn.moments) is not tf.nn.moments
    values = tf.constant(points((4, 5), "float32"))
    plain = keras.ops.moments(values, axes=[1])
    from keras_derivs.backend.tensorflow import exact

    with exact.scope():
        same = keras.ops.moments(values, axes=[1])
        with tf.GradientTape() as tape:
            tape.watch(values)
            mean, _ = keras.ops.moments(values, axes=[1])
        assert tape.gradient(mean, values) is not None
    for one, other in zip(plain, same):
        np.testing.assert_array_equal(one, other)


def test_variables_of_an_enclosing_stateless_call_are_used():
    net, x = build("sequential", "float32")
    layer = kd.Jacobian(net)
    expected = layer(x)
    doubled = [2 * v for v in net.trainable_variables]
    outputs, _ = layer.stateless_call(
        doubled, layer.non_trainable_variables, ops.convert_to_tensor(x)
    )
    for v, new in zip(net.trainable_variables, doubled):
        v.assign(new)
    close(outputs, layer(x), EXACT["float32"])
    assert np.max(np.abs(ops.convert_to_numpy(outputs - expected))) > 0.1


def test_precision_is_told():
    half = keras.Sequential([keras.Input((2,)), layers.Dense(1, dtype="mixed_float16")])
    with pytest.warns(UserWarning, match="float32 derivatives.*float16"):
        layer = kd.Gradient(half)
    assert keras.backend.standardize_dtype(layer(points((3, 2))).dtype) == "float32"
    single = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.warns(UserWarning, match="float64 derivatives.*float32"):
        kd.Gradient(single, dtype="float64")


@on_tensorflow
def test_memory_of_a_chunked_jacobian_is_bounded():
    net = keras.Sequential([keras.Input((4,)), layers.Dense(64, "tanh"), layers.Dense(64)])
    layer = kd.Jacobian(net, strategy="reverse", chunk_size=8)
    concrete = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec((10, 4)))
    largest = max(
        np.prod(output.shape)
        for operation in concrete.graph.get_operations()
        for output in operation.outputs
        if output.shape.is_fully_defined() and operation.type in ("Tanh", "MatMul")
    )
    assert largest <= 8 * 10 * 64


def test_a_compiled_training_where_the_framework_can():
    """PyTorch's compiler cannot differentiate twice: Keras says so, and trains without it."""
    x = keras.Input((2,))
    u = layers.Dense(1)(layers.Dense(4, "tanh")(x))
    model = keras.Model(x, [u, kd.laplacian(u, x)])
    data = points((8, 2)), [points((8, 1))] * 2
    if backend.MODES:
        model.compile("sgd", ["mse", "mse"], jit_compile=True)
    else:
        with pytest.warns(UserWarning, match="Proceeding with `jit_compile=False`"):
            model.compile("sgd", ["mse", "mse"], jit_compile=True)
    assert np.isfinite(model.fit(*data, verbose=0).history["loss"][0])

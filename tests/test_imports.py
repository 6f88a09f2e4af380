"""What importing the package, once or again, does to models: nothing."""

import os
import subprocess
import sys
import textwrap

import pytest

PLAIN = """
    import hashlib, keras, numpy as np, tensorflow as tf
    from keras import layers, ops

    def models():
        yield "dense", (5,), [layers.Dense(4, a) for a in ("tanh", "relu", "gelu", "silu", "selu")]
        yield "norms", (6, 4), [layers.LayerNormalization(), layers.GroupNormalization(2),
                                layers.BatchNormalization(), layers.UnitNormalization()]
        yield "conv", (8, 8, 2), [layers.Conv2D(3, 3), layers.MaxPooling2D(2, 1, "same"),
                                  layers.UpSampling2D(2, interpolation="bilinear")]
        yield "rnn", (5, 3), [layers.GRU(4, return_sequences=True), layers.LSTM(2)]
        yield "ops", (3,), [layers.Lambda(f) for f in (
            ops.abs, lambda x: ops.sqrt(x + 1), lambda x: ops.norm(x, axis=1, keepdims=True) * x,
            lambda x: x ** 2.5, lambda x: ops.cumprod(x, 1), lambda x: ops.sort(x, 1),
            lambda x: ops.logaddexp(x, x), lambda x: ops.where(x > 0, ops.log(x), x))]

    def numbers(x, model, training):
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = model(x, training=training)
            slope = tape.gradient(y, x)
        weights = outer.gradient(y, model.trainable_weights)
        second = outer.gradient(slope, x) if slope is not None else None
        return [z for z in (y, slope, second, *weights) if z is not None]

    def digests():
        keras.utils.set_random_seed(1)
        for name, shape, parts in models():
            model = keras.Sequential([keras.Input(shape), *parts])
            x = tf.constant(np.random.default_rng(0).uniform(0.1, 0.9, (4, *shape)), tf.float32)
            graph = tf.function(lambda x, training: numbers(x, model, training), autograph=False)
            for training in (False, True):
                for found in (numbers(x, model, training), graph(x, training)):
                    yield name, hashlib.sha1(b"".join(z.numpy().tobytes() for z in found)).hexdigest()

    tf.config.threading.set_intra_op_parallelism_threads(1)
    before = list(digests())
    {then}
    after = list(digests())
    assert len(before) == 20 and before == after, (before, after)
"""

RELOADED = """
    import importlib, sys, threading, keras, numpy as np
    import keras_derivs as kd
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "tanh"),
                            keras.layers.LayerNormalization(), keras.layers.Dense(1)])
    x = keras.Input((2,))
    points = np.random.default_rng(0).uniform(size=(3, 2)).astype("float32")
    old = kd.Hessian(net, strategy="tape")
    u = net(x)
    slope = kd.gradient(u, x)
    model = keras.Model(x, [u, slope, kd.gradient(slope, x, component=0), kd.Jacobian(net)(x)])
    fused = kd.fuse(model)
    tables = {name: getattr(kd, name) for name in kd.__all__}
    expected = [*model(points), old(points)]

    def reload(name):
        importlib.reload(sys.modules[name])

    names = sorted(name for name in sys.modules if name.split(".")[0] == "keras_derivs")
    for _ in range(3):
        for name in names:
            reload(name)
        for name in reversed(names):
            reload(name)
    kd = importlib.reload(sys.modules["keras_derivs"])

    def check(found):
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)

    model.save(sys.argv[1])  # layers from before, saved after, loaded as new ones
    loaded = keras.models.load_model(sys.argv[1])
    for one in (model, fused, loaded, kd.fuse(model), kd.fuse(loaded)):
        check([*one(points), kd.Hessian(net, strategy="tape")(points)])
        check([*one(points), old(points)])
    new = kd.gradient(slope, x, component=0)  # of a derivative from before
    check([*model(points)[:2], keras.Model(x, new)(points), model(points)[3], old(points)])
    assert kd.fuse(keras.Model(x, [slope, new])).layers[-1].__class__.__name__ == "Fused"
    assert "Hessian" in old.explain() and kd.verify(old, points) is not None
    try:
        model.save(sys.argv[1] + ".h5")
    except ValueError as error:
        assert "Nothing was written" in str(error)
    else:
        raise AssertionError("saved")
"""


def run(script, *arguments):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_neither_an_import_nor_a_derivative_changes_a_number_of_a_plain_model():
    then = """
    import keras_derivs as kd
    for layer in (layers.LayerNormalization(), layers.Lambda(lambda x: ops.norm(x, axis=1))):
        net = keras.Sequential([keras.Input((3,)), layer])
        kd.Jacobian(net)(np.ones((2, 3))), kd.Hessian(net, strategy="tape")(np.ones((2, 3)))
    """
    run(PLAIN.replace("    {then}\n", then))


@pytest.mark.slow
def test_reloading_the_package_and_its_parts_is_harmless(tmp_path):
    run(RELOADED, tmp_path / "model.keras")

"""The package changes no number of a plain Keras model, however often it is loaded."""

import subprocess
import sys

from framework import on_tensorflow

SCRIPT = """
import importlib, random, sys
import keras, numpy as np, tensorflow as tf
from keras import ops

X = tf.constant([[0.0, 1.0, 1.0]])

def function(x):
    parts = [ops.cumprod(x, 1), ops.logaddexp(x, x), ops.celu(x), x**2, tf.nn.selu(x),
             ops.norm(x, axis=1, keepdims=True), ops.where(x > 0, x * ops.log(x), x)]
    return ops.concatenate([*parts, layer(x)], 1)

def plain():
    with tf.GradientTape() as second:
        second.watch(X)
        with tf.GradientTape() as first:
            first.watch(X)
            y = function(X)
        slope = first.gradient(y, X)
    return np.concatenate([y, slope, second.gradient(slope, X)], 1)

def derived():
    x = tf.constant([[0.0, 2.0, 3.0]])
    with sys.modules["keras_derivs.backend.tensorflow.exact"].precise(), tf.GradientTape() as tape:
        tape.watch(x)
        y = ops.cumprod(x, 1)[:, 2]
        return tape.gradient(y, x)

keras.utils.set_random_seed(0)
layer = keras.layers.LayerNormalization()
before = plain()
import keras_derivs

def check(name):
    assert np.array_equal(before, plain(), equal_nan=True), name
    assert np.array_equal(derived(), [[6, 0, 0]]), name

check("import")
names = [name for name in sys.modules if name.startswith("keras_derivs")]
random.Random(0).shuffle(names)
for name in [name for name in names if "backend" in name]:
    importlib.reload(sys.modules[name])
    check(name)
for name in names:
    importlib.reload(sys.modules[name])
check("all")
x = keras.Input((3,))
hessian = keras_derivs.Hessian(keras.Model(x, ops.cumprod(x, 1)[:, 2:]), strategy="reverse")
found = hessian(np.array([[0.0, 2.0, 3.0]], "float32"))
assert np.array_equal(found, [[[0, 3, 2], [3, 0, 0], [2, 0, 0]]]), found
assert tf.nn.moments.__name__ == "moments_v2" and tf.nn.moments.__doc__
"""


@on_tensorflow
def test_loading_again():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

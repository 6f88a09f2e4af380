"""Under load: thousands of steps, and many threads at once."""

import copy
import gc
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread, current_thread

import keras
import numpy as np
import pytest
from framework import on_tensorflow, tf
from keras import layers, ops
from models import points
from truth import EXACT, close, numpy

import keras_derivs as kd

WARM_UP, STEPS = 300, 1000
MEGABYTES = 8  # 1,000 steps were seen to add 0 to 1.5; 8 KB lost at each would be too many


@keras.saving.register_keras_serializable(package="tests")
class Counted(layers.Layer):
    """Does nothing but count how often Python comes by: at every trace, at no step."""

    count = 0

    def call(self, x):
        Counted.count += 1
        return ops.tanh(x)


def net(num_outputs):
    return keras.Sequential(
        [keras.Input((2,)), layers.Dense(16), Counted(), layers.Dense(num_outputs)]
    )


def pinn():
    tx = keras.Input((2,))
    u, t, x = net(1)(tx), tx[:, :1], tx[:, 1:]
    u_t, u_x, u_xx = kd.partials(u, (t,), (x,), (x, x))
    return keras.Model(tx, [u, u_t + u * u_x - 0.01 * u_xx])


def wrapped():
    model, x = net(3), keras.Input((2,))
    block = kd.SubJacobian(model, outputs=[0, 2], chunk_size=1)(x)
    return keras.Model(x, [model(x), block, kd.Hessian(model)(x)])


MODELS = {"pinn": pinn, "wrapped": wrapped}
X = points((500, 2), "float32")


def fit(model, steps):
    """Epochs of 15 full batches and a part of one."""
    zeros = [np.zeros((500, *y.shape[1:]), "float32") for y in model.outputs]
    model.fit(X, zeros, batch_size=32, epochs=-(-steps // 16), verbose=0)


def fit_on_ragged_batches(model, steps):
    zeros = [np.zeros((40, *y.shape[1:]), "float32") for y in model.outputs]
    for step in range(steps):
        size = 1 + step % 40
        model.train_on_batch(X[step % 400 :][:size], [zero[:size] for zero in zeros])


def predict(model, steps):
    for step in range(-(-steps // 50)):
        model.predict(X[: 491 + step % 10], batch_size=10, verbose=0)


def call(model, steps):
    for step in range(steps):
        model(X[: 1 + step % 70])


def resident():
    gc.collect()
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


WORKS = (fit_on_ragged_batches, predict, fit, call)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads Linux's /proc")
@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("name", MODELS)
def test_a_thousand_steps_keep_memory_and_traces(name, work):
    model = MODELS[name]()
    model.compile(loss=["mse"] * len(model.outputs), optimizer="adam", jit_compile=False)
    work(model, WARM_UP)
    memory, traces = resident(), Counted.count
    work(model, STEPS)
    assert resident() - memory < MEGABYTES
    if work is not call:
        assert Counted.count == traces


@on_tensorflow
def test_a_function_of_any_batch_is_traced_once():
    layer = kd.Hessian(net(2))
    derive = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec((None, 2))])
    for size in range(1, 30):
        close(derive(X[:size]), layer(X[:size]), EXACT["float32"])
    assert derive.experimental_get_tracing_count() == 1


COMPILED = """
    import keras, numpy as np, sys, keras_derivs as kd
    sys.path.insert(0, {tests!r})
    from test_load import MODELS, X
    model = MODELS[{name!r}]()
    model.compile(loss=["mse"] * len(model.outputs), optimizer="adam", jit_compile=True)
    zeros = [np.zeros((500, *y.shape[1:]), "float32") for y in model.outputs]
    model.fit(X, zeros, batch_size=32, epochs=int(sys.argv[1]), verbose=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_xla_compiles_once_for_each_size_of_a_batch(name, tmp_path):
    """XLA writes down every program that it compiles."""
    script = textwrap.dedent(COMPILED.format(tests=os.path.dirname(__file__), name=name))
    programs = []
    for epochs in (1, 5):
        folder = tmp_path / str(epochs)
        flags = f"--xla_dump_to={folder} --xla_dump_hlo_module_re=.*one_step_on_data.*"
        environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-c", script, str(epochs)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        programs.append(len(list(folder.glob("*before_optimizations.txt"))))
    assert programs == [2, 2]  # the full batch, and the part that is left


class AnyWidth(layers.Layer):
    """A layer that takes samples of any width."""

    def call(self, x):
        return ops.sum(ops.sin(x) * ops.exp(x), axis=-1, keepdims=True)


def at_once(work, arguments):
    """Each in a thread of its own, all started at the same moment and often interrupted."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    barrier = Barrier(len(arguments))

    def start(argument):
        barrier.wait()
        return work(argument)

    try:
        with ThreadPoolExecutor(len(arguments)) as threads:
            return list(threads.map(start, arguments))
    finally:
        sys.setswitchinterval(before)


LAYERS = {
    "Gradient": kd.Gradient,
    "Jacobian": lambda model: kd.Jacobian(model, return_value=True),
    "Hessian": kd.Hessian,
    "HessianDiagonal": lambda model: kd.HessianDiagonal(model, chunk_size=2),
    "Laplacian": kd.Laplacian,
    "Partials": lambda model: kd.Partials(model, [(), (0,), (0, 1), (1, 1, 1)]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_threads_that_call_one_layer_get_what_they_asked_for(name):
    values = [points((1 + n % 5, 2 + n % 4), "float32", n) for n in range(8)]
    expected = [keras.tree.flatten(LAYERS[name](AnyWidth())(x)) for x in values]
    layer = LAYERS[name](AnyWidth())
    found = at_once(lambda x: [layer(x) for _ in range(5)], values)
    for repeated, wanted in zip(found, expected):
        for results in repeated:
            for one, other in zip(keras.tree.flatten(results), wanted, strict=True):
                close(one, other, EXACT["float32"])


def normalised():
    """A model whose second derivatives need the package's own moments."""
    return keras.Sequential(
        [keras.Input((2,)), layers.Dense(6, "tanh"), layers.LayerNormalization(), layers.Dense(1)]
    )


def test_threads_may_make_layers_of_one_model_and_of_their_own():
    model, x = normalised(), X[:6]
    expected = [numpy(make(model)(x)) for make in (kd.Gradient, kd.Hessian)]

    def work(n):
        strategy = "tape" if n % 2 else "taylor"
        shared = [kd.Gradient(model)(x), kd.Hessian(model, strategy=strategy)(x)]
        own = normalised()
        tx = keras.Input((2,))
        symbolic = keras.Model(tx, kd.hessian(own(tx), tx))
        return shared, symbolic(x), kd.Hessian(own)(x)

    for shared, symbolic, layer in at_once(work, range(8)):
        for one, other in zip(shared, expected):
            close(one, other, EXACT["float32"])
        close(symbolic, layer, EXACT["float32"])


class Pausing(layers.Layer):
    """A place in the middle of a model where a thread may be held up."""

    def pause(self):
        pass

    def call(self, x):
        self.pause()
        return x


def test_a_derivative_that_ends_does_not_end_the_exact_moments_of_others():
    middle = Pausing()
    model = keras.Sequential(normalised().layers[:1] + [middle] + normalised().layers[1:])
    layer = kd.Hessian(keras.Sequential([keras.Input((2,)), model]), strategy="tape")
    expected = numpy(layer(X))
    started, both, ended = Event(), Event(), Event()
    middle.pause = lambda: hold_up[current_thread().name]()
    hold_up = {
        "first": lambda: (started.set(), both.wait(60)),
        "second": lambda: (both.set(), ended.wait(60)),
    }
    found = {}

    def work():
        found[current_thread().name] = numpy(layer(X))

    first, second = Thread(target=work, name="first"), Thread(target=work, name="second")
    first.start()
    assert started.wait(60)
    second.start()
    first.join()
    ended.set()
    second.join()
    np.testing.assert_array_equal(found["first"], expected)
    np.testing.assert_array_equal(found["second"], expected)


def test_threads_may_copy_while_others_compute():
    model = pinn()
    expected = [numpy(y) for y in model(X[:9])]
    found = at_once(lambda n: (copy.deepcopy(model) if n % 2 else model)(X[:9]), range(8))
    for results in found:
        for one, other in zip(results, expected, strict=True):
            close(one, other, EXACT["float32"])


class Parts(layers.Layer):
    """A layer whose parts others build on, too."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = layers.Dense(4, "tanh"), layers.Dense(1)

    def call(self, x):
        return self.outer(ops.sin(self.inner(x)))


def edit(parts, count):
    """Build on the parts of a layer as often; every tensor knows the node that made it."""
    x = keras.Input((2,))
    for _ in range(count // 2):
        for layer in (parts.inner, parts.outer):
            x = layer(x if layer is parts.outer else keras.Input((2,)))
            operation, index, _ = x._keras_history
            assert operation._inbound_nodes[index].outputs[0] is x


def derive(parts, count):
    """Derivatives of all kinds, whose engines trace the layer, and models that are made of it."""
    for strategy in ("taylor", "tape"):
        layer = kd.HessianDiagonal(parts, strategy=strategy)
        expected = numpy(layer(X[:3]))
        for n in range(max(1, count // 1000)):
            np.testing.assert_allclose(numpy(layer(X[:3])), expected, rtol=1e-4, atol=1e-5)
            kd.Gradient(parts)(X[: 1 + n % 5])
            x = keras.Input((2,))
            u = parts(x)
            keras.Model(x, [u, *kd.partials(u, (x[:, :1],), (x[:, 1:],) * 2)])


@pytest.mark.parametrize("edits", [400, pytest.param(200_000, marks=pytest.mark.long)])
def test_threads_may_build_on_what_others_derive(edits):
    """Tracing that took its nodes out again once took those of others, too.

    One thread of each: Keras itself miscounts the nodes of a layer that two build on at once.
    """
    for start in range(0, edits, 20_000):
        parts = Parts()
        parts(X[:1])
        count = min(20_000, edits - start)
        at_once(lambda work, parts=parts, count=count: work(parts, count), [edit, derive])

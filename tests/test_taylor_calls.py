"""What a layer's `call` may do beside plain operations: Taylor is right, or it refuses."""

import threading

import framework
import keras
import numpy as np
import pytest
import truth
from framework import tf
from keras import layers, ops

import keras_derivs as kd
from keras_derivs.engine.taylor.symbols import Symbol, symbols

X = np.random.default_rng(0).uniform(0.1, 0.9, (3, 3))


class Custom(layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function, self.inner = function, layers.Dense(3)
        self.dropout = layers.Dropout(0.5)
        self.cache, self.kept, self.named = None, [], {}

    def build(self, input_shape):
        self.inner.build(input_shape)

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 3), dtype=x.dtype)

    def call(self, x):
        return self.function(self, x)


@ops.custom_gradient
def sine(x):
    def grad(*args, upstream=None):
        return (args[0] if upstream is None else upstream) * ops.cos(x)

    return ops.sin(x), grad


def caching(self, t):
    self.cache, self.new = ops.sin(t), t * t
    self.kept.append(self.cache)
    self.named["a"] = self.cache
    return self.kept[-1] * self.new + self.named["a"]


def capturing(self, t):
    s = ops.sin(t)
    return [lambda z: z * s, lambda z: z + s][0](t)


def mapped(self, t):
    return ops.transpose(ops.map(lambda n: ops.sin(n * t[:, 0]), ops.arange(3.0, dtype="float64")))


def scanned(self, t):
    step = lambda carry, n: (carry + ops.sin(t[:, 0]), carry * t[:, 1])  # noqa: E731
    return ops.transpose(
        ops.scan(step, ops.zeros_like(ops.sign(t[:, 0])), ops.arange(3.0, dtype="float64"))[1]
    )


def looped(self, t):
    many = ops.ones_like(ops.sign(t))
    return ops.while_loop(lambda n, a: n < 3, lambda n, a: (n + 1, a * ops.sin(t)), (0, many))[1]


CALLS = {
    "cond": lambda self, t: ops.cond(ops.sum(t) > -100, lambda: ops.sin(t), lambda: t * t),
    "cond, other": lambda self, t: ops.cond(ops.sum(t) < -100, lambda: ops.sin(t), lambda: t * t),
    "cond, nested": lambda self, t: ops.cond(
        ops.sum(t) > -100,
        lambda: ops.cond(ops.sum(t) > -99, lambda: ops.exp(t) * t, lambda: t),
        lambda: t * t,
    ),
    "switch": lambda self, t: ops.switch(
        ops.cast(ops.sum(t) > -100, "int32"), [lambda: t * t, lambda: ops.sin(t)]
    ),
    "while": lambda self, t: ops.while_loop(
        lambda n, a: n < 3, lambda n, a: (n + 1, ops.sin(a)), (0, t)
    )[1],
    "while, captured": looped,
    "fori": lambda self, t: ops.fori_loop(0, 3, lambda n, a: ops.sin(a), t),
    "fori, captured": lambda self, t: ops.fori_loop(
        0, 3, lambda n, a: a * ops.sin(t), ops.ones_like(ops.sign(t))
    ),
    "map": lambda self, t: ops.map(ops.sin, t),
    "map, captured": mapped,
    "scan, captured": scanned,
    "vectorized_map": lambda self, t: ops.vectorized_map(ops.sin, t),
    "vectorized_map, captured": lambda self, t: ops.transpose(
        ops.vectorized_map(lambda n: ops.sin(n * t[:, 0]), ops.arange(3.0, dtype="float64"))
    ),
    "associative_scan": lambda self, t: ops.associative_scan(lambda a, b: a * b, t, axis=1),
    "associative_scan, captured": lambda self, t: ops.associative_scan(
        lambda a, b: a * b * t[:, :1], ops.ones_like(ops.sign(t)), axis=1
    ),
    "custom_gradient": lambda self, t: sine(t),
    "cached": caching,
    "captured": capturing,
    "called twice": lambda self, t: self.inner(ops.sin(self.inner(t))) * t,
    "python if": lambda self, t: ops.sin(t) if ops.sum(t) > -100 else t * t,
    "in its shape": lambda self, t: ops.sin(t) + ops.zeros(ops.shape(t), t.dtype),
    "a symbol of Keras": lambda self, t: t if keras.backend.is_keras_tensor(t) else ops.sin(t),
    "a tensor": lambda self, t: ops.sin(t) if ops.is_tensor(t) else t * t,
    "a new layer": lambda self, t: t * layers.Activation("tanh")(t),
    "dropout of a constant": lambda self, t: t * t * self.dropout(ops.ones_like(ops.sign(t))),
    "the framework": lambda self, t: framework.sine(t),
}
if tf:
    CALLS["tf.function"] = lambda self, t: tf.function(tf.sin)(t)
    CALLS["tf.function, captured"] = lambda self, t: tf.function(lambda: ops.sin(t))()
# JAX has no reverse mode of a loop whose number of steps depends on what it computes
WITHOUT_GRADIENT = {"while", "while, captured"} if framework.BACKEND == "jax" else set()


def wrapped(name):
    inputs = keras.Input((3,), dtype="float64")
    layer = Custom(CALLS[name])
    model = keras.Model(inputs, layers.Dense(1)(layer(inputs)))
    return model, layer


@pytest.mark.parametrize(
    "strategy, mode",
    [("auto", "eager"), ("taylor", "eager"), *([("auto", "graph")] if tf else [])],
)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:.*cannot be traced")  # "python if": the audit says so
@pytest.mark.filterwarnings("ignore:.*computes along the batch axis")  # the conditions do
def test_right_or_refused(name, strategy, mode, float64):
    if mode == "graph" and name == "python if":
        return  # Python cannot branch on the tensors of a graph
    if framework.BACKEND == "torch" and name.startswith("associative_scan"):
        pytest.skip("Keras rounds it to single precision on PyTorch")
    model, layer = wrapped(name)
    expected = truth.hessian(truth.predict(model), X)[:, 0]
    try:
        laplacian = kd.HessianDiagonal(model, strategy=strategy)
        run = tf.function(laplacian, autograph=False) if mode == "graph" else laplacian
        found = run(ops.convert_to_tensor(X))
    except ValueError as error:
        assert strategy == "taylor" or name in WITHOUT_GRADIENT, error
        assert "Taylor" in str(error)
        assert layer.name in str(error) or "computes otherwise" in str(error)
    else:
        truth.close(found, np.einsum("bii->bi", expected), truth.DIFFERENCES[2])
    assert not symbols(list(vars(layer).values())) and not isinstance(layer.cache, Symbol)


def test_two_threads_trace_and_build():
    inner = layers.Dense(3)
    model = keras.Sequential([keras.Input((3,)), Custom(lambda self, t: inner(ops.sin(inner(t))))])
    inner.build((None, 3))
    derivative, failures = kd.Laplacian(model, strategy="taylor"), []
    x = X.astype("float32")
    nodes = len(inner._inbound_nodes)

    def keep(function):
        try:
            function()
        except Exception as error:
            failures.append(error)

    def build():
        tensor = keras.Input((3,))
        for _ in range(200):
            keras.Model(tensor, inner(inner(tensor)))

    def trace():
        for _ in range(20):
            derivative(x)

    threads = [threading.Thread(target=keep, args=[f]) for f in (build, trace, build, trace)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(inner._inbound_nodes) == nodes + 800


class Raw(layers.Layer):
    def call(self, x):
        return x + ops.quantile(x, 0.5, axis=-1, keepdims=True)


def my_activation(x):
    return framework.sine(x)


ACTIVATED = {
    "dense": lambda: layers.Dense(3, my_activation),
    "einsum": lambda: layers.EinsumDense("bi,ij->bj", 3, activation=my_activation),
    "activation": lambda: layers.Activation(my_activation),
}


@pytest.mark.parametrize("name", ACTIVATED)
def test_the_function_at_fault_is_named(name):
    layer = ACTIVATED[name]()
    model = keras.Sequential([keras.Input((3,)), layer, layers.Dense(1)])
    with pytest.raises(ValueError, match=f"function 'my_activation' in '{layer.name}' "):
        kd.Laplacian(model, strategy="taylor")
    assert "'my_activation'" in kd.Laplacian(model).explain()


def test_the_operation_and_its_layer_are_named():
    model = keras.Sequential([keras.Input((3,)), Raw(name="mine"), layers.Dense(1)])
    with pytest.raises(ValueError, match=r"Quantile\) in 'mine' \(of type Raw\)"):
        kd.Laplacian(model, strategy="taylor")


class Explained(layers.Layer):
    def call(self, x):
        return ops.sin(x)

    def explain(self):
        return "mine"


def test_a_method_explain_is_the_users():
    model = keras.Sequential([keras.Input((3,)), Explained(), layers.Dense(1)])
    assert "'taylor'" in kd.Laplacian(model).explain()


@pytest.mark.parametrize("given", [(), (3,), (layers.Dense(2),), (int,)], ids=str)
def test_a_rule_is_for_classes(given):
    with pytest.raises(TypeError, match="`taylor_rule` needs the classes"):
        kd.taylor_rule(*given)
    with pytest.raises(TypeError, match="`taylor_rule` needs the classes"):
        kd.taylor_rule(lambda layer, x: x)

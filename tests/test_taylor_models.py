"""Whole models: the Taylor strategies against the tape, and what both sides share."""

import framework
import keras
import numpy as np
import pytest
import truth
from framework import on_tensorflow, tf
from keras import layers, ops
from keras.src.backend.common.variables import Variable
from precision import precision

import keras_derivs as kd
from keras_derivs import graph
from keras_derivs.engine.reverse import partials as tape_partials
from keras_derivs.engine.reverse import strategies as tape
from keras_derivs.engine.target import Request, Target
from keras_derivs.engine.taylor import laplacian, propagate, strategies, trial
from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.engine.taylor.rules import RULES, UnsupportedOperation, taylor_rule
from keras_derivs.engine.taylor.space import Space

pytestmark = pytest.mark.usefixtures("double")


def dense(features=3, outputs=2):
    dense = [layers.Dense(8, "tanh"), layers.Dense(8, "sigmoid"), layers.Dense(outputs)]
    return keras.Sequential([keras.Input((features,)), *dense])


def functional():
    x = keras.Input((3,))
    t, y = x[:, :1], ops.exp(x[:, 1:])
    h = layers.Concatenate()([ops.sin(t) * y, y, x])
    h = layers.Dense(6, "softplus")(layers.LayerNormalization()(h))
    inner = dense(6)
    return keras.Model(x, inner(h) + inner(h * h))


def convolutional():
    x = keras.Input((3,))
    h = layers.Conv1D(3, 2, activation="tanh")(layers.Reshape((3, 1))(x))
    h = layers.BatchNormalization()(layers.Dropout(0.5)(h))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(h)))


MODELS = {"dense": dense, "functional": functional, "convolutional": convolutional}


def build(name, dtype="float64"):
    with precision(dtype):
        return MODELS[name]()


def at(model, dtype="float64", rows=4):
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 3)).astype(dtype)
    return Target(model, model.inputs[0], [ops.convert_to_tensor(x)], (0,), masks=(None,))


X0, X1, X2 = (0, 0), (0, 1), (0, 2)
TERMS = ((), (X1,), (X0, X0), (X2, X0), (X1, X1, X0), (X0, X1, X1, X0))
COLUMNS = [(0, np.array([0, 2])), (0, np.array([1]))]
REQUESTS = {
    "partials": (Request("partials", np.arange(2), None, TERMS), tape_partials.partials),
    "jacobian": (Request("jacobian", np.array([1]), COLUMNS), tape.jacobian_by_rows),
    "hessian": (Request("hessian", np.arange(2), COLUMNS), tape.hessian),
    "hessian_diagonal": (
        Request("hessian_diagonal", np.arange(2), COLUMNS),
        tape.hessian_diagonal,
    ),
    "jvp": (Request("jvp", vectors=(np.ones((4, 3)),)), tape.jvp),
}


def flat(results):
    return [truth.numpy(result) for result in keras.tree.flatten(results)]


@pytest.mark.parametrize("mode", ["eager", *framework.COMPILERS[framework.BACKEND]])
@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_the_tape(name, kind, mode):
    target, (request, on_tape) = at(build(name)), REQUESTS[kind]
    expected = flat(on_tape(target, request))
    strategy = getattr(strategies, kind)

    def derive(x):
        return strategy(target.given([x]), request)

    if mode != "eager":
        derive = framework.COMPILERS[framework.BACKEND][mode](derive)
    found = flat(derive(target.inputs[0]))
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        truth.close(a, b, truth.EXACT["float64"])


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("weights", [None, (1.0, -2.0, 0.5)])
@pytest.mark.parametrize("name", MODELS)
def test_laplacian(name, weights, chunk_size):
    target = at(build(name))
    given = None if weights is None else np.asarray(weights)
    request = Request("laplacian", None, [(0, None)], weights=given, chunk_size=chunk_size)
    y, (found,) = laplacian.laplacian(target, request)
    _, (diagonal,) = tape.hessian_diagonal(target, Request("", np.arange(2), [(0, None)]))
    expected = truth.numpy(diagonal) @ (np.ones(3) if weights is None else np.array(weights))
    truth.close(y, target.model(target.inputs[0]), truth.EXACT["float64"])
    truth.close(found, expected, truth.EXACT["float64"])


@pytest.mark.parametrize("name", MODELS)
def test_second_order_operator(name):
    """sum_ij a_ij d2y/dx_i dx_j along the eigenvectors of an indefinite a."""
    target, a = at(build(name)), np.array([[1.0, 2.0, 0.0], [2.0, -1.0, 0.5], [0.0, 0.5, 0.0]])
    weights, vectors = np.linalg.eigh(a)
    request = Request("laplacian", None, [(0, None)], directions=vectors.T, weights=weights)
    _, (found,) = laplacian.laplacian(target, request)
    _, [[hessian]] = tape.hessian(target, Request("", np.arange(2), [(0, None)]))
    expected = np.einsum("brij,ij->br", truth.numpy(hessian), a)
    truth.close(found, expected, truth.EXACT["float64"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_by_the_weights(name, dtype):
    model = build(name, dtype)
    request = Request("partials", np.arange(2), None, TERMS[:4])

    def gradients(strategy):
        def loss():
            _, results = strategy(at(model, dtype), request)
            return sum(ops.sum(ops.sin(result)) for result in results)

        found = framework.gradients(loss, model.trainable_variables)
        pairs = zip(found, model.trainable_variables)
        return [ops.zeros(weight.shape) if g is None else g for g, weight in pairs]

    for a, b in zip(gradients(strategies.partials), gradients(tape_partials.partials)):
        truth.close(a, b, 10 * truth.EXACT[dtype])


def test_several_inputs_and_outputs():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    h = layers.Dense(4, "tanh")(a * b)
    model = keras.Model({"a": a, "b": b}, [h, layers.Dense(1)(ops.concatenate([h, b], axis=1))])
    x = [ops.ones((3, 2)) * 0.3, ops.ones((3, 2)) * 0.7]
    target = Target(model, {"a": 0, "b": 1}, x, (0, 1), output=1, masks=(None, None))
    terms = (((0, 0), (1, 1)), ((1, 0), (1, 0)), ((0, 1),))
    request = Request("partials", np.arange(1), None, terms)
    for found, expected in zip(
        *[flat(s(target, request)) for s in (strategies.partials, tape_partials.partials)]
    ):
        truth.close(found, expected, truth.EXACT["float32"])


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_batch_sizes(rows):
    target = at(build("functional"), rows=rows)
    request = Request("", np.arange(2), [(0, None)])
    _, (found,) = laplacian.laplacian(target, request)
    assert found.shape == (rows, 2)
    if rows:
        expected = flat(tape.hessian_diagonal(target, request)[1])[0].sum(-1)
        truth.close(found, expected, truth.EXACT["float64"])


@on_tensorflow
def test_an_axis_of_unknown_length():
    x = keras.Input((None, 2))
    h = layers.Conv1D(3, 2, padding="same", activation="tanh")(layers.Dense(2, "tanh")(x))
    model = keras.Model(x, ops.mean(layers.LayerNormalization()(h), axis=1))
    points = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(3, 4, 2)).astype("f"))
    v = ops.ones((1, 4, 2))

    @tf.function(input_signature=[tf.TensorSpec((None, None, 2), "float32")])
    def derive(x):
        target = Target(model, None, [x], (0,), masks=(None,))
        return strategies.jvp(target, Request("jvp", vectors=(v,)))[1][0]

    target = Target(model, None, [points], (0,), masks=(None,))
    vectors = (ops.ones((3, 4, 2)),)
    expected = tape.jvp(target, Request("jvp", vectors=vectors))[1][0]
    truth.close(derive(points), expected, truth.EXACT["float32"])


def test_a_cut_between_symbolic_tensors():
    x = keras.Input((3,))
    h = layers.Dense(4, "tanh")(x)
    y = layers.Dense(2, "tanh")(h * ops.exp(h)) + layers.Dense(2)(x)
    sub_graph, (coordinates,) = graph.cut(y, [h])
    assert trial.supported(sub_graph, sub_graph.inputs, sub_graph.inputs, (0,)) is None
    values = [ops.ones((2, *tensor.shape[1:])) * 0.3 for tensor in sub_graph.inputs]
    target = Target(sub_graph, values, values, (coordinates.position,), masks=(None,) * len(values))
    request = Request("partials", np.arange(2), None, ((X0, X1), (X2,)))
    both = [flat(s(target, request)) for s in (strategies.partials, tape_partials.partials)]
    for found, expected in zip(*both):
        truth.close(found, expected, truth.EXACT["float32"])


def test_laplacian_of_two_inputs():
    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    model = keras.Model([a, b], layers.Dense(1)(ops.tanh(a * b) + ops.exp(b)))
    x = [ops.ones((3, 2)) * 0.3, ops.ones((3, 1)) * 0.7]
    target = Target(model, x, x, (0, 1), masks=(None, None))
    for chunk_size in (None, 2):
        request = Request("", np.arange(1), [(0, None), (1, None)], chunk_size=chunk_size)
        _, (found,) = laplacian.laplacian(target, request)
        diagonals = tape.hessian_diagonal(target, request)[1]
        expected = sum(d.sum(-1) for d in flat(diagonals))
        truth.close(found, expected, truth.EXACT["float32"])


def test_order_six_is_finite_and_right():
    model = build("dense")
    target = at(model)
    _, (found,) = strategies.partials(target, Request("", None, None, ((X1,) * 6,)))

    def fifth(x):
        target = Target(model, None, [ops.convert_to_tensor(x)], (0,), masks=(None,))
        return truth.numpy(strategies.partials(target, Request("", None, None, ((X1,) * 5,)))[1][0])

    expected = truth.jacobian(fifth, truth.numpy(target.inputs[0]))[..., 1]
    assert np.all(np.isfinite(truth.numpy(found)))
    truth.close(found, expected, truth.DIFFERENCES[1])


def test_structural_zeros_stay_absent():
    space = Space([(0, 0), (1,)])
    assert set(space.terms) == {(), (0,), (1,), (0, 0)}
    x = ops.ones((5, 3))
    start = Polynomial(space, {(): x, (0,): ops.ones((1, 3)), (1,): ops.ones((1, 3))})
    y = propagate.call(layers.Dense(2), start)
    assert set(y.table) == {(), (0,), (1,)}
    assert tuple(y.table[(0,)].shape) == (1, 2)  # the same for all samples: a row of the kernel
    assert set(propagate.call(ops.tanh, y).table) == {(), (0,), (1,), (0, 0)}


def test_other_outputs_do_not_count(float64):
    x = keras.Input((3,), dtype="float64")
    h = layers.Dense(4, "tanh")(x)
    raw = layers.Lambda(framework.sine, output_shape=(4,), name="raw")(h)
    model = keras.Model(x, {"a": layers.Dense(1)(raw), "b": layers.Dense(2)(h)})
    at = np.random.default_rng(0).uniform(-1, 1, (4, 3))
    found = kd.Hessian(model, output="b", strategy="taylor")(at)
    truth.close(found, kd.Hessian(model, output="b", strategy="tape")(at), truth.EXACT["float64"])
    with pytest.raises(ValueError, match="'raw'"):
        kd.Hessian(model, output="a", strategy="taylor")


def test_leaves_no_trace():
    model = keras.Sequential([keras.Input((3,)), Doubling(), layers.Dense(1)])
    inner = model.layers[0].inner
    nodes, times = len(inner._inbound_nodes), Variable.__mul__
    strategies.partials(at(model, "float32"), Request("", None, None, ((X0,),)))
    assert len(inner._inbound_nodes) == nodes
    assert Variable.__mul__ is times and not hasattr(keras.KerasTensor, "__array_ufunc__")


class Doubling(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(3)

    def call(self, x):
        return 2 * self.inner(x)


UNSUPPORTED = {
    "lambda": (lambda: layers.Lambda(framework.sine, output_shape=(3,)), "'raw' (of type Lambda)"),
    "recurrent": (
        lambda: keras.Sequential([layers.Reshape((3, 1)), layers.SimpleRNN(2, name="raw")]),
        "'raw' (of type SimpleRNN)",
    ),
    "argument": (lambda: MeanOfInput(), "(of type BatchNorm)"),
}


class MeanOfInput(layers.Layer):
    def call(self, x):
        return ops.batch_normalization(x, ops.exp(x)[0], ops.ones(3), axis=-1)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_is_named(name):
    make, culprit = UNSUPPORTED[name]
    layer = make()
    if name == "lambda":
        layer.name = "raw"
    x = keras.Input((3,))
    model = keras.Model(x, layer(x))
    assert culprit in trial.supported(model)
    with pytest.raises(UnsupportedOperation, match="needs a rule for every operation"):
        strategies.jvp(at(model, "float32"), Request("jvp", vectors=(np.ones((4, 3), "float32"),)))


@pytest.mark.parametrize("name", MODELS)
def test_supported(name):
    assert trial.supported(build(name)) is None


def test_a_registered_rule_is_used():
    class Raw(layers.Layer):
        def call(self, x):
            return framework.square(x)

    x = keras.Input((3,))
    model = keras.Model(x, Raw()(x))
    assert trial.supported(model) is not None
    taylor_rule(Raw)(lambda layer, x: x * x)
    try:
        assert trial.supported(model) is None
    finally:
        del RULES[Raw]


def test_training_mode_and_masks_are_refused():
    target = at(build("dense"))
    request = Request("", None, None, ((X0,),))
    for given in ({"training": True}, {"masks": (ops.ones((4, 3), "bool"),)}):
        refused = Target(target.model, None, target.inputs, (0,), **{"masks": (None,), **given})
        with pytest.raises(UnsupportedOperation, match="Taylor propagation needs"):
            strategies.partials(refused, request)


class Weighted(layers.MultiHeadAttention):
    def _compute_attention(self, *args, **kwargs):
        attended, scores = super()._compute_attention(*args, **kwargs)
        return ops.square(attended), scores


class Squared(layers.Conv1D):
    def call(self, x):
        return super().call(x * x)


class Shifted(layers.Dense):
    @property
    def kernel(self):
        return 1 + super().kernel


@pytest.mark.parametrize(
    "make",
    [lambda: Weighted(2, 2), lambda: Squared(4, 2, groups=2), lambda: Shifted(2, "tanh")],
    ids=["a method", "call", "a property"],
)
def test_a_subclass_may_compute_otherwise(make, float64):
    x, layer = keras.Input((3, 2), dtype="float64"), make()
    h = layer(x, x) if isinstance(layer, Weighted) else layer(x)
    model = keras.Model(x, layers.Dense(1)(layers.Flatten()(ops.tanh(h))))
    at = np.random.default_rng(0).uniform(-1, 1, (4, 3, 2))
    expected = kd.Hessian(model, strategy="tape")(at)
    truth.close(kd.Hessian(model)(at), expected, truth.EXACT["float64"])
    try:
        found = kd.Hessian(model, strategy="taylor")(at)
    except ValueError as error:
        assert "Taylor rule" in str(error)
    else:
        truth.close(found, expected, truth.EXACT["float64"])


@on_tensorflow
def test_a_rule_from_a_list_of_derivatives(float64):
    class LogGamma(layers.Layer):
        def call(self, x):
            return tf.math.lgamma(x)

    @kd.taylor_rule(LogGamma)
    def log_gamma(layer, x):
        polygamma = [lambda z, n=n: tf.math.polygamma(z * 0 + n, z) for n in range(3)]
        return kd.taylor.elementwise(x, tf.math.lgamma, *polygamma)

    inputs = keras.Input((2,), dtype="float64")
    model = keras.Model(inputs, layers.Dense(1)(LogGamma()(layers.Dense(3, "softplus")(inputs))))
    x, terms = np.random.default_rng(0).uniform(-1, 1, (4, 2)), [(0,), (0, 1), (1, 1, 1)]
    layer, tape = kd.Partials(model, terms), kd.Partials(model, terms, strategy="tape")
    for one, two in zip(layer(x), tape(x)):
        truth.close(one, two, truth.EXACT["float64"])
    assert "'taylor'" in layer.explain()
    with pytest.raises(ValueError, match="order 4.*Received: 3.*elementwise"):
        kd.Partials(model, [(0,) * 4], strategy="taylor")(x)
    layer = kd.Partials(model, [(0,) * 4])
    assert layer(x)[0].shape == (4, 1) and "'reverse'" in layer.explain()


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), 0.5])
def test_numbers_of_numpy(number):
    """Keras computes in float64 beside a float64 of numpy, whatever the model's dtype."""
    x = keras.Input((2,))
    y = (ops.tanh(x) - number) * x[:, :1] + ops.divide(number, 2 + x)
    model = keras.Model(x, ops.sum(y, axis=1, keepdims=True))
    at = np.random.default_rng(0).uniform(-1, 1, (4, 2)).astype("float32")
    # PyTorch computes in float32 there, unlike what Keras says of the shapes: Taylor is refused
    refused = framework.BACKEND == "torch" and isinstance(number, np.float64)
    strategies = "auto" if refused else "taylor", "tape"
    found, expected = (kd.Hessian(model, strategy=strategy)(at) for strategy in strategies)
    truth.close(found, expected, truth.EXACT["float32"])


@pytest.mark.parametrize("name", ["sequential", "functional"])
def test_a_compiled_model_is_propagated(name):
    x = keras.Input((2,))
    stack = [keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([x, *stack]) if name == "sequential" else keras.Model(
        x, stack[1](stack[0](x))
    )  # fmt: skip
    model.compile(loss="mse")
    model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
    model.known = {model: 1, stack[0]: [2]}  # keys that cannot be sorted
    assert kd.Laplacian(model).plan.choice.strategy == "taylor"

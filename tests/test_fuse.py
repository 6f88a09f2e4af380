"""`fuse` keeps every number and costs no more than one request."""

import keras
import numpy as np
import pytest
import random_models
from framework import BACKEND, on_tensorflow, tf
from keras import layers, ops
from models import points
from truth import EXACT, close, numpy

import keras_derivs as kd
from keras_derivs import backend
from keras_derivs.audit import Findings
from keras_derivs.layers import planning

# Keras itself computes what is around a derivative in float32 on JAX and PyTorch.
DOUBLE = EXACT["float64" if BACKEND == "tensorflow" else "float32"]


@pytest.fixture
def field(float64):
    tx = keras.Input((2,), dtype="float64")
    net = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(8, "tanh"), layers.Dense(1)])
    return tx, tx[:, 0:1], tx[:, 1:2], net(tx)


def nested(tx, t, x, u):
    u_x = kd.gradient(u, x)
    return [u, u_x, kd.gradient(u_x, x), kd.diff(kd.diff(u_x, x), t)]


def slices_of_a_gradient(tx, t, x, u):
    g = kd.gradient(u, tx)
    return [g, g[:, 1:] * u, kd.gradient(g[:, 1:], tx)[:, 0:1], kd.gradient(g[:, 0:1], x)]


def operators(tx, t, x, u):
    wave = kd.laplacian(u, tx, coefficients=[1, -4])
    return [
        kd.laplacian(kd.laplacian(u, tx), tx),
        kd.gradient(wave, tx),
        kd.diff(kd.laplacian(wave, tx, coefficients=[2, 3]), x),
    ]


def every_kind(tx, t, x, u):
    return [
        kd.hessian(u, tx),
        kd.hessian(u, [x, t])[0][1],
        kd.hessian_diagonal(u, tx),
        kd.laplacian(u, tx),
        kd.laplacian(u, tx, coefficients=[0, 3]),
        kd.jacobian(u, tx),
        kd.sub_jacobian(u, tx, inputs=[1]),
        *kd.partials(u, (x, x, x), (), (t, x)),
        kd.gradient(u, tx, return_value=True)[0],
    ]


def left_alone(tx, t, x, u):
    return [
        kd.hvp(u, tx, ops.ones_like(tx)),
        kd.diff(u, x, x, strategy="tape"),
        kd.gradient(kd.diff(u, t, training=True), x),
        kd.laplacian(u, tx, num_samples=3, seed=0)[:, :0],
    ]


def chained(tx, t, x, u):
    """The second derivatives are of a function of the first ones."""
    residual = kd.diff(u, t) + u * kd.diff(u, x)
    r_x, r_xx = kd.gradient(residual, x), kd.diff(residual, x, x)
    return [u, residual, r_x * u, r_xx]


def inner_tensors(tx, t, x, u):
    """Derivatives by tensors of which one is computed from the other share no pass."""
    h = layers.Dense(3, "tanh")(tx)
    y = layers.Dense(1)(h) * u
    return [kd.gradient(y, h), kd.gradient(y, tx), kd.hessian(y, tx), kd.hessian(y, h)]


def vectors(tx, t, x, u):
    y = layers.Dense(3, "tanh")(ops.concatenate([u, tx], axis=1))
    return [
        kd.jacobian(y, tx),
        kd.hessian(y, tx),
        kd.gradient(y, tx, component=2),
        *kd.partials(y, (x, x), (t,)),
    ]


def with_constants(tx, t, x, u):
    """A constant that is added has no part in a derivative."""
    u_x = kd.diff(u, x)
    moved = 3 - 2 * (u_x + 1.0) + np.array([[0.5]])
    return [u, u_x, kd.diff(moved, x), kd.gradient(1 - kd.gradient(u, tx)[:, :1], tx)]


def kept_constants(tx, t, x, u):
    """The value beside a derivative has it; of the two derivatives only one is merged."""
    moved = kd.diff(u, x) + 1.0
    return [
        u,
        *kd.gradient(moved, x, return_value=True),
        kd.diff(u, t),
        *kd.partials(moved, (), (t,)),
    ]


def along_directions(tx, t, x, u):
    options = {"directions": [[1.0, 2.0], [0.5, -1.0]], "coefficients": [1.5, -1.0]}
    return [
        u,
        kd.laplacian(u, tx, **options),
        kd.laplacian(kd.diff(u, t), tx, **options),
        kd.laplacian(u, tx, directions=[[1.0, 0.0], [0.0, 1.0]]),
        kd.laplacian(u, tx, coefficients=[[1.0, 0.3], [0.7, -2.0]]),
        kd.hessian(u, tx),
    ]


GRAPHS = [
    nested, slices_of_a_gradient, operators, every_kind, left_alone, chained, inner_tensors,
    vectors, with_constants, kept_constants, along_directions,
]  # fmt: skip


def kinds(model):
    return sorted(type(layer).__name__ for layer in model.layers)


# how many shared passes each becomes; where it is one, no derivative stays outside of it
PASSES = {"left_alone": 0, "chained": 2, "inner_tensors": 2, "kept_constants": 2}


SOME = [pytest.param(g, marks=[pytest.mark.slow] * (g is operators)) for g in GRAPHS]


@pytest.mark.parametrize("graph", SOME)
def test_every_number_stays(graph, field, tmp_path):
    tx, *_ = field
    model = keras.Model(tx, graph(*field))
    fused = kd.fuse(model)
    values = points((5, 2), "float64")
    expected = model(values)
    passes = PASSES.get(graph.__name__, 1)
    assert kinds(fused).count("Fused") == passes
    assert passes != 1 or "Between" not in kinds(fused)
    assert fused.output_shape == model.output_shape
    assert {id(w) for w in fused.trainable_weights} == {id(w) for w in model.trainable_weights}
    fused.save(tmp_path / "fused.keras")
    loaded = keras.models.load_model(tmp_path / "fused.keras")
    clone = keras.models.clone_model(fused)
    clone.set_weights(fused.get_weights())
    for copy in (fused, backend.compiled(fused), loaded, clone):
        for one, two in zip(copy(values), expected):
            close(one, two, DOUBLE)


def products(model):
    x = tf.TensorSpec((16, 2), "float64")
    graph = tf.function(lambda x: model(x)).get_concrete_function(x).graph
    return sum(operation.type == "MatMul" for operation in graph.get_operations())


@on_tensorflow
def test_fused_costs_no_more_than_one_request(field):
    tx, t, x, u = field
    one_by_one = keras.Model(tx, [u, kd.diff(u, t), kd.diff(u, x), kd.diff(u, x, x)])
    together = keras.Model(tx, [u, *kd.partials(u, (t,), (x,), (x, x))])
    fused, value = kd.fuse(one_by_one), products(keras.Model(tx, u))
    # the graph of the fused model also holds the value it no longer needs, which is pruned
    assert products(fused) <= products(together) < products(one_by_one) - value


def test_the_fused_model_trains_the_given_one(field):
    tx, t, x, u = field
    model = keras.Model(tx, [u, kd.diff(u, t) - kd.diff(u, x, x)])
    fused, values = kd.fuse(model), points((32, 2), "float64")
    fused.compile(loss="mse", optimizer=keras.optimizers.Adam(0.01))
    history = fused.fit(values, [values[:, :1], 0 * values[:, :1]], epochs=30, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    close(model(values)[1], fused(values)[1], DOUBLE)


def test_many_terms_stay_alone():
    """The collapsed Laplacian of 30 inputs is cheaper than its 30 second derivatives."""
    x = keras.Input((30,))
    u = layers.Dense(1)(layers.Dense(4, "tanh")(x))
    x0 = x[:, :1]
    fused = kd.fuse(keras.Model(x, [kd.laplacian(u, x), kd.diff(u, x0), kd.diff(u, x0, x0)]))
    assert kinds(fused).count("Between") == 1 and kinds(fused).count("Fused") == 1


def test_only_functional_models():
    with pytest.raises(TypeError, match="functional model.*Received.*Dense.*partials"):
        kd.fuse(layers.Dense(1))


def component_of_a_vector(tx, t, x, u):
    y = layers.Dense(3, "tanh")(ops.concatenate([u, tx], axis=1))
    g = kd.gradient(y, tx, component=1)
    return [g, kd.jacobian(g, tx), kd.gradient(kd.jacobian(y, x), tx, component=(2, 0))]


def penalties(tx, t, x, u):
    """They are functions of first derivatives, which others of the network need, too."""
    y = layers.Dense(2, "tanh")(ops.concatenate([u, tx], axis=1))
    return [
        kd.gradient_penalty(y, tx, target=1.0, component=1),
        kd.jacobian_penalty(y, tx),
        kd.jacobian_penalty(y, [t, x], return_value=True)[1],
        kd.log_determinant(y, tx),
        kd.divergence(y, tx),
        kd.laplacian(y, tx),
    ]


def stream_function(tx, t, x, psi):
    u, v = kd.diff(psi, x), -kd.diff(psi, t)
    return [u, v, kd.diff(v, x, x), kd.diff(2 * u + 3 * v, t), kd.laplacian(u / 4 - v, tx)]


def columns_of_a_network(tx, t, x, u):
    y = layers.Dense(3)(layers.Dense(4, "tanh")(tx))
    psi, p, last = y[:, 0:1], y[:, 1:2], ops.split(y, 3, axis=1)[2]
    v = kd.diff(psi, t)
    return [p, kd.diff(p, x), kd.diff(v, x, x) - kd.diff(last, t)]


def sums_and_concatenations(tx, t, x, u):
    g = ops.concatenate([kd.diff(u, x), kd.diff(u, t), u], axis=1)
    total = ops.sum(g * np.array([[1.0, -2.0, 0.5]]), axis=1, keepdims=True)
    return [kd.jacobian(g, tx), kd.gradient(total, x), kd.jacobian(kd.gradient(total, tx), t)]


def matrices_of_matrices(tx, t, x, u):
    hessian = kd.hessian(u, tx)
    trace = ops.trace(hessian, axis1=1, axis2=2)
    return [kd.jacobian(hessian, tx), kd.gradient(trace, x), kd.divergence(hessian[:, 0], tx)]


THROUGH_ARITHMETIC = [
    component_of_a_vector, penalties, stream_function, columns_of_a_network, sums_and_concatenations,
    matrices_of_matrices,
]  # fmt: skip


@pytest.mark.parametrize("graph", THROUGH_ARITHMETIC)
def test_linear_arithmetic_is_seen_through(graph, field):
    tx, *_ = field
    model, values = keras.Model(tx, graph(*field)), points((5, 2), "float64")
    fused = kd.fuse(model)
    assert kinds(fused).count("Fused") == 1 and "Between" not in kinds(fused)
    for one, two in zip(fused(values), model(values), strict=True):
        close(one, two, DOUBLE)


def test_what_varies_is_no_coefficient(field):
    tx, _, x, u = field
    nu, other = keras.Variable(0.5, dtype="float64"), keras.Input((2,), dtype="float64")
    u_x = kd.diff(u, x)
    graph = [
        kd.diff(ops.multiply(u_x, nu), x),
        kd.diff(u_x * other[:, :1], x),
        kd.diff(1 / (u_x + 9), x),
        u,
    ]
    model = keras.Model([tx, other], graph)
    fused, values = kd.fuse(model), [points((5, 2), "float64", n) for n in range(2)]
    nu.assign(-3.0)
    for one, two in zip(fused(values), model(values), strict=True):
        close(one, two, DOUBLE)


def critic(num_inputs):
    x, given = (keras.Input((num_inputs,), dtype="float64") for _ in range(2))
    return x, keras.Sequential([given, layers.Dense(4, "tanh"), layers.Dense(1)])


@pytest.mark.parametrize("num_inputs", [3, 5000])
def test_a_penalty_takes_the_gradient_that_is_there(num_inputs, float64, tmp_path):
    """Of an image, too, where its partial derivatives are too many to be told one by one."""
    x, net = critic(num_inputs)
    outputs = {
        "penalty": kd.GradientPenalty(net, target=1.0)(x),
        "slope": kd.gradient(net(x), x),
        "norm": kd.gradient_penalty(net(x), x),
        "other": kd.GradientPenalty(net, target=2.0)(x),
    }
    model, at = keras.Model(x, outputs), points((4, num_inputs), "float64")
    fused = kd.fuse(model)
    derivatives = [one for one in fused.layers if getattr(one, "is_derivative", False)]
    assert sum(one.explain().count("1 backward pass") for one in derivatives) == len(derivatives)
    assert len(derivatives) == 2  # `net(x)` is there twice
    fused.save(tmp_path / "fused.keras")
    for copy in (fused, keras.models.load_model(tmp_path / "fused.keras")):
        found, expected = copy(at), model(at)
        for name in outputs:
            close(found[name], expected[name], DOUBLE)


def test_layers_share_a_pass_with_functions(float64):
    x, net = critic(2)
    y = net(x)
    outputs = [
        y,
        kd.GradientPenalty(net, name="penalty")(x),
        kd.Laplacian(net, name="bend", coefficients=[1.0, 2.0])(x),
        kd.gradient(y, x),
        kd.SubJacobian(net, inputs=[1])(x),
        *kd.Partials(net, [(0,)])(x),
    ]
    model, at = keras.Model(x, outputs), points((4, 2), "float64")
    fused = kd.fuse(model)
    derivatives = [type(k).__name__ for k in fused.layers if hasattr(k, "is_derivative")]
    assert sorted(derivatives) == ["Fused", "Partials", "SubJacobian"]
    assert fused.output_names[1:3] == ["penalty", "bend"]
    for one, two in zip(fused(at), model(at), strict=True):
        close(one, two, DOUBLE)


def test_what_has_nothing_to_share_stays(float64):
    x, net = critic(3)
    y = net(x)
    outputs = [
        y,
        kd.Laplacian(net, num_samples=2, seed=1)(x)[:, :0],
        kd.GradientPenalty(net, training=None)(x),
        kd.jacobian_penalty(y, x, num_samples=3)[:, :0],
        kd.log_determinant(layers.Dense(3)(layers.Dense(3, "tanh")(x)), x),
    ]
    model, at = keras.Model(x, outputs), points((4, 3), "float64")
    fused = kd.fuse(model)
    assert kinds(fused) == kinds(model)
    for one, two in zip(fused(at), model(at), strict=True):
        close(one, two, DOUBLE)


@pytest.mark.parametrize("inputs", [list, lambda two: {"t": two[0], "x": two[1]}])
def test_several_inputs(inputs, float64, tmp_path):
    t, x = (
        keras.Input((1,), name="t", dtype="float64"),
        keras.Input((2,), name="x", dtype="float64"),
    )
    u = layers.Dense(1)(layers.Dense(6, "tanh")(layers.Concatenate()([t, x])))
    u_x = kd.gradient(u, x)
    graph = {
        "u": u,
        "u_t": kd.diff(u, t),
        "u_tx": kd.gradient(kd.diff(u, t), x),
        "h": kd.jacobian(u_x, x),
    }
    model = keras.Model(inputs([t, x]), graph)
    fused = kd.fuse(model)
    values = inputs([points((4, 1), "float64"), points((4, 2), "float64")])
    assert "Between" not in kinds(fused)
    fused.save(tmp_path / "fused.keras")
    for copy in (fused, keras.models.load_model(tmp_path / "fused.keras")):
        found, expected = copy(values), model(values)
        assert set(found) == set(expected)
        for name in expected:
            close(found[name], expected[name], DOUBLE)


@pytest.mark.parametrize("extra, options", [("Dropout", {"rate": 0.5}), ("BatchNormalization", {})])
def test_the_value_still_trains(extra, options, field):
    """Derivatives are of inference; the value of the network in training is not."""
    tx, _, x, _ = field
    extra = getattr(layers, extra)(**options)
    u = layers.Dense(1)(extra(layers.Dense(9, "tanh")(tx)))
    model = keras.Model(tx, [u, kd.diff(u, x), kd.diff(u, x, x)])
    fused, values = kd.fuse(model), points((50, 2), "float64")
    assert "Between" not in kinds(fused)
    before = [np.array(numpy(variable.value)) for variable in extra.variables]
    value, *_ = fused(values, training=True)
    close(fused(values)[0], model(values)[0], DOUBLE)
    assert np.max(np.abs(numpy(value) - numpy(fused(values)[0]))) > 1e-3
    after = [numpy(variable.value) for variable in extra.variables]
    own = BACKEND == "torch" and isinstance(extra, layers.Dropout)  # it draws by itself there
    assert own or not before or any(np.any(v != w) for v, w in zip(before, after))


@pytest.mark.filterwarnings("ignore:.*does not support masking")  # Keras 3.16 says so of LSTM
def test_a_mask_still_passes(field):
    tx, *_ = field
    steps = layers.Masking()(ops.stack([tx, 0 * tx, tx], axis=1))
    y = layers.Dense(2, "tanh")(steps)
    out = layers.LSTM(2)(y)
    slopes = [kd.jacobian(y, steps), kd.sub_jacobian(y, steps, outputs=(0, 0))]
    model, values = keras.Model(tx, [out, *slopes]), points((5, 2), "float64")
    for one, two in zip(kd.fuse(model)(values), model(values), strict=True):
        close(one, two, DOUBLE)


@pytest.fixture
def unaudited(monkeypatch):
    """Audits say nothing about the merging of derivatives, and take most of the time."""
    monkeypatch.setattr(planning, "_examine", lambda *_: Findings([]))
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def check_random_models(seeds):
    merged = 0
    for seed in seeds:
        model, values = random_models.draw(seed)
        fused = kd.fuse(model)
        merged += kinds(fused).count("Fused")
        for number, (one, two) in enumerate(zip(fused(values), model(values), strict=True)):
            try:
                close(one, two, DOUBLE)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, output {number}") from error
        keras.backend.clear_session(free_memory=False)
    assert merged > len(seeds) / 2


@pytest.mark.parametrize("start", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (20, 40))])
def test_random_models(start, float64, unaudited):
    check_random_models(range(start, start + 20))


@pytest.mark.long
@pytest.mark.parametrize("start", range(60, 1060, 50))
def test_a_thousand_random_models(start, float64, unaudited):
    check_random_models(range(start, start + 50))

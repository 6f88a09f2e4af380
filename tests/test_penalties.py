"""Penalties of derivatives, volumes, and random estimates, against whole Jacobians."""

import keras
import numpy as np
import pytest
import truth
from keras import layers, ops
from models import build, points
from truth import DIFFERENCES, EXACT, close

import keras_derivs as kd
from keras_derivs import backend

COMPILED = [False] if keras.backend.backend() == "torch" else [False, True]


def as_numpy(x):
    return ops.convert_to_numpy(x)


def jacobian(model, x, **options):
    with backend.double():  # plain calls are in float32 on some frameworks
        found = truth.jacobian(truth.predict(model), x, **options)
    return found.reshape(len(x), -1, x[0].size)


def trace(matrices):
    return np.trace(matrices, axis1=1, axis2=2)[:, None]


# name -> (layer, outputs of the network, what it is of the whole Jacobian)
LAYERS = {
    "flat": (kd.GradientPenalty, 1, lambda j: np.sum(j**2, axis=(1, 2))[:, None]),
    "slope one": (
        lambda m, **k: kd.GradientPenalty(m, target=1.0, **k), 1,
        lambda j: (np.sqrt(np.sum(j**2, axis=(1, 2))) - 1)[:, None] ** 2,
    ),
    "component": (
        lambda m, **k: kd.GradientPenalty(m, component=1, target=2, **k), 3,
        lambda j: (np.linalg.norm(j[:, 1], axis=1) - 2)[:, None] ** 2,
    ),
    "Jacobian": (kd.JacobianPenalty, 2, lambda j: np.sum(j**2, axis=(1, 2))[:, None]),
    "volume": (kd.LogDeterminant, 3, lambda j: np.linalg.slogdet(j)[1][:, None]),
    "divergence": (kd.Divergence, 3, trace),
}  # fmt: skip


@pytest.mark.parametrize("strategy", ["reverse", "forward", "taylor"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_whole_jacobian_says_the_same(name, strategy):
    layer, outputs, expected = LAYERS[name]
    model, x = build("sequential", "float64", num_outputs=outputs)
    found = layer(model, strategy=strategy)(x)
    close(found, expected(jacobian(model, x)), 100 * DIFFERENCES[1])


def test_all_inputs_share_one_norm():
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    y = layers.Dense(5, "tanh")(layers.Concatenate()([a, b]))
    model = keras.Model({"a": a, "b": b}, y)
    x = {"a": points((4, 2)), "b": points((4, 3), seed=1)}
    blocks = [as_numpy(kd.Jacobian(model, wrt=name)(x)) for name in x]
    whole = np.concatenate(blocks, axis=2)
    close(kd.JacobianPenalty(model)(x), LAYERS["Jacobian"][2](whole), EXACT["float32"])
    close(kd.LogDeterminant(model)(x), LAYERS["volume"][2](whole), 10 * EXACT["float32"])
    close(kd.Divergence(model)(x), trace(whole), EXACT["float32"])
    one = kd.GradientPenalty(model, component=0, wrt="b")(x)
    close(one[:, 0], np.sum(blocks[1][:, 0] ** 2, axis=1), EXACT["float32"])


def test_between_tensors_and_of_slices():
    x = keras.Input((4,))
    y = layers.Dense(2, "tanh")(x)
    head, tail = x[:, :2], x[:, 2:]
    found = [
        kd.jacobian_penalty(y, x),
        kd.jacobian_penalty(y, tail),
        kd.gradient_penalty(y, x, target=1.0, component=0),
        kd.log_determinant(y, head),
        kd.divergence(y, tail),
    ]
    at = points((5, 4))
    whole = as_numpy(kd.Jacobian(keras.Model(x, y))(at))
    expected = [
        LAYERS["Jacobian"][2](whole),
        LAYERS["Jacobian"][2](whole[:, :, 2:]),
        LAYERS["slope one"][2](whole[:, :1]),
        LAYERS["volume"][2](whole[:, :, :2]),
        trace(whole[:, :, 2:]),
    ]
    for one, other in zip(keras.Model(x, found)(at), expected):
        close(one, other, EXACT["float32"])


def test_fields_of_several_axes():
    x = keras.Input((2, 3))
    y = ops.reshape(layers.Dense(6, "tanh")(layers.Flatten()(x)), (-1, 2, 3))
    model, at = keras.Model(x, y), points((3, 2, 3))
    whole = as_numpy(kd.Jacobian(model)(at)).reshape(3, 6, 6)
    close(kd.Divergence(model)(at), trace(whole), EXACT["float32"])
    close(kd.LogDeterminant(model)(at), np.linalg.slogdet(whole)[1][:, None], 1e-4)
    for strategy in ("reverse", "taylor"):
        layer = kd.Divergence(model, num_samples=4000, seed=0, strategy=strategy)
        assert np.max(np.abs(as_numpy(layer(at)) - trace(whole))) < 0.1


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("target", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_a_flat_critic_trains(target):
    """The gradient is zero: so is the derivative of its norm, of either order."""
    x = keras.Input((3,))
    dense = layers.Dense(1, kernel_initializer="zeros")
    penalty = kd.gradient_penalty(dense(layers.Dense(4, "tanh")(x)), x, target=target)
    model = keras.Model(x, [penalty, kd.gradient(penalty, x), kd.laplacian(penalty, x)])
    at = points((4, 3))
    value, slope, curvature = map(as_numpy, model(at))
    close(value, np.full((4, 1), target**2), EXACT["float32"])
    assert np.all(slope == 0) and np.all(curvature == 0)
    model.compile(loss="mse", optimizer="sgd")
    model.fit(at, [np.zeros_like(z) for z in (value, slope, curvature)], verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_a_critic_with_statistics_of_the_batch():
    x = keras.Input((3,))
    y = layers.Dense(1)(layers.BatchNormalization()(layers.Dense(4, "tanh")(x)))
    critic, at = keras.Model(x, y), points((6, 3))
    options = {"coupled": True, "training": True}
    slope = as_numpy(kd.Gradient(critic, **options)(at))
    found = kd.GradientPenalty(critic, target=1.0, **options)(at)
    close(found[:, 0], (np.linalg.norm(slope, axis=1) - 1) ** 2, EXACT["float32"])
    with pytest.raises(ValueError, match="rows.*batch"):
        kd.GradientPenalty(critic, training=True)


SAMPLED = {
    "Jacobian, reverse": (kd.JacobianPenalty, 2, {"strategy": "reverse"}),
    "Jacobian, taylor": (kd.JacobianPenalty, 2, {"strategy": "taylor"}),
    "Jacobian, chunks": (kd.JacobianPenalty, 2, {"strategy": "reverse", "chunk_size": 300}),
    "divergence, reverse": (kd.Divergence, 3, {"strategy": "reverse"}),
    "divergence, taylor": (kd.Divergence, 3, {"strategy": "taylor", "chunk_size": 300}),
    "coordinates": (kd.Laplacian, 1, {"sampling": "coordinates", "strategy": "taylor"}),
    "coordinates, tape": (kd.Laplacian, 1, {"sampling": "coordinates", "strategy": "tape"}),
    "wave": (kd.Laplacian, 2, {"sampling": "coordinates", "coefficients": [3, -1, -2]}),
    "operator": (
        kd.Laplacian, 1,
        {"sampling": "coordinates", "coefficients": [[1, 2, 0], [2, 0, 1], [0, 1, -1]]},
    ),
}  # fmt: skip


QUICK = ("Jacobian, chunks", "divergence, taylor", "wave")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in SAMPLED],
)
def test_estimates_are_unbiased(name):
    """One call on many copies of a row for what is drawn for each row; many calls otherwise."""
    layer, outputs, options = SAMPLED[name]
    model, x = build("sequential", "float64", num_outputs=outputs)
    exact = {key: value for key, value in options.items() if key == "coefficients"}
    expected = as_numpy(layer(model, **exact)(x))
    per_row = layer is not kd.Laplacian
    sampled = layer(model, num_samples=600 if per_row else 1, seed=3, **options)
    calls, size = (3, 12) if per_row else (60, 1)
    found = np.stack([as_numpy(sampled(np.repeat(x, size, axis=0))) for _ in range(calls)])
    found = np.moveaxis(found.reshape(calls, len(x), size, -1), 2, 1).reshape(
        calls * size, len(x), -1
    )
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - expected) < 5 * error + 1e-12)
    assert np.all(error < 0.3 * np.max(np.abs(expected)))


def test_as_many_coordinates_as_there_are_make_it_exact():
    model, x = build("sequential", "float64")
    layer = kd.Laplacian(model, num_samples=9, sampling="coordinates")
    close(layer(x), as_numpy(kd.Laplacian(model)(x)), EXACT["float64"])
    assert "estimate from 9 random directions" in layer.explain()


DRAWN = {
    "penalty": lambda y, x, **k: kd.jacobian_penalty(y, x, **k),
    "divergence": lambda y, x, **k: kd.divergence(y, x, **k),
    "coordinates": lambda y, x, **k: kd.laplacian(y, x, sampling="coordinates", **k),
}


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize(
    "name, jit_compile",
    [
        pytest.param(name, mode, marks=[pytest.mark.slow] * (name == "coordinates" or mode))
        for name in DRAWN
        for mode in COMPILED
    ],
)
def test_every_call_draws_anew(name, jit_compile, tmp_path):
    x = keras.Input((5,))
    y = layers.Dense(5)(layers.Dense(8, "tanh")(x))
    model = keras.Model(x, DRAWN[name](y, x, num_samples=2, seed=7))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    at = points((64, 5))
    calls = [as_numpy(model(at)) for _ in range(2)]
    assert not np.array_equal(*calls) and np.array_equal(calls[0], as_numpy(again(at)))
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(1e-4), jit_compile=jit_compile)
    target = np.zeros(calls[0].shape)
    steps = [model.evaluate(at, target, verbose=0), model.evaluate(at, target, verbose=0)]
    assert steps[0] != steps[1]
    model.fit(at, target, epochs=2, verbose=0)
    found = [model.predict(at, verbose=0) for _ in range(2)]
    assert np.all(np.isfinite(found)) and not np.array_equal(*found)


def flow():
    """A coupling layer: log |det| = the sum of its scales, whose triangular Jacobian we know."""
    x = keras.Input((4,))
    scale, shift = layers.Dense(2, "tanh", name="scale")(x[:, :2]), layers.Dense(2)(x[:, :2])
    y = ops.concatenate([x[:, :2], x[:, 2:] * ops.exp(scale) + shift], axis=1)
    return x, y, scale


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize(
    "jit_compile", [False, *(pytest.param(mode, marks=pytest.mark.slow) for mode in COMPILED[1:])]
)
def test_a_flow_trains_as_with_its_own_determinant(jit_compile):
    x, y, scale = flow()
    model = keras.Model(x, [kd.log_determinant(y, x), ops.sum(scale, axis=1, keepdims=True)])
    at = points((32, 4))
    close(*model(at), EXACT["float32"])
    trained = []
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        copy.compile("sgd", loss=["mse", "mse"], loss_weights=weights, jit_compile=jit_compile)
        copy.fit(at, [np.ones((32, 1))] * 2, epochs=3, verbose=0)
        trained.append(copy.get_layer("scale").get_weights()[0])
    close(*trained, 5 * EXACT["float32"])
    assert not np.allclose(trained[0], model.get_layer("scale").get_weights()[0], atol=1e-3)


def test_a_volume_can_be_derived_twice(float64):
    model, x = build("sequential", "float64", num_outputs=3)
    volume = kd.LogDeterminant(model)
    close(kd.Gradient(volume)(x), jacobian(volume, x, step=2e-4)[:, 0], DIFFERENCES[1] * 100)


@pytest.mark.slow
@pytest.mark.parametrize("mode", backend.MODES)
def test_a_volume_can_be_derived_in_every_mode(mode, float64):
    """XLA has no LU, and takes QR."""
    model, x = build("sequential", "float64", num_outputs=3)
    slope = kd.Gradient(kd.LogDeterminant(model))
    close(backend.compiled(slope, mode)(x), as_numpy(slope(x)), EXACT["float64"])


def test_no_volume():
    fold = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda x: ops.abs(x) * x)])
    found = as_numpy(kd.LogDeterminant(fold)(np.array([[0.0, 1.0], [1.0, 1.0]])))
    assert found[0] == -np.inf and np.isfinite(found[1])


@pytest.mark.slow
def test_inputs_of_a_whole_image():
    """150,528 entries: a square matrix of them would take 84 GiB."""
    x = keras.Input((150528,))
    u = layers.Dense(1)(layers.Dense(2, "tanh")(x))
    first = x[:, :1]
    v = np.ones(150528, "float32")
    found = [
        kd.laplacian(u, x, num_samples=2),
        kd.laplacian(u, x, num_samples=2, sampling="coordinates"),
        kd.divergence(ops.sin(x), x, num_samples=2),
        kd.jacobian_penalty(ops.sin(x), x, num_samples=2),
        kd.gradient_penalty(u, x),
        kd.diff(u, first),
        kd.diff(u, first, first),
        kd.jvp(u, x, v),
        kd.hvp(u, x, v),
    ]
    at = points((2, 150528), "float32")
    found = [as_numpy(one) for one in keras.Model(x, found)(at)]
    assert all(np.isfinite(one).all() for one in found)
    close(found[2][:, 0], np.cos(at).sum(axis=1), 1e-4)  # exact, as the Jacobian is diagonal
    close(found[3][:, 0], (np.cos(at) ** 2).sum(axis=1), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_they_can_be_verified(name):
    layer, outputs, _ = LAYERS[name]
    model, x = build("sequential", "float32", num_outputs=outputs)
    report = kd.verify(layer(model), x)
    assert report and all(check.status == "ok" for check in report.checks), report

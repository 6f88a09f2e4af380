"""Rows of two axes: operator networks, quantities per atom and per step."""

import framework
import keras
import numpy as np
import pytest
import truth
from keras import layers, ops
from truth import EXACT, close

import keras_derivs as kd

RANDOM = np.random.default_rng(0)
FUNCTIONS = RANDOM.normal(size=(3, 5))
PLACES, SHARED = RANDOM.normal(size=(3, 6, 2)), RANDOM.normal(size=(6, 2))
# (layer, options, strategies, the same of one function as a model of places)
CASES = {
    "gradient": (kd.Gradient, {"component": 1}, ("reverse", "forward", "taylor")),
    "largest": (kd.Gradient, {"component": "argmax"}, ("reverse", "forward", "taylor")),
    "jacobian": (kd.Jacobian, {}, ("reverse", "forward", "taylor")),
    "block": (kd.SubJacobian, {"outputs": [1], "inputs": 1}, ("reverse", "forward", "taylor")),
    "hessian": (kd.Hessian, {}, ("reverse", "taylor")),
    "diagonal": (kd.HessianDiagonal, {"component": 0}, ("reverse", "taylor")),
    "laplacian": (kd.Laplacian, {"coefficients": [1, -2]}, ("reverse", "taylor")),
    "partials": (kd.Partials, {"terms": [(0,), (), (0, 1)]}, ("reverse", "taylor")),
    "divergence": (kd.Divergence, {}, ("reverse", "taylor")),
    "curl": (kd.Curl, {}, ("forward",)),
    "along": (kd.JVP, {"vectors": [1.0, -2.0]}, ("forward", "taylor")),
    "back": (kd.VJP, {"vectors": [1.0, -2.0]}, ("reverse",)),
    "twice": (kd.HVP, {"vectors": [1.0, -2.0], "component": 1}, ("reverse",)),
}
QUICK = {
    ("gradient", "reverse"), ("largest", "taylor"), ("jacobian", "forward"), ("hessian", "reverse"),
    ("partials", "taylor"), ("back", "reverse"),
}  # fmt: skip
ROWS = [
    pytest.param(name, strategy, marks=[] if (name, strategy) in QUICK else [pytest.mark.slow])
    for name, (_, _, found) in CASES.items()
    for strategy in found
]


def operator(shared=False, num_places=None):
    """A network of functions and places (Lu et al., "DeepONet", 2021), with two outputs."""
    f = keras.Input((5,), name="f")
    shape = (2,) if shared else (num_places, 2)
    x = keras.Input(shape, name="x")
    of_f = layers.Dense(8)(layers.Dense(6, "tanh")(f))
    of_x = layers.Dense(4, "tanh")(layers.Dense(6, "tanh")(x))
    of_f = layers.Reshape((2, 4))(of_f)
    return keras.Model([f, x], ops.einsum("bmk,pk->bpm" if shared else "bmk,bpk->bpm", of_f, of_x))


def place_by_place(layer, model, places, **options):
    """The same derivative of the network with one place for each function."""
    f, x = keras.Input((5,)), keras.Input((2,))
    y = model([f, x if model.inputs[1].shape[1:] == (2,) else x[:, None]])
    y = ops.diagonal(y, axis1=0, axis2=1) if model.inputs[1].shape[1:] == (2,) else y[:, 0]
    one = layer(keras.Model([f, x], y), wrt=1, **options)
    columns = [one([FUNCTIONS, places[:, p]]) for p in range(6)]
    stacked = zip(*map(keras.tree.flatten, columns))
    return [np.stack([*map(ops.convert_to_numpy, column)], axis=1) for column in stacked]


@pytest.mark.parametrize("name, strategy", ROWS)
def test_every_place_has_the_derivative_of_a_row(name, strategy):
    layer, options, _ = CASES[name]
    model = operator()
    rows = layer(model, wrt="x", batch_dims=2, strategy=strategy, **options)
    found = keras.tree.flatten(rows([FUNCTIONS, PLACES]))
    expected = place_by_place(layer, model, PLACES, strategy=strategy, **options)
    for one, other in zip(found, expected, strict=True):
        close(one, other, EXACT["float32"])
    if layer in (kd.VJP, kd.HVP):
        return
    shared = operator(shared=True)
    shared.set_weights(model.get_weights())
    rows = layer(shared, wrt="x", batch_dims=2, strategy=strategy, **options)
    expected = place_by_place(layer, model, np.stack([SHARED] * 3), **options)
    for one, other in zip(keras.tree.flatten(rows([FUNCTIONS, SHARED])), expected, strict=True):
        close(one, other, EXACT["float32"])


def test_it_is_the_truth():
    model = operator()
    jacobian = kd.Jacobian(model, wrt="x", batch_dims=2, return_value=True)
    y, found = jacobian([FUNCTIONS, PLACES])
    close(y, model([FUNCTIONS, PLACES]), EXACT["float32"])

    def at(places):
        functions = np.repeat(FUNCTIONS, 6, axis=0)
        functions = np.tile(functions, (len(places) // len(functions), 1))
        return ops.convert_to_numpy(model([functions, places[:, None]]))[:, 0]

    expected = truth.jacobian(at, PLACES.reshape(-1, 2), step=0.1)
    close(found, expected.reshape(3, 6, 2, 2), truth.SINGLE[1])
    vector = RANDOM.normal(size=(3, 6, 2))
    along = kd.JVP(model, wrt="x", batch_dims=2)([[FUNCTIONS, PLACES], vector])
    found = ops.convert_to_numpy(found)
    close(along, np.einsum("bpmd,bpd->bpm", found, vector), EXACT["float32"])
    back = kd.VJP(model, wrt="x", batch_dims=2)([[FUNCTIONS, PLACES], vector])
    close(back, np.einsum("bpmd,bpm->bpd", found, vector), EXACT["float32"])
    labels = RANDOM.integers(0, 2, size=(3, 6))
    chosen = kd.Gradient(model, wrt="x", batch_dims=2, component="labels")
    expected = np.take_along_axis(ops.convert_to_numpy(found), labels[..., None, None], axis=2)[
        :, :, 0
    ]
    close(chosen([FUNCTIONS, PLACES, labels]), expected, EXACT["float32"])


@pytest.mark.parametrize("shared", [False, True])
def test_symbolic_places_of_any_number(shared, tmp_path):
    f, x = keras.Input((5,)), keras.Input((2,) if shared else (None, 2))
    of_f, of_x = layers.Dense(4)(f), layers.Dense(4, "tanh")(layers.Dense(6, "tanh")(x))
    u = ops.einsum("bk,pk->bp" if shared else "bk,bpk->bp", of_f, of_x)
    terms = {"u_t": (x[..., 0:1],), "u_xx": (x[..., 1:2],) * 2}
    results = {
        "u": u,
        **kd.partials(u, terms, batch_dims=2),
        "gradient": kd.gradient(u, x, batch_dims=2),
        "hessian": kd.hessian(u, x, batch_dims=2),
    }
    results["residual"] = results["u_t"] + u - 0.1 * results["u_xx"]
    model = keras.Model([f, x], results)
    assert [tuple(results[name].shape) for name in ("u", "gradient")] == [
        (None,) * 2,
        (None, None, 2),
    ]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    optimizer = keras.optimizers.SGD(1e-2)
    loaded.compile(optimizer, loss={"residual": "mse"})
    for count in (4, 6):
        given = [FUNCTIONS, (SHARED if shared else PLACES)[..., :count, :]]
        found = loaded(given)
        assert found["residual"].shape == (3, count)
        close(found["gradient"][..., 0], found["u_t"], EXACT["float32"])
        close(found["hessian"][..., 1, 1], found["u_xx"], EXACT["float32"])
        moved = (
            [given[0], given[1] + np.array([1e-2, 0])],
            [given[0], given[1] - np.array([1e-2, 0])],
        )
        after, before = (loaded(one)["u"] for one in moved)
        close((after - before) / 2e-2, found["u_t"], truth.SINGLE[2])
        if not shared and count == 6:
            loaded.fit(given, {"residual": np.zeros((3, count))}, verbose=0)


def test_shared_places_are_evaluated_once_for_all_functions():
    """The network of the places runs on them once, whatever the number of functions is."""
    seen = []

    class Trunk(layers.Layer):
        def call(self, x):
            seen.append(x.shape[0])
            return ops.tanh(x)

    f, x = keras.Input((4,)), keras.Input((2,))
    u = ops.matmul(layers.Dense(2)(f), ops.transpose(Trunk()(x)))
    for layer, strategy in (
        (kd.Gradient, "taylor"),
        (kd.Gradient, "forward"),
        (kd.Laplacian, "taylor"),
        (kd.Laplacian, "forward"),
        (kd.Hessian, "forward"),
    ):
        rows = layer(keras.Model([f, x], u), wrt=1, batch_dims=2, strategy=strategy)
        rows([RANDOM.normal(size=(2, 4)), SHARED])
        seen.clear()
        given = [RANDOM.normal(size=(50, 4)), SHARED]
        found = rows(given)
        assert seen and max(seen) == 6 and len(seen) <= 4, (layer, strategy, seen)
        other = layer(rows.model, wrt=1, batch_dims=2, strategy="reverse")
        close(found, other(given), EXACT["float32"])


def test_quantities_per_atom_and_per_step():
    """Padded atoms and steps have zeros; each step has the derivative of a network alone."""
    net = keras.Sequential([keras.Input((3,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    steps = keras.Input((5, 3))
    padded = layers.TimeDistributed(net)(layers.Masking()(steps))
    given = RANDOM.normal(size=(2, 5, 3)).astype("float32")
    given[0, 3:] = 0
    for layer in (kd.Gradient, kd.Laplacian):
        found = layer(keras.Model(steps, padded), batch_dims=2)(given)
        expected = layer(net)(given.reshape(-1, 3))
        expected = np.reshape(ops.convert_to_numpy(expected), found.shape)
        kept = np.ones((2, 5), bool) if layer is kd.Laplacian else np.any(given, axis=2)
        close(ops.convert_to_numpy(found)[kept], expected[kept], EXACT["float32"])
    hessian = kd.Hessian(keras.Model(steps, layers.TimeDistributed(net)(steps)), batch_dims=2)
    assert hessian.compute_output_shape((None, 5, 3)) == (None, 5, 3, 3)
    assert hessian(np.zeros((0, 5, 3))).shape == (0, 5, 3, 3)


@pytest.mark.slow
def test_verify_looks_at_every_place():
    """Also where the number of places is fixed, and at labels and vectors of each place."""
    model, labels = operator(num_places=6), RANDOM.integers(0, 2, size=(3, 6))
    for layer, given in (
        (kd.Hessian(model, wrt="x", batch_dims=2), [FUNCTIONS, PLACES]),
        (
            kd.Gradient(model, wrt="x", component="labels", batch_dims=2),
            [FUNCTIONS, PLACES, labels],
        ),
        (kd.JVP(operator(), wrt="x", batch_dims=2), [[FUNCTIONS, PLACES], PLACES]),
        (kd.Jacobian(operator(shared=True), wrt="x", batch_dims=2), [FUNCTIONS, SHARED]),
    ):
        report = kd.verify(layer, given)
        assert report.ok, report


@pytest.mark.parametrize("batch_dims", [1, 2])
def test_rows_of_a_given_number_are_audited_however_many_they_are(batch_dims):
    x = keras.Input((3000, 8)) if batch_dims == 2 else keras.Input(batch_shape=(200, 3000))
    y = x + ops.flip(x, axis=batch_dims - 1)
    named = "'flip.*rows|rows.*'flip" if framework.BACKEND == "tensorflow" else "rows"
    with pytest.raises(ValueError, match=named):
        kd.JVP(keras.Model(x, y), batch_dims=batch_dims)

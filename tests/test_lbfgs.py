"""Full-batch training by L-BFGS, against closed forms and against `fit`.

What is asked of each way to train is asked of Gauss-Newton steps, too.
"""

import sys

import keras
import numpy as np
import pytest
from keras import layers, ops
from models import points

import keras_derivs as kd
from keras_derivs.training.lbfgs import steps_kept as kept

TRAIN = [kd.lbfgs, kd.gauss_newton]


def as_numpy(x):
    return ops.convert_to_numpy(x)


def linear(**options):
    dtype = keras.config.dtype_policy().compute_dtype
    model = keras.Sequential([keras.Input((3,), dtype=dtype), layers.Dense(1, **options)])
    model.compile(loss="mse", metrics=["mae"])
    return model


def ridge(penalty=0.1):
    """A quadratic loss, its data, and the weights of its minimum."""
    x, noise = points((64, 3), "float64"), points((64, 1), "float64", seed=1)
    y = x @ [[1.0], [-2.0], [0.5]] + 0.3 * noise
    design = np.concatenate([x, np.ones((64, 1))], axis=1)
    matrix = design.T @ design / 64 + penalty * np.diag([1, 1, 1, 0])
    model = linear(kernel_regularizer=keras.regularizers.L2(penalty))
    return model, x, y, np.linalg.solve(matrix, design.T @ y / 64)


def weights_of(model):
    return np.concatenate([as_numpy(w).reshape(-1, 1) for w in model.weights])


def test_a_quadratic_loss_reaches_its_minimum_in_float64(float64):
    model, x, y, expected = ridge()
    history = kd.lbfgs(model, x, y, verbose=0)
    assert np.max(np.abs(weights_of(model) - expected)) < 1e-7
    assert set(history.history) == {"loss", "mae"} and len(history.epoch) < 50
    assert np.all(np.diff(history.history["loss"]) <= 0)


@pytest.mark.parametrize("train", TRAIN)
def test_a_quadratic_loss_reaches_its_minimum_in_float32(train):
    model, x, y, expected = ridge()
    assert isinstance(train(model, x, y, verbose=0), keras.callbacks.History)
    assert np.max(np.abs(weights_of(model) - expected)) < 1e-3


def test_a_float64_model_under_a_float32_policy():
    x, y = points((64, 3), "float64"), points((64, 1), "float64", seed=1)
    if keras.backend.backend() == "jax":
        pytest.skip("float64 is off")
    model = keras.Sequential([keras.Input((3,), dtype="float64"), layers.Dense(1, dtype="float64")])
    model.compile(loss="mse")
    kd.lbfgs(model, x, y, verbose=0)
    design = np.concatenate([x, np.ones((64, 1))], axis=1)
    expected = np.linalg.lstsq(design, y, rcond=None)[0]
    assert np.max(np.abs(weights_of(model) - expected)) < 1e-7
    assert keras.losses.MeanSquaredError().dtype == "float32"


@keras.saving.register_keras_serializable(package="tests")
class Small(layers.Layer):
    """Adds a loss of what passes."""

    def call(self, x):
        self.add_loss(0.01 * ops.mean(ops.square(x)))
        return x


def two_outputs():
    keras.utils.set_random_seed(1)
    x = keras.Input((2,))
    h = Small()(layers.Dense(5, "tanh", kernel_regularizer="l2")(x))
    u = layers.Dense(1)(h)
    model = keras.Model(x, {"u": u, "slope": kd.gradient(u, x)})
    model.compile(
        "adam",
        loss={"u": "mse", "slope": "mae"},
        loss_weights={"u": 2.0, "slope": 0.3},
        metrics={"u": ["mae"]},
    )
    x = points((20, 2))
    targets = {"u": x[:, :1] * x[:, 1:], "slope": x[:, ::-1]}
    return model, x, targets, {"u": np.linspace(0, 1, 20), "slope": np.linspace(1, 2, 20)}


@pytest.mark.parametrize("train", TRAIN)
def test_the_loss_is_that_of_fit(train):
    model, x, y, weights = two_outputs()
    seen = []

    def at_end(epoch, logs):
        seen.append((logs, model.evaluate(x, y, 20, 0, weights, return_dict=True)))

    watch = keras.callbacks.LambdaCallback(on_epoch_end=at_end)
    history = train(model, x, y, weights, max_steps=3, verbose=0, callbacks=[watch])
    assert len(seen) == 3 and set(history.history) == set(seen[0][1])
    for found, expected in seen:
        assert found == pytest.approx(expected, rel=1e-5)
    again = train(model, x, y, weights, max_steps=3, verbose=0)
    assert max(again.history["loss"]) < history.history["loss"][-1]  # it goes on


def test_callbacks_stop_it():
    model, x, y, _ = ridge()

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    assert len(kd.lbfgs(model, x, y, verbose=0, callbacks=Stop()).epoch) == 2


def test_it_shows_its_progress(capsys):
    model, x, y, _ = ridge()
    kd.lbfgs(model, x, y, max_steps=3)
    shown = capsys.readouterr().out
    assert "3/3" in shown and "loss:" in shown and "mae:" in shown


@pytest.mark.parametrize("train", TRAIN)
def test_state_and_seeds_stay(train):
    model = keras.Sequential(
        [keras.Input((3,)), layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(1)]
    )
    model.compile(loss="mse")
    before = [as_numpy(v).copy() for v in model.non_trainable_variables]
    x, y = points((32, 3)), points((32, 1), seed=2)
    history = train(model, x, y, max_steps=5, verbose=0)
    assert all(np.array_equal(*pair) for pair in zip(before, model.non_trainable_variables))
    assert history.history["loss"][-1] < history.history["loss"][0]


def logarithm():
    """The loss falls with the weight, which ends where the logarithm does."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            layers.Dense(1, use_bias=False, kernel_initializer="ones"),
            layers.Lambda(lambda x: ops.where(x > 0.5, x, ops.log(x - 0.5))),
        ]
    )
    model.compile(loss="mse")
    return model


def test_a_gradient_that_is_not_the_slope_of_the_loss_is_told(float64):
    model, x, y, _ = ridge()
    weighted = lambda y, z: (z - y) ** 2 / ops.stop_gradient(0.01 + (z - y) ** 2)  # noqa: E731
    model.compile(loss=weighted)
    with pytest.warns(UserWarning, match="not the slope of its loss.*stop_gradient"):
        kd.lbfgs(model, x, y, max_steps=200, verbose=0)


def test_a_loss_that_is_not_finite_ends_it_at_the_best_weights():
    model, x = logarithm(), np.ones((4, 1))
    with pytest.warns(UserWarning, match="not finite.*best ones so far"):
        kd.lbfgs(model, x, np.full((4, 1), -50.0), verbose=0)
    assert np.isfinite(model.evaluate(x, np.full((4, 1), -50.0), verbose=0))
    assert as_numpy(model.weights[0]) <= 1


X, Y = np.ones((4, 3)), np.ones((4, 1))


def frozen():
    model = linear()
    model.trainable = False
    return model


def without_loss():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile("adam")
    return model


def two_targets(y, sample_weight=None):
    return kd.lbfgs(two_outputs()[0], X[:, :2], y, sample_weight, verbose=0)


WRONG = {
    "no model": (lambda: kd.lbfgs(layers.Dense(1), X, Y), TypeError, "keras.Model.*Dense"),
    "not compiled": (
        lambda: kd.lbfgs(keras.Sequential([layers.Dense(1)], name="raw"), X, Y),
        ValueError, "compiled.*'raw'.*compile",
    ),
    "no loss": (lambda: kd.lbfgs(without_loss(), X, Y), ValueError, "needs a loss"),
    "nothing to train": (lambda: kd.lbfgs(frozen(), X, Y), ValueError, "weights to train"),
    "no arrays": (lambda: kd.lbfgs(linear(), iter([X]), Y), TypeError, "arrays.*`x=`"),
    "a list of numbers": (lambda: kd.lbfgs(linear(), X, [1.0] * 4), TypeError, "arrays.*`y=`"),
    "other samples": (lambda: kd.lbfgs(linear(), X, Y[:3]), ValueError, r"as many samples.*\(3, 1\)"),
    "no samples": (lambda: kd.lbfgs(linear(), X[:0], Y[:0]), ValueError, "one at least"),
    "no steps": (lambda: kd.lbfgs(linear(), X, Y, max_steps=0), ValueError, "max_steps=.*0"),
    "tolerance": (lambda: kd.lbfgs(linear(), X, Y, tolerance=-1), ValueError, "tolerance=.*-1"),
    "no target": (lambda: kd.lbfgs(linear(), X), ValueError, r"needs a target.*y=None.*\(None, 1\)"),
    "no target of one": (
        lambda: two_targets({"u": Y}), ValueError, r"needs a target.*'u'.*'slope'.*as for `fit`"),
    "the wrong name": (lambda: two_targets({"u": Y, "v": X}), ValueError, "needs a target.*'v'"),
    "one array for two": (lambda: two_targets(Y), ValueError, "one array for several outputs"),
    "names for one": (lambda: kd.lbfgs(linear(), X, {"u": Y}), ValueError, "needs a target.*'u'"),
    "weights of one": (
        lambda: two_targets({"u": Y, "slope": X[:, :2]}, {"u": np.ones(4)}),
        ValueError, "needs a target.*sample weights alike.*slope"),
    "not finite": (lambda: kd.lbfgs(linear(), X * np.nan, Y), ValueError, "finite loss to start"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_it_refuses(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=f"(?s){message}"):
        call()


def test_scipy_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"needs SciPy.*keras_derivs\[lbfgs\]"):
        kd.lbfgs(linear(), X, Y)


def test_what_it_keeps_of_its_steps_fits_into_memory():
    assert kept(100) == 150  # all that help
    assert kept(10**6) * 2 * 8 * 10**6 < 2**30
    assert kept(10**9) == 10


def burgers():
    tx = keras.Input((2,), dtype="float64")
    t, x = tx[:, :1], tx[:, 1:]
    h = tx
    for _ in range(3):
        h = layers.Dense(20, "tanh")(h)
    u = layers.Dense(1)(h)
    u_t, u_x, u_xx = kd.partials(u, (t,), (x,), (x, x))
    model = keras.Model(tx, {"u": u, "residual": u_t + u * u_x - 0.1 * u_xx})
    model.compile("adam", loss={"u": "mse", "residual": "mse"})
    return model


def burgers_data():
    random = np.random.default_rng(0)
    inner = np.stack([random.uniform(0, 1, 300), random.uniform(-1, 1, 300)], axis=1)
    first = np.stack([np.zeros(100), random.uniform(-1, 1, 100)], axis=1)
    walls = np.stack([random.uniform(0, 1, 100), np.repeat([-1.0, 1.0], 50)], axis=1)
    u = np.concatenate([np.zeros(300), -np.sin(np.pi * first[:, 1]), np.zeros(100)])[:, None]
    known, inside = np.arange(500) >= 300, np.arange(500) < 300
    weights = {"u": 2.5 * known, "residual": inside / 0.6}
    x = np.concatenate([inner, first, walls])
    return x, {"u": u, "residual": np.zeros((500, 1))}, weights


@pytest.mark.slow
def test_a_physics_informed_network_goes_on_where_adam_stops(float64):
    keras.utils.set_random_seed(0)
    model, (x, y, weights) = burgers(), burgers_data()
    model.fit(x, y, sample_weight=weights, epochs=150, batch_size=len(x), verbose=0)
    adam = model.evaluate(x, y, len(x), 0, weights, return_dict=True)["loss"]
    assert adam > 1e-2

    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = logs["loss"] < 1e-4

    history = kd.lbfgs(model, x, y, weights, max_steps=1000, verbose=0, callbacks=[Enough()])
    assert history.history["loss"][-1] < 1e-4

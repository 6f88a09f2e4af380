"""`verify` finds what is planted, names the layer, and raises no false alarm."""

import keras
import numpy as np
import pytest
from framework import by_numpy, with_gradient
from keras import layers, ops
from models import MODELS, build, points
from verify_rows import FAULTS, RIGHT, stack

import keras_derivs as kd
from keras_derivs.engine import choose
from keras_derivs.verify import differences, main
from keras_derivs.verify.report import Check, Report


def verify(*args, **options):
    """`verify`, however slow the machine is."""
    return kd.verify(*args, **{"budget": None, **options})


class Planted(layers.Layer):
    """A layer of one function, not registered and without a config: as users write them."""

    def __init__(self, function, name="planted"):
        super().__init__(name=name)
        self.function = function

    def call(self, x):
        return self.function(x)

    def get_config(self):
        return {"function": self.function, "name": self.name}


wrong_factor = with_gradient(ops.sin, lambda x, g: g * ops.cos(x) * 1.01)
wrong_at_second_order = with_gradient(lambda x: x * x, lambda x, g: g * 2 * ops.stop_gradient(x))
numpy_sine = by_numpy(np.sin)


PLANTED = {
    "wrong custom gradient": wrong_factor,
    "custom gradient, wrong at second order": wrong_at_second_order,
    "stop_gradient": ops.stop_gradient,
    "stop_gradient on a part": lambda x: x * ops.stop_gradient(x),
    "numpy": lambda x: x + numpy_sine(x),
    "argmax": lambda x: x + ops.cast(ops.argmax(x, axis=-1, keepdims=True), x.dtype),
    "round": lambda x: x + ops.round(4 * x),
    "batch mean": lambda x: x - ops.mean(x, axis=0, keepdims=True),
    "singular": lambda x: ops.sqrt(x - x) + x,
    "stopped mean": lambda x: x * ops.square(x - ops.stop_gradient(ops.mean(x, -1, keepdims=True))),
}


def around(layer):
    """A model with a layer in the middle."""
    inputs = keras.Input((3,))
    h = layers.Dense(4, "tanh", name="before")(inputs)
    return keras.Model(inputs, layers.Dense(2, "tanh", name="after")(layer(h)))


def some_slow(names, everyday):
    return [
        name if name in everyday else pytest.param(name, marks=pytest.mark.long) for name in names
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", some_slow(PLANTED, ("batch mean",)))
def test_what_is_planted_is_found_and_named(name):
    model = around(Planted(PLANTED[name]))
    weights = [w.copy() for w in model.get_weights()]
    report = verify(model, points((4, 3)))
    assert not report and report.failures, report
    assert report.culprit == "'planted' (of type Planted)", report
    assert "planted" in str(report) and "FAILED" in str(report)
    assert all(np.array_equal(*pair) for pair in zip(weights, model.get_weights()))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_it_says_what_is_wrong():
    x = points((4, 3))
    report = verify(around(Planted(PLANTED["custom gradient, wrong at second order"])), x)
    failed = [check.name for check in report.failures]
    assert not any("order 1" in name for name in failed) and "order 2, strategy 'reverse'" in failed
    report = verify(around(Planted(PLANTED["batch mean"])), x)
    assert report.failures[0].name == "rows are independent"
    report = verify(around(Planted(PLANTED["round"])), x)
    assert "no jumps" in [check.name for check in report.failures]
    singular = keras.Sequential([keras.Input((3,)), Planted(lambda x: ops.sqrt(ops.abs(x)))])
    x[2, 1] = 0.0
    report = verify(singular, x)
    assert "not finite at sample 2" in str(report)


def test_a_fault_in_a_model_in_a_model():
    inner = around(Planted(wrong_factor))
    inputs = keras.Input((3,))
    outer = keras.Model(inputs, layers.Dense(1, "tanh")(inner(layers.Dense(3)(inputs))))
    report = verify(outer, points((4, 3)), order=1)
    assert report.culprit == f"'planted' (of type Planted) in '{inner.name}'"


@pytest.mark.parametrize("name", some_slow(MODELS, ("scalar",)))
def test_no_false_alarm(name):
    model, x = build(name, "float32")
    report = verify(model, x, order=1 if name == "sequence" else 2)
    assert report and all(check.status in ("ok", "skipped") for check in report.checks), report
    assert "all is well" in str(report) and report.culprit is None


SMOOTH = {
    "convolution": ((6, 2), [layers.Conv1D(3, 2, activation="gelu"), layers.Flatten()]),
    "attention": ((4, 4), [lambda x: layers.MultiHeadAttention(2, 2)(x, x), layers.Flatten()]),
    "normalised": ((4,), [layers.BatchNormalization(), layers.LayerNormalization()]),
    "dropout": ((4,), [layers.Dropout(0.5), layers.GaussianNoise(1.0), layers.Dense(2, "elu")]),
    "recurrent": ((3, 2), [layers.Bidirectional(layers.GRU(2))]),
    "softmax": ((4,), [layers.Softmax(), layers.Dense(3, "silu")]),
    "lambda": ((4,), [layers.Lambda(lambda x: ops.exp(x) * 2)]),
    "moments": ((4,), [Planted(lambda x: x * ops.moments(x, axes=[-1], keepdims=True)[1])]),
}


@pytest.mark.parametrize("name", some_slow(SMOOTH, ("lambda",)))
def test_no_false_alarm_on_layers(name):
    shape, stack = SMOOTH[name]
    inputs = y = keras.Input(shape)
    for layer in stack:
        y = layer(y)
    report = verify(keras.Model(inputs, y), points((3, *shape)))
    assert report, report


def test_an_adapted_layer_is_compared_in_double_precision():
    x = np.random.default_rng(0).uniform(30, 200, (100, 3)).astype("float32")
    adapted = layers.Normalization()
    adapted.adapt(x)
    before = [ops.convert_to_numpy(part) for part in (adapted.mean, adapted.variance)]
    inner = keras.Sequential([keras.Input((3,)), adapted])
    report = verify(stack((3,), inner, layers.Dense(4, "tanh"), layers.Dense(1))[0], x[:4])
    assert report and all(check.status == "ok" for check in report.checks), report
    assert all(map(np.array_equal, before, (adapted.mean, adapted.variance)))
    assert "float32" in str(adapted.mean.dtype)


def test_rounding_far_off_is_no_error():
    keras.utils.set_random_seed(1)
    parts = [layers.Dense(12, "tanh"), layers.Dense(12, "tanh"), layers.Dense(2)]
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    report = verify(keras.Sequential([keras.Input((3,)), *parts]), x, order=1)
    assert report, report


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
def test_half_precision_is_no_error(policy):
    keras.utils.set_random_seed(1)
    parts = [layers.Dense(16, "tanh", dtype=policy), layers.Dense(1, dtype=policy)]
    report = verify(keras.Sequential([keras.Input((3,)), *parts]), points((4, 3)), order=1)
    assert report, report


def tanh_with_a_slope(far_off):
    """tanh, whose slope far off is not zero."""

    def gradient(x, g):
        extra = ops.where(ops.abs(x) > 50, far_off * ops.ones_like(x), ops.zeros_like(x))
        return g * (1 - ops.tanh(x) ** 2 + extra)

    return with_gradient(ops.tanh, gradient)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("slope", [0.0, 1e-12])
def test_a_small_slope_far_off_instead_of_none_is_found(slope):
    model, x = stack((3,), tanh_with_a_slope(slope))
    report = verify(model, x, order=1)
    assert bool(report) == (slope == 0), report
    assert not slope or "times 1000" in str(report), report


EVERYDAY_RIGHT = ("tanh(1000 x)", "relu squared on its kink", "outputs of many scales")
EVERYDAY_FAULTS = ("wrong slope of the slope", "one output of small scale", "large values only")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", some_slow(RIGHT, EVERYDAY_RIGHT))
def test_no_false_alarm_on_a_right_model(name):
    keras.utils.set_random_seed(0)
    model, x = RIGHT[name]()
    report = verify(model, x, budget=None)
    assert report and not report.failures and report.culprit is None, report


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", some_slow(FAULTS, EVERYDAY_FAULTS))
def test_no_planted_fault_is_missed(name):
    keras.utils.set_random_seed(0)
    model, x = FAULTS[name]()
    report = verify(model, x, budget=None)
    assert not report and report.failures, report


@pytest.mark.slow
def test_one_wrong_output_of_many_is_named():
    def function(x):
        parts = [ops.sin((n + 1) * x[:, :1] + x[:, 1:]) for n in range(8)]
        return ops.stack([*parts[:5], wrong_factor(parts[5]), *parts[6:]], axis=1)

    x = keras.Input((2,))
    report = verify(keras.Model(x, Planted(function)(x)), points((3, 2)), order=1)
    notes = [check.note for check in report.failures]
    assert any("output (5, 0): " in note for note in notes), report


@pytest.mark.long
def test_what_rounding_hides_is_undecided():
    model, x = stack(
        (3, 3, 1),
        ops.sin,
        layers.UpSampling2D(interpolation="bilinear"),
        ops.tanh,
        layers.Flatten(),
    )  # TensorFlow resizes in float32, whatever is asked
    report = verify(model, x)
    assert not report.failures and not report.ok and "cannot be decided" in str(report), report


def test_both_tables_are_as_long_as_is_said():
    assert len(RIGHT) >= 60 and len(FAULTS) >= 40


FUNCTIONS = {  # function, its derivatives
    "sin": (np.sin, np.cos, lambda x: -np.sin(x)),
    "steep": (lambda x: np.tanh(1e3 * x), lambda x: 1e3 / np.cosh(1e3 * x) ** 2,
              lambda x: -2e6 * np.tanh(1e3 * x) / np.cosh(1e3 * x) ** 2),
    "fast": (lambda x: np.sin(200 * x), lambda x: 200 * np.cos(200 * x),
             lambda x: -4e4 * np.sin(200 * x)),
    "growing": (lambda x: np.exp(50 * x), lambda x: 50 * np.exp(50 * x),
                lambda x: 2500 * np.exp(50 * x)),
    "offset": (lambda x: 1e6 + np.sin(x), np.cos, lambda x: -np.sin(x)),
    "line": (lambda x: 3 * x + 1, lambda x: 3 + 0 * x, lambda x: 0 * x),
    "kink": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0), lambda x: 0 * x),
    "second-order kink": (lambda x: np.maximum(x, 0) ** 2, lambda x: 2 * np.maximum(x, 0),
                          lambda x: np.where(x > 0, 2.0, 0)),
    "third-order kink": (lambda x: np.abs(x) * x * x, lambda x: 3 * x * np.abs(x),
                         lambda x: 6 * np.abs(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_differences_know_their_error(name):
    function, *derivatives = FUNCTIONS[name]
    x = np.array([0, 1e-9, -1e-9, 1e-7, -1e-5, 1e-4, -1e-3, 1e-2, 0.1, -0.3, 1.0, 3.0])
    values = function(x[:, None] + differences.PLACES[:, None, None])
    for order, truth in differences.truths(values, [1, 2]).items():
        with np.errstate(over="ignore"):
            off = np.abs(truth.value[:, 0] - derivatives[order - 1](x))
        good = truth.good(np.abs(truth.value))[:, 0]
        assert np.all(off[good] <= truth.error[good, 0])
        on_kink = {"kink": True, "second-order kink": order == 2}.get(name, False)
        assert good[-3:].all() and good[0] != on_kink and (good.all() or "kink" in name)
        assert not on_kink or truth.kink[0]


def test_kinks_are_no_errors():
    model = keras.Sequential([keras.Input((2,)), layers.ReLU(), layers.Dense(1)])
    x = np.array([[0.5, -0.7], [1e-9, 0.3], [-0.4, 0.9]])
    report = verify(model, x, order=1)
    assert report and "kink near sample 1" in str(report)
    assert not any(check.status == "kink" for check in verify(model, x[::2], order=1).checks)


@pytest.mark.long
def test_third_order():
    model, x = build("scalar", "float64")
    report = verify(model, x, order=3)
    assert report and "order 3, strategy 'taylor'" in str(report)


@pytest.mark.long
def test_several_inputs_and_outputs():
    inputs = {
        "t": keras.Input((1,), name="t"),
        "x": keras.Input((2,), name="x"),
        "n": keras.Input((1,), dtype="int32", name="n"),
    }
    embedded = layers.Flatten()(layers.Embedding(3, 2)(inputs["n"]))
    h = layers.Dense(4, "tanh")(ops.concatenate([inputs["t"] * inputs["x"], embedded], 1))
    model = keras.Model(inputs, {"u": layers.Dense(1)(h), "v": layers.Dense(9, "tanh")(h)})
    at = {"t": points((3, 1)), "x": points((3, 2), seed=1), "n": np.array([[0], [2], [1]])}
    report = verify(model, at, order=1)
    assert report and "output 1, order 1" in str(report), report


@pytest.mark.long
def test_derivatives_inside_a_model():
    x = keras.Input((2,))
    u = layers.Dense(1)(layers.Dense(4, "tanh")(x))
    report = verify(keras.Model(x, [u, kd.laplacian(u, x)]), points((3, 2)), order=1)
    assert report, report


def test_a_derivative_between_tensors_by_its_name():
    x = keras.Input((2,))
    u = layers.Dense(1, "tanh")(x)
    model = keras.Model(x, [u, kd.diff(u, x[:, :1], x[:, 1:], name="bend")])
    report = verify(model, points((3, 2)), layers=["bend"])
    assert report and any("'bend', strategy" in check.name for check in report.checks), report


DERIVATIVES = {
    "Gradient": lambda m: kd.Gradient(m),
    "Jacobian": lambda m: kd.Jacobian(m),
    "SubJacobian": lambda m: kd.SubJacobian(m, inputs=[2, 0], strategy="forward"),
    "Hessian": lambda m: kd.Hessian(m, return_value=True),
    "HessianDiagonal": lambda m: kd.HessianDiagonal(m),
    "Laplacian": lambda m: kd.Laplacian(m),
    "coefficients": lambda m: kd.Laplacian(m, coefficients=[1, -2, 0]),
    "directions": lambda m: kd.Laplacian(
        m, directions=[[1, 2, 0], [0, 1, 1]], coefficients=[1, -1]
    ),
    "Partials": lambda m: kd.Partials(m, [(), (0,), (1, 2), (0, 0, 2)]),
    "JVP": lambda m: kd.JVP(m),
    "VJP": lambda m: kd.VJP(m),
    "HVP": lambda m: kd.HVP(m),
}
VECTORS = {"JVP": (4, 3), "HVP": (4, 3), "VJP": (4, 1)}


@pytest.mark.parametrize(
    "name",
    some_slow(DERIVATIVES, ("SubJacobian", "Partials")),
)
def test_every_derivative_layer(name):
    model, x = build("scalar", "float32")
    x = [x, points(VECTORS[name], seed=5)] if name in VECTORS else x
    report = verify(DERIVATIVES[name](model), x)
    assert report and all(check.status == "ok" for check in report.checks), report
    possible = choose.STRATEGIES[DERIVATIVES[name](model).kind]
    assert sum("strategy" in check.name for check in report.checks) == len(possible)


@pytest.mark.long
@pytest.mark.parametrize("layer", [kd.Divergence, kd.Curl])
def test_vector_fields(layer):
    model, x = build("sequential", "float64", num_outputs=3)
    assert verify(layer(model), x)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["wrong custom gradient", "stop_gradient on a part", "stopped mean"]
)
def test_a_derivative_layer_of_a_wrong_model(name):
    layer = kd.Hessian(around(Planted(PLANTED[name])))
    report = verify(layer, points((4, 3)))
    assert not report and report.culprit == "'planted' (of type Planted)", report


def test_a_wrong_engine_is_found(monkeypatch):
    model, x = build("scalar", "float64")
    right, price = choose.STRATEGIES["hessian"]["reverse"]

    def wrong(target, request):
        y, [[hessian]] = right(target, request)
        return y, [[hessian * ops.convert_to_tensor([[1.0, 1.0, 1.0001]], "float64")]]

    monkeypatch.setitem(choose.STRATEGIES["hessian"], "reverse", (wrong, price))
    report = verify(kd.Hessian(model), x)
    assert [check.name for check in report.failures] == ["strategy 'reverse'"]


def test_the_model_stays_as_it_was():
    inputs = keras.Input((3,))
    y = layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(4, "tanh")(inputs)))
    model = keras.Model(inputs, y)
    before = [np.array(v) for v in model.variables]
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    assert verify(model, points((4, 3)), order=1)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.variables))
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]
    assert keras.config.floatx() == "float32" and keras.config.dtype_policy().name == "float32"


@pytest.mark.long
def test_a_layer_that_computes_in_float32_whatever_is_asked():
    model = around(Planted(lambda x: ops.sin(ops.cast(x, "float32"))))
    report = verify(model, points((4, 3)), order=1)
    assert report, report


def test_many_entries_are_not_compared_one_by_one():
    model = keras.Sequential([keras.Input((40,)), layers.Dense(1, "tanh")])
    with pytest.raises(ValueError, match="300.*Received: 820.*random directions"):
        verify(kd.Hessian(model), points((2, 40)))
    assert verify(model, points((2, 40)))


def test_a_budget_is_kept_and_what_it_leaves_out_is_said(capsys):
    model, x = stack((20, 3), layers.GRU(8), layers.Dense(1))
    report = verify(model, x, budget=1e-3)
    assert not report.ok and not report.failures and report.left_out == report.checks
    assert "no time left" in str(report) and "larger `budget=`" in str(report)
    assert "all is well" not in str(report)


def test_what_was_left_out_counts_as_long_as_the_rest():
    model, x = stack((4,), layers.Dense(8, "tanh"), layers.Dense(1))
    assert "needs some" not in str(verify(model, x, order=1))
    subject, clock = main.subjects_of(model, x, model(x), 1, 0, main.Clock())[0], main.Clock()
    tasks, subject.part = subject.tasks(), 0.5
    subject.seconds = {task.name: 2.0 for task in tasks[:3]}
    checks = [Check(task.name, "ok" if n < 3 else "left out") for n, task in enumerate(tasks)]
    seconds = main._Run(model, [subject], False, clock)._seconds(tasks, checks)
    assert 4.0 * len(tasks) <= seconds <= 12.0 * len(tasks)
    assert f"needs some {seconds:.2g} s" in str(Report("", checks, whole=seconds))


@pytest.mark.parametrize("seed", range(2))
def test_a_function_that_is_flat_at_all_samples_is_the_same_in_graphs(seed):
    model = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda z: ops.tanh(300 * z))])
    report = verify(model, np.random.default_rng(seed).normal(size=(4, 2)))
    assert not report.failures, report


@pytest.mark.long
def test_a_recurrent_model_keeps_the_budget(capsys):
    model, x = stack((50, 3), layers.GRU(16), layers.Dense(1), count=8)
    report = verify(model, x, budget=30.0)
    assert not report.failures and report.seconds < 60, report
    assert "verify: " in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_single_layers_of_a_model():
    x = keras.Input((3,))
    u = layers.Dense(1)(Planted(wrong_factor)(layers.Dense(4, "tanh", name="good")(x)))
    model = keras.Model(
        x, [u, kd.Gradient(keras.Sequential([keras.Input((3,)), layers.Dense(1)]), name="slope")(x)]
    )
    report = verify(model, points((3, 3)), order=1, layers=["good", "planted", "slope"])
    assert {check.name.split(",")[0] for check in report.failures} == {"'planted'"}, report
    assert report.culprit == "'planted' (of type Planted)"
    assert any(check.name == "'slope', strategy 'reverse'" for check in report.checks)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_report_names_entry_layer_and_operation():
    report = verify(around(Planted(PLANTED["stop_gradient on a part"])), points((4, 3)))
    assert "StopGradient" in report.operations and "by StopGradient" in str(report)
    assert "wrong at sample " in str(report) and " instead of " in str(report)


WRONG = {
    "no layer": (lambda: verify(np.sin, points((2, 3))), TypeError, "layer.*Received.*sin"),
    "order": (lambda: verify(build("scalar", "float32")[0], points((2, 3)), 7), ValueError, "order=.*7"),
    "integers": (
        lambda: verify(layers.Embedding(3, 2), np.array([[1]])), ValueError, "float input.*int64"
    ),
    "order of a layer": (
        lambda: verify(kd.Gradient(build("scalar", "float32")[0]), points((2, 3)), 1),
        ValueError, "for models.*Received: 1",
    ),
    "order true": (lambda: verify(layers.Dense(1), points((2, 3)), True), ValueError, "order=.*True"),
    "budget": (lambda: verify(layers.Dense(1), points((2, 3)), budget=0), ValueError, "budget=.*positive.*Received: 0"),
    "a budget in words": (lambda: verify(layers.Dense(1), points((2, 3)), budget="1 s"), ValueError, "budget=.*'1 s'"),
    "a layer it has not": (
        lambda: verify(stack((3,), layers.Dense(1, name="own"))[0], points((2, 3)), layers="other"),
        ValueError, r"layers=.*Received: \['other'\].*Choose from.*'own'",
    ),
    "no layers": (
        lambda: verify(stack((3,), layers.Dense(1))[0], points((2, 3)), layers=[]),
        ValueError, r"layers=.*Received: \[\]",
    ),
    "numbers": (lambda: verify(layers.Dense(1), [[1.0, 2.0]]), TypeError, "arrays.*float.*numpy"),
    "no samples": (lambda: verify(layers.Dense(1), points((0, 2))), ValueError, r"one sample.*\(0, 2\)"),
    "not finite": (
        lambda: verify(layers.Dense(1), np.array([[1.0, 2.0], [np.nan, 1.0]])),
        ValueError, r"finite.*rows \[1\]",
    ),
    "coupled": (
        lambda: verify(kd.Gradient(build("scalar", "float32")[0], coupled=True), points((2, 3))),
        ValueError, "do not depend on each other.*coupled=True",
    ),
    "an estimate": (
        lambda: verify(kd.Laplacian(build("scalar", "float32")[0], num_samples=2), points((2, 3))),
        ValueError, "exact.*estimate from 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name):
    function, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        function()

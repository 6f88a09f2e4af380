"""The numbers that pictures show, and that a picture leaves no trace."""

import keras
import matplotlib
import numpy as np
import pytest
from keras import ops
from matplotlib import pyplot
from matplotlib.figure import Figure
from truth import EXACT, close

import keras_derivs as kd
from keras_derivs import plotting
from keras_derivs.plotting.quantities import Quantity, derivative

MATRIX = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, 0.0]])
POINTS = np.random.default_rng(0).normal(size=(40, 3))


def assert_close(found, expected, dtype):
    close(found, expected, EXACT[dtype])


def of(function, features):
    return keras.Sequential([keras.Input((features,)), keras.layers.Lambda(function)])


@pytest.fixture
def linear():
    return of(lambda x: ops.matmul(x, ops.cast(MATRIX.T, x.dtype)), 3)


@pytest.fixture
def wave():
    """sin(2 x) y, over two inputs."""
    return of(lambda x: ops.sin(2 * x[:, :1]) * x[:, 1:], 2)


def bell(x):
    return ops.exp(-ops.sum(x * x, axis=-1, keepdims=True))


DRAWN = {
    "sensitivity": lambda ax, linear, wave: plotting.sensitivity(linear, POINTS, ax=ax),
    "bars": lambda ax, linear, wave: plotting.sensitivity(POINTS, ax=ax),
    "profile": lambda ax, linear, wave: plotting.profile(wave, POINTS[:5, :2], ax=ax),
    "field": lambda ax, linear, wave: plotting.field(
        wave, [(0, 1), (0, 2)], num_points=9, num_arrows=3, ax=ax
    ),
    "saliency": lambda ax, linear, wave: plotting.saliency(MATRIX, MATRIX, ax=ax),
    "spectrum": lambda ax, linear, wave: plotting.spectrum(MATRIX, ax=ax),
    "residual": lambda ax, linear, wave: plotting.residual(wave, POINTS[:, :2], ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_goes_into_the_given_axes_and_leaves_no_trace(name, linear, wave, tmp_path):
    before, figure = dict(matplotlib.rcParams), Figure()
    first, second = figure.subplots(1, 2)
    assert DRAWN[name](second, linear, wave) is second
    assert not first.has_data() and not first.get_title(loc="left")
    assert plotting.spectrum(MATRIX).figure is not figure
    figure.savefig(tmp_path / "picture.png", dpi=30)
    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert not pyplot.get_fignums() and dict(matplotlib.rcParams) == before


def test_bars_show_mean_spread_and_units():
    jacobian = np.stack([[2 * np.cos(k), k, 1.0] for k in range(5)])
    ax = plotting.sensitivity(jacobian, inputs={"t": "s", "x": "m", "n": ""}, outputs={"u": "K"})
    assert_close([bar.get_width() for bar in ax.patches], jacobian.mean(axis=0), "float64")
    whiskers = ax.collections[0].get_segments()
    spread = [(end[0] - start[0]) / 2 for start, end in whiskers]
    assert_close(spread, jacobian.std(axis=0), "float64")
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["t [K/s]", "x [K/m]", "n [K]"]


def test_a_map_shows_a_block_standardised_by_the_data(linear):
    layer = kd.SubJacobian(linear, outputs=[1, 0], inputs=[2, 0])
    block = MATRIX[[1, 0]][:, [2, 0]]
    scales = POINTS[:, [2, 0]].std(axis=0) / (POINTS @ MATRIX.T)[:, [1, 0]].std(axis=0)[:, None]
    for standardise, expected in ((False, block), (True, block * scales)):
        ax = plotting.sensitivity(layer, POINTS, standardise=standardise)
        assert_close(ax.images[0].get_array().data, expected, "float32")
    given = POINTS[:, [2, 0]].std(axis=0), (POINTS @ MATRIX.T)[:, [1, 0]].std(axis=0)
    ax = plotting.sensitivity(block[None], standardise=given, inputs=["c", "a"], outputs=["v", "u"])
    assert_close(ax.images[0].get_array().data, block * scales, "float64")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["c", "a"]


def test_a_profile_shows_value_slope_and_curvature(wave):
    ax = plotting.profile(wave, [0.3, 1.5], span=(-1, 1), inputs=["x", "y"], num_points=21)
    x = np.linspace(-1, 1, 21)
    expected = [1.5 * np.sin(2 * x), 3 * np.cos(2 * x), -6 * np.sin(2 * x)]
    for panel, curve in zip(ax.child_axes, expected):
        line = max(panel.lines, key=lambda line: len(line.get_xdata()))
        assert_close(line.get_ydata(), curve, "float32")
    assert ax.child_axes[2].get_xlabel() == "x"


def test_a_field_shows_gradient_and_laplacian():
    model = of(lambda x: bell(x[:, :2]) + x[:, 2:], 3)
    ax = plotting.field(model, [(-1, 1), (-2, 2)], at=[9, 9, 1], num_points=5, num_arrows=4)
    x, y = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-2, 2, 5), indexing="ij")
    laplacian = 4 * (x * x + y * y - 1) * np.exp(-x * x - y * y)
    assert_close(np.ravel(ax.collections[0].get_array()), laplacian.ravel(), "float32")
    arrows = ax.collections[-1]
    a, b = arrows.XY.T
    size = np.exp(-a * a - b * b)
    assert_close(np.array([arrows.U, arrows.V]), np.array([-2 * a, -2 * b]) * size, "float32")


def test_a_saliency_is_the_norm_over_the_channels():
    x = np.random.default_rng(1).normal(size=(6, 7, 3)).astype("float32")
    model = keras.Sequential(
        [keras.Input((6, 7, 3)), keras.layers.Lambda(lambda x: ops.sum(x * x, (1, 2, 3)))]
    )
    norm = np.sqrt((x * x).sum(axis=-1))
    ax = plotting.saliency(model, x)
    assert_close(ax.images[1].get_array().data, norm / norm.max(), "float32")
    ax = plotting.saliency(x[0], x[0], tokens=["six", "words", "and", "not", "one", "or", "more"])
    assert len(ax.texts) == len(ax.patches) == 7


def test_a_saliency_is_of_the_largest_output_or_the_chosen_one(linear):
    x = np.array([[1.0, 0.0, 1.0]])  # y = (1.5, 0.25)
    for component, row in ((None, 0), (1, 1)):
        heat = plotting.saliency(linear, x, component=component).collections[0].get_array()
        slope = abs(MATRIX[row])
        assert_close(np.ravel(heat), slope / slope.max(), "float32")


def test_a_spectrum_is_of_eigenvalues_or_singular_values(linear):
    layer = kd.Hessian(of(lambda x: ops.sum(x**2 * ops.cast([1, -2, 3], x.dtype), 1), 3))
    found = plotting.spectrum(layer, POINTS[:2]).collections[-1].get_offsets()
    assert_close(found[:, 1], [6, 2, -4], "float32")
    found = plotting.spectrum(linear_jacobian := kd.Jacobian(linear), POINTS).collections[-1]
    assert linear_jacobian.plan and len(found.get_offsets()) == 2
    assert_close(found.get_offsets()[:, 1], np.linalg.svd(MATRIX)[1], "float32")


def test_a_residual_is_drawn_over_its_domain():
    x = keras.Input((1,), name="x")
    model = keras.Model(x, {"u": ops.sin(x), "residual": kd.diff(ops.sin(x), x, x) + x})
    ax = plotting.residual(model, [(0, 2)], num_points=9)
    at = np.linspace(0, 2, 9)
    assert_close(ax.lines[-1].get_ydata(), at - np.sin(at), "float32")


def test_titles_tell_what_is_drawn_and_what_is_held(linear):
    names = {"t": "s", "x": "m", "z": ""}
    options = {"num_points": 5, "output": 1, "inputs": names, "at": [0.0, 0.5, -2.0]}
    ax = plotting.field(linear, [(0, 1), (0, 2)], num_arrows=3, **options)
    assert ax.get_title(loc="left").endswith("arrows: its gradient\nat z = \N{MINUS SIGN}2.00")
    ax = plotting.residual(linear, [(0, 1)], features="z", **options)
    title = ax.get_title(loc="left")
    assert "Residual" not in title and title.endswith("\nat t = 0.00 s, x = 0.50 m")
    many = of(lambda x: ops.sum(x, axis=-1, keepdims=True), 9)
    ax = plotting.field(many, [(0, 1), (0, 2)], num_points=5, num_arrows=3)
    assert ax.get_title(loc="left").endswith("\n7 other inputs at 0.00")


def test_units_of_derivatives():
    area, time = Quantity("A", "m²"), Quantity("t", "s")
    speed = Quantity("v", "m/s")
    assert str(derivative(speed, time)) == "∂v/∂t [(m/s)/s]"
    assert str(derivative(Quantity("T", "K"), area, area)) == "∂²T/∂A² [K/(m²)²]"
    assert str(derivative(speed, time, area)) == "∂²v/∂t∂A [(m/s)/(s·m²)]"
    assert str(derivative(Quantity("n"), time)) == "∂n/∂t [1/s]"


def test_a_model_of_several_inputs_and_outputs():
    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    u = ops.sum(a, -1, keepdims=True) * b
    model = keras.Model({"b": b, "a": a}, {"u": u, "v": 2.0 * a})
    x = {"a": [[1.0, 2.0], [3.0, 4.0]], "b": np.array([[5.0], [7.0]])}
    ax = plotting.sensitivity(model, x)
    mean = [[6, 6, 5], [2, 0, 0], [0, 2, 0]]
    assert_close(ax.images[0].get_array().data, np.array(mean, float), "float32")
    labels = [label.get_text() for label in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    assert labels == ["a[0]", "a[1]", "b", "u", "v[0]", "v[1]"]
    ax = plotting.profile(model, {"a": [1.0, 2.0], "b": 5.0}, "b", output="u")
    assert_close(ax.child_axes[1].lines[1].get_ydata(), np.full(201, 3.0), "float32")
    plain = keras.Model({"b": b, "a": a}, u)
    one = {"a": np.array(x["a"])[:1], "b": x["b"][:1]}
    heat = plotting.saliency(kd.Gradient(plain, wrt="a"), one).collections[0].get_array()
    assert_close(np.ravel(heat), np.ones(2), "float32")
    lines = [plotting.residual(plain, d, num_points=3, output="u", at=[1, 2, 3], features=[0])
             for d in ([(0, 1)], (0, 1))]  # fmt: skip
    assert_close(lines[0].lines[-1].get_ydata(), lines[1].lines[-1].get_ydata(), "float64")
    spans = keras.Model({"a": (z := keras.Input((1,), name="a")), "b": b}, z * b)
    ax = plotting.residual(spans, {"a": (0, 1), "b": (1, 2)}, num_points=3)
    assert_close(np.max(ax.collections[0].get_array()), np.array(2.0), "float32")


def test_one_image_is_one_sample():
    model = of(lambda x: ops.sum(x, (1, 2))[:, None], 3)
    model = keras.Sequential([keras.Input((2, 3)), *model.layers])
    ax = plotting.profile(model, np.ones((2, 3)), num_points=3)
    assert_close(ax.child_axes[0].lines[0].get_ydata(), np.array([5.0, 6.0, 7.0]), "float32")


def test_a_constant_and_a_singular_field():
    constant = of(lambda x: 0 * x[:, :1] + 3, 2)
    ax = plotting.field(constant, [(0, 1), (0, 1)], num_points=3, num_arrows=2)
    ax.figure.canvas.draw()
    pole = of(lambda x: 1 / ops.sum(x * x, -1, keepdims=True), 2)
    ax = plotting.field(pole, [(-1, 1), (-1, 1)], num_points=3, num_arrows=2)
    assert ax.collections[0].norm.vmax == pytest.approx(4.0, rel=1e-5)  # 4/r^4 at r = 1


def test_a_sequence_of_many_channels_is_no_image():
    slope = np.random.default_rng(0).normal(size=(40, 8))
    heat = plotting.saliency(slope, slope).collections[0].get_array()
    norm = np.linalg.norm(slope, axis=1)
    assert_close(np.ravel(heat), norm / norm.max(), "float64")
    assert len(plotting.saliency(slope, slope, kind="image").images) == 2


def test_long_names_leave_room_for_the_map(tmp_path):
    names = ["a name that takes more than half of a line of text", "another one"]
    ax = plotting.sensitivity(np.ones((3, 2, 3)), outputs=names)
    ax.figure.savefig(tmp_path / "map.png", dpi=30)
    assert ax.get_position().width * ax.figure.get_figwidth() > 2


WRONG = {
    "for one sample at least": lambda m: plotting.sensitivity(np.zeros((0, 2, 3))),
    "result of `Jacobian`, `SubJ": lambda m: plotting.sensitivity(
        kd.Hessian(m, component=0), POINTS
    ),
    "the scales of the inputs": lambda m: plotting.sensitivity(m, POINTS, standardise=(1,)),
    "`num_points=` needs": lambda m: plotting.profile(m, POINTS, num_points=1),
    "`num_arrows=` needs": lambda m: plotting.field(m, [(0, 1), (0, 1)], num_arrows=0.5),
    "finite somewhere": lambda m: plotting.profile(
        of(lambda x: ops.log(-1 - x * x), 1), [[0.0], [1.0]]
    ),
    "a dict of": lambda m: plotting.profile(m, {"a": POINTS}),
    "a lower and an upper": lambda m: plotting.residual(m, [(1, 0)], output=0, features=[0]),
    "'image', 'sequence'": lambda m: plotting.saliency(MATRIX, MATRIX, kind="text"),
    "spectrum needs a matrix": lambda m: plotting.spectrum(kd.Gradient(m, component=0), POINTS),
    "`ax=` needs": lambda m: plotting.spectrum(MATRIX, ax="figure"),
    "needs 3 names": lambda m: plotting.sensitivity(m, POINTS, inputs=["a", "b"]),
    "needs samples to call": lambda m: plotting.sensitivity(m),
    "needs a layer or a model": lambda m: plotting.sensitivity(POINTS, standardise=True),
    "one above zero": lambda m: plotting.sensitivity(m, POINTS[:1], standardise=True),
    "needs finite numbers": lambda m: plotting.spectrum([[np.nan]]),
    "samples of 3 features": lambda m: plotting.profile(m, POINTS[:, :2]),
    "`feature=` needs": lambda m: plotting.profile(m, POINTS, 3),
    "`span=` needs": lambda m: plotting.profile(m, POINTS, span=(1, 0)),
    "the model itself": lambda m: plotting.profile(kd.Jacobian(m), POINTS),
    "two different inputs": lambda m: plotting.field(m, [(0, 1), (0, 1)], features=(1, -2)),
    "`spans` needs": lambda m: plotting.field(m, [(0, 1)]),
    "`output=` needs": lambda m: plotting.residual(m, POINTS, features=[0]),
    "one or two inputs": lambda m: plotting.residual(m, POINTS, output=0),
    "symmetric matrices": lambda m: plotting.spectrum(MATRIX, kind="eigenvalues"),
    "`kind=` needs": lambda m: plotting.spectrum(MATRIX, kind="values"),
    "a matrix for each sample": lambda m: plotting.spectrum(POINTS[0]),
    "of the shape of its input": lambda m: plotting.saliency(POINTS, MATRIX),
    "needs one sample": lambda m: plotting.saliency(m, POINTS),
    "a word for each of 2": lambda m: plotting.saliency(MATRIX, MATRIX, tokens=["one"]),
    "needs an image": lambda m: plotting.saliency(np.ones((2, 9, 9, 9)), np.ones((2, 9, 9, 9))),
}


@pytest.mark.filterwarnings("ignore:.*not finite for random rows")
@pytest.mark.parametrize("words", WRONG)
def test_wrong_input(words, linear):
    with pytest.raises((ValueError, TypeError), match=words):
        WRONG[words](linear)

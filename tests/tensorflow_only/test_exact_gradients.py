"""The tape is exact at zeros, ties and large numbers, where TensorFlow's own gradients are not."""

import keras
import mpmath
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from tensorflow.python.eager import backprop_util
from test_exact import ORDER, check_number, check_numbers, expected, layer, planted, same
from test_exact import ROWS as EVERYWHERE
from truth import EXACT, close, numpy

import keras_derivs as kd
from keras_derivs.backend.tensorflow import modes
from keras_derivs.backend.tensorflow.unselected import marked

MODES = ("eager", *modes.MODES)
bessel, special = tf.math, tf.math.special
# function of one number -> (where, function in high precision or {order: derivative, else 0})
ROWS = {
    "ldexp at 0": (lambda x: ops.ldexp(x, 2), 0, {1: 4}),
    "arctan2 of large numbers": (
        lambda x: ops.arctan2(1e200 * x, same(1e200)(x)),
        0.5,
        mpmath.atan,
    ),
    "sinc at 0": (ops.sinc, 0, mpmath.sincpi),
    "sinc near 0": (ops.sinc, 1e-3, mpmath.sincpi),
    "mask times tanh of -inf": (lambda x: x + ops.tanh(ops.log(x)) * np.zeros(1), 0, {1: 1}),
    "mask times exp of -inf": (lambda x: x + ops.exp(-1 / x) * np.zeros(1), 0, {1: 1}),
    "mask times softplus of -inf": (
        lambda x: x + ops.softplus(ops.log(x)) * np.zeros(1),
        0,
        {1: 1},
    ),
    "mask times sine of root": (lambda x: x + ops.sin(ops.sqrt(x)) * np.zeros(1), 0, {1: 1}),
    "mask times root": (lambda x: x + ops.sqrt(x) * np.zeros(1), 0, {1: 1}),
    "relu of a logarithm": (lambda x: x + ops.relu(ops.log(x)), 0, {1: 1}),
    "norm of order 3": (lambda x: ops.norm(x, ord=3, axis=1, keepdims=True), 0, {}),
    "hypot": (lambda x: ops.hypot(x, x), 0, {}),
    "i1 at 0": (bessel.bessel_i1, 0, lambda x: mpmath.besseli(1, x)),
    "j0 at 0": (special.bessel_j0, 0, lambda x: mpmath.besselj(0, x)),
    "j1 at 0.2": (special.bessel_j1, 0.2, lambda x: mpmath.besselj(1, x)),
    "spence at 1": (special.spence, 1, lambda x: mpmath.polylog(2, 1 - x)),
    "xlogy at 0": (lambda x: tf.math.xlogy(x, same(2)(x)), 0, {1: np.log(2)}),
    "xlog1py at 0": (lambda x: tf.math.xlog1py(x, same(1)(x)), 0, {1: np.log(2)}),
    "norm of TensorFlow": (lambda x: tf.norm(x, axis=1, keepdims=True), 0, {}),
}


IN_GRAPHS = [
    pytest.param("tf.function", marks=pytest.mark.slow),
    pytest.param("XLA", marks=pytest.mark.long),
]
NOT_IN_XLA = ("i0 at 0", "i1 at 0", "j0 at 0", "j1 at 0.2", "spence at 1")


@pytest.mark.filterwarnings("ignore:(?s).*(Piecewise linear|No second derivative)")
@pytest.mark.parametrize("name", ROWS)
def test_one_number(name, float64):
    check_number(*ROWS[name])


@pytest.mark.filterwarnings("ignore:(?s).*(Piecewise linear|No second derivative)")
@pytest.mark.parametrize("name", {**EVERYWHERE, **ROWS})
@pytest.mark.parametrize("mode", IN_GRAPHS)
def test_one_number_in_graphs(mode, name, float64):
    function, x, truth = {**EVERYWHERE, **ROWS}[name]
    terms = [(0,) * order for order in range(1, ORDER + 1)]
    made = kd.Partials(layer(function, (1,)), terms, strategy="reverse")
    run = modes.compiled(made, mode)
    if mode == "XLA" and name in NOT_IN_XLA:
        with pytest.raises(ValueError, match="needs operations that it can compile"):
            run(tf.constant([[x]], "float64"))
        return
    found = np.ravel(run(tf.constant([[x]], "float64")))
    close(found, expected(truth, x)[1:], EXACT["float64"])


def segments(product):
    return lambda x: ops.transpose(product(ops.transpose(x)))


# function of several numbers -> where
SEVERAL = {
    "determinant": (lambda x: ops.det(ops.reshape(x, (-1, 3, 3)))[:, None], np.ones(9)),
    "cumprod, reversed and exclusive": (
        lambda x: tf.math.cumprod(x, 1, exclusive=True, reverse=True), [0, 2, 0, 3]
    ),
    "products of segments": (
        segments(lambda x: tf.math.unsorted_segment_prod(x, [0, 1, 0, -1, 0], 3)), [0, 2, 0, 3, 5]
    ),
    "sorted segments": (segments(lambda x: tf.math.segment_prod(x, [0, 0, 0, 1])), [0, 2, 0, 3]),
    "cumulative logsumexp": (lambda x: tf.math.cumulative_logsumexp(x, 1), [0, 2, 2, 3]),
    "Euclidean norm": (
        lambda x: tf.raw_ops.EuclideanNorm(input=x, axis=[1], keep_dims=True), [1, 2, 3]
    ),
    "powers of complex numbers": (
        lambda x: tf.math.imag(tf.pow(tf.complex(x[:, :2], x[:, 2:]), 2.5 + 1j)), [0.3, 0.7, 1.2, 2]
    ),
    "transform of a part": (
        lambda x: tf.math.real(tf.signal.rfft(x * x, [3])), [0.3, 0.5, 0.2, 0.7, 0.1]
    ),
    "inverse transform of a part": (
        lambda x: tf.signal.irfft(tf.complex(x, x * x), [5]), [0.3, 0.5, 0.2, 0.7, 0.1]
    ),
    "divergence": (lambda x: x * ops.log(x) - tf.math.xlogy(x, x + 1), [0.3, 0.5, 0.2]),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_several_numbers(name, float64):
    check_numbers(*SEVERAL[name])


@pytest.mark.filterwarnings("ignore:(?s).*No second derivative")
@pytest.mark.parametrize("mode", MODES[:2])
def test_powers_of_complex_numbers(mode):
    """|z^2| = a^2 + b^2"""
    model = layer(lambda x: ops.abs(ops.view_as_complex(x) ** 2)[:, None], (2,), "float32")
    x = tf.constant([[3.0, 4.0]])
    for made, true in ((kd.Gradient(model), [[6, 8]]), (kd.Laplacian(model), [[4]])):
        run = made if mode == "eager" else modes.compiled(made, mode)
        close(run(x), np.array(true, "float32"), EXACT["float32"])


REFUSED = {
    "betainc": (lambda x: tf.math.betainc(1 + x, x, tf.sigmoid(x)), "argument 0.*'Betainc'"),
    "zeta": (lambda x: tf.math.zeta(2 + x, 1 + x), "argument 0.*'Zeta'"),
    "polygamma": (lambda x: tf.math.polygamma(1 + x, 1 + x), "argument 0.*'Polygamma'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unknown_parts_are_refused_by_name(name, float64):
    """TensorFlow leaves out the part of the derivative that it has no formula for."""
    function, words = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s)no derivative by {words} in 'planted'"):
        kd.Gradient(planted(lambda x: ops.sum(function(x), 1, keepdims=True)))


def test_known_parts_are_not_refused(float64):
    made = kd.Laplacian(planted(lambda x: tf.math.polygamma(tf.ones((), x.dtype), 1 + x), 1))
    close(made(np.ones((1, 1))), [[float(mpmath.psi(3, 2))]], EXACT["float64"])


def squared_values(x):
    return ops.sum(ops.svd(ops.reshape(x, (-1, 2, 2)), compute_uv=False) ** 2, 1, keepdims=True)


def test_equal_singular_values(float64):
    """The sum of their squares is that of the entries, but TensorFlow has half its Laplacian."""
    model = planted(squared_values, 4)
    identity = np.eye(2).reshape(1, 4)
    close(kd.Gradient(model)(identity), 2 * identity, EXACT["float64"])
    with pytest.warns(UserWarning, match="(?s)Decompositions: 'Svd .values.' in 'planted'.*differ"):
        made = kd.Laplacian(model)
    assert np.isnan(made(identity)[0, 0])
    close(made(np.array([[1.0, 0.3, 0.2, 2.0]])), [[8.0]], EXACT["float64"])


def test_equal_eigenvalues(float64):
    def first_vector(x):
        matrix = ops.reshape(x, (-1, 2, 2))
        return ops.eigh((matrix + ops.transpose(matrix, (0, 2, 1))) / 2)[1][:, :, 0]

    with pytest.warns(UserWarning, match="(?s)Decompositions: 'SelfAdjointEigV2' in 'planted'"):
        made = kd.Jacobian(planted(first_vector, 4))
    assert np.all(np.isnan(made(np.eye(2).reshape(1, 4))))


STEPS = {
    "FloorDiv": lambda x: x + x // 0.1,
    "Floor": lambda x: x + tf.math.floor(x),
    "Greater": lambda x: x + ops.cast(x > 0.5, x.dtype),
    "Less": lambda x: x - ops.cast(ops.logical_or(x < 0.5, x < 0.2), x.dtype),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_told(name, float64):
    with pytest.warns(UserWarning, match=f"(?s)'{name}' in 'planted'"):
        kd.Jacobian(planted(STEPS[name]))


def test_the_name_of_a_layer_hides_no_stopped_gradient(float64):
    x = keras.Input((1,), dtype="float64")
    y = layers.Lambda(lambda x: x * ops.stop_gradient(x), name="my_logsumexp")(x)
    with pytest.warns(UserWarning, match="'StopGradient' in 'my_logsumexp'"):
        kd.Gradient(keras.Model(x, y))
    kd.Gradient(planted(lambda x: ops.logsumexp(x, 1, keepdims=True)))
    kd.Gradient(planted(lambda x: tf.reduce_logsumexp(x, 1, keepdims=True)))


@pytest.mark.parametrize("first", ["plain", "exact"])
def test_a_function_keeps_two_gradients(first):
    """A `tf.function` remembers the gradient that was built first, TensorFlow's or ours."""
    function = tf.function(lambda x: tf.math.cumprod(x, 1)[:, 2:])
    made = kd.Gradient(layer(function, (3,), "float32"))
    x = tf.constant([[0.0, 2.0, 3.0]])

    def plain():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)

    for turn in (plain, made) * 2 if first == "plain" else (made, plain) * 2:
        found = plain() if turn is plain else made(x)
        close(found, [[0, 0, 0] if turn is plain else [6, 0, 0]], EXACT["float32"])


def test_constants_of_the_shape_of_x_do_not_vary(float64):
    function = lambda x: tf.math.betainc(tf.ones_like(x), 2 * ops.ones_like(x), x)  # noqa: E731
    made = kd.Laplacian(planted(function, 1))
    close(made(np.array([[0.3]])), [[-2.0]], EXACT["float64"])


def test_estimates_are_told():
    x = keras.Input((2,))
    y = layers.Lambda(tf.quantization.fake_quant_with_min_max_args, name="planted")(x)
    with pytest.warns(UserWarning, match="Rounded: 'FakeQuant.*' in 'planted'.*straight-through"):
        kd.Jacobian(keras.Model(x, y))


def test_the_corners_of_tapes_that_marks_rely_on():
    """Were they to move, entries that are left out would be NaN again."""
    seen = []

    @tf.custom_gradient
    def both(x):
        def gradient(first, second):
            seen.extend([marked(first), marked(second)])
            return first + second

        return (x + 0, x + 1), gradient

    x = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        first, _ = both(x)
    np.testing.assert_array_equal(tape.gradient(first, x), [1, 1])
    assert seen[0] is None and np.all(seen[1]())
    sums = []
    add = backprop_util.AggregateIndexedSlicesGradients
    with pytest.MonkeyPatch.context() as patch, tf.GradientTape() as tape:
        patch.setattr(backprop_util, add.__name__, lambda each: sums.append(each) or add(each))
        tape.watch(x)
        y = tf.gather(x, [0]) + tf.gather(x, [1])
        tape.gradient(y, x)
    assert len(sums) == 1


def test_distances_of_rows_from_themselves(float64):
    """The operation of a graph, which Keras computes by itself."""
    x = keras.Input((2, 2), dtype="float64")
    found = numpy(kd.Jacobian(keras.Model(x, ops.cdist(x, x)))(np.array([[[0, 1], [2, 3.0]]])))
    true = np.zeros((1, 2, 2, 2, 2))
    true[:, [0, 1], [1, 0]] = np.sqrt(0.5) * np.array([[-1, -1], [1, 1]])
    close(found, true, EXACT["float64"])


def test_a_root_squared(float64):
    """The gradient that arrives at the root is zero at 0, and the derivative of x is 1."""
    model = layer(lambda x: ops.sqrt(x) ** 2, (1,))
    close(kd.Gradient(model)(np.zeros((1, 1))), [[1.0]], EXACT["float64"])
    assert np.isinf(numpy(kd.Gradient(layer(ops.sqrt, (1,)))(np.zeros((1, 1)))))


@pytest.mark.parametrize("place", ["HSVToRGB", "StopGradient"])
def test_what_is_lost_before_a_second_argument(place):
    """An argument of a custom gradient that is computed from another is none of its results."""
    lost = {"HSVToRGB": tf.image.hsv_to_rgb, "StopGradient": ops.stop_gradient}[place]

    @tf.custom_gradient
    def product(a, b):
        return a * b, lambda slope: (slope * b, slope * a)

    x = keras.Input((3,))
    function = layers.Lambda(lambda x: ops.sum(product(x, lost(x)), 1, keepdims=True))
    model = keras.Model(x, function(x))
    told = {"HSVToRGB": pytest.raises(ValueError, match="'HSVToRGB' in 'lambda.* on the way")}
    with told.get(place) or pytest.warns(UserWarning, match="'StopGradient' in 'lambda"):
        kd.Gradient(model)


def test_what_a_file_stops_inside_of_a_custom_gradient(tmp_path):
    """The results of a custom gradient are known by it, in a SavedModel too."""

    @tf.custom_gradient
    def square(x):
        return x * tf.stop_gradient(x), lambda slope: 2 * x * slope

    x = keras.Input((2,))
    model = keras.Model(x, layers.Lambda(lambda x: ops.sum(square(x), 1, keepdims=True))(x))
    model.export(tmp_path / "model", verbose=False)
    layer = layers.TFSMLayer(tmp_path / "model", call_endpoint="serve")
    found = kd.Gradient(keras.Model(x, layer(x)))(np.array([[1.0, 2.0]], "float32"))
    close(found, [[2, 4]], EXACT["float32"])

"""Where nested tapes go wrong on TensorFlow and Keras: there they do, and here they do not.

The tables hold what plain tapes fail on, and the tests assert that they do, so that a row is
noticed which TensorFlow repairs one day.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from models import points
from trap_models import (
    NESTED,
    POOL,
    RESIZE,
    SMALL,
    UP,
    Function,
    Recurrence,
    apart,
    around,
    before_each_sine,
    resampling,
)
from truth import DIFFERENCES, EXACT, SINGLE, close, hessian, jacobian, predict

import keras_derivs as kd
from keras_derivs import backend

MODES = ("eager", *backend.MODES)


def run(function, x, mode):
    return (function if mode == "eager" else backend.compiled(function, mode))(tf.constant(x))


def plain_hessian(model, x, mode="eager"):
    """A pass for each entry of the gradient, as the advice goes; zeros for `None`."""

    def rows(x):
        with tf.GradientTape(persistent=True) as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                y = model(x, training=False)
            slopes = tf.unstack(tf.reshape(first.gradient(y, x), (len(x), -1)), axis=1)
        found = [second.gradient(slope, x) for slope in slopes]
        return [tf.zeros_like(x) if row is None else row for row in found]

    found = np.stack(run(rows, x, mode), axis=1)
    return found.reshape(len(x), *x.shape[1:], *x.shape[1:])


def lrn(x):
    found = tf.nn.local_response_normalization(tf.cast(x, "float32"), 1, 1.0, 0.5, 0.5)
    return tf.cast(found, x.dtype)


def exact_lrn(x):
    squares = ops.pad(ops.square(x), [[0, 0]] * 3 + [[1, 1]])
    return x / ops.sqrt(1 + 0.5 * (squares[..., :-2] + squares[..., 1:-1] + squares[..., 2:]))


WRONG, REFUSED, IN_GRAPHS = "wrong in every mode", "an error", "wrong in graphs"
# name -> (shape of x, (layer, its equivalent in float64 if it has none), what plain tapes do)
SECOND = {
    "LayerNormalization": ((4,), [layers.LayerNormalization], WRONG),
    "GroupNormalization": ((4,), [lambda: layers.GroupNormalization(2)], WRONG),
    "GroupNormalization of images": ((2, 2, 2), [lambda: layers.GroupNormalization(1)], WRONG),
    "tf.nn.moments": (
        (4,), [lambda: Function(lambda x: x * tf.nn.moments(x, [1], keepdims=True)[1])], WRONG
    ),
    "bilinear": (SMALL, resampling(UP, 2, interpolation="bilinear"), WRONG),
    "antialias": ((3, 3, 1), resampling(RESIZE, 2, 2, antialias=True), REFUSED),
    "bicubic": (SMALL, resampling(UP, 2, interpolation="bicubic"), REFUSED),
    "nearest": (SMALL, resampling(RESIZE, 3, 3, "nearest"), REFUSED),
    "lanczos": (SMALL, resampling(RESIZE, 3, 3, "lanczos3"), REFUSED),
    "max pooling of stride 1": ((3, 3, 1), [lambda: POOL(2, 1, "same")], IN_GRAPHS),
    "softsign": ((3,), [lambda: layers.Activation("softsign")], REFUSED),
    "local response normalisation": (
        (1, 1, 3), (lambda: Function(lrn), lambda: Function(exact_lrn)), REFUSED
    ),
}  # fmt: skip
NO_XLA = ("antialias", "bicubic", "lanczos")


EVERYDAY_SECOND = [
    pytest.param(name, marks=pytest.mark.slow) if name.startswith("GroupNormalization") else name
    for name in SECOND
]


@pytest.mark.parametrize("strategy", ["reverse", pytest.param("auto", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EVERYDAY_SECOND)
def test_second_derivatives(name, strategy, float64):
    shape, (make, *twin), failure = SECOND[name]
    model, x = around(make(), shape), apart(shape)
    true = around(twin[0](), shape) if twin else model
    expected = hessian(predict(true), x, step=2e-3)[:, 0]
    tolerance = SINGLE[2] if twin else DIFFERENCES[2]
    layer = kd.Hessian(model, strategy=strategy)
    for mode in MODES if name not in NO_XLA else MODES[:2]:
        assert not_right(model, x, mode, expected, tolerance) or mode not in fails(failure)
        close(run(layer, x, mode), expected, tolerance)


def fails(failure):
    return MODES[1:2] if failure == IN_GRAPHS else MODES


def not_right(model, x, mode, expected, tolerance):
    try:
        found = plain_hessian(model, x, mode)
    except Exception:  # of several kinds
        return True
    scale = max(1.0, np.max(np.abs(expected)))
    return np.max(np.abs(found - expected)) > 5 * tolerance * scale


WEIGHTED = [
    pytest.param(name, mode, marks=[pytest.mark.slow] * (name != "bilinear" or mode != "XLA"))
    for name in ("LayerNormalization", "bilinear", "max pooling of stride 1")
    for mode in MODES
]


@pytest.mark.parametrize("name, mode", WEIGHTED)
def test_the_weights_slope_of_a_second_derivative(name, mode, float64):
    shape, (make, *twin), _ = SECOND[name]
    model, x = around(make(), shape), apart(shape)
    layer = kd.Laplacian(model, strategy="reverse")
    kernel = model.layers[-1].kernel  # the Laplacian is linear in it, so any step is exact

    def slope(x):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(layer(x)))
        return tape.gradient(total, kernel.value)

    found, start, expected = run(slope, x, mode), kernel.numpy(), np.zeros(kernel.shape)
    for n in range(len(start)):
        for sign in (1, -1):
            move = np.zeros_like(start)
            move[n] = 0.5 * sign
            kernel.assign(start + move)
            expected[n] += sign * float(tf.reduce_sum(tf.square(layer(tf.constant(x)))))
    close(found, expected, SINGLE[2] if twin else DIFFERENCES[2])


def test_a_collocation_point_at_zero_spoils_no_weight(float64):
    """A plain tape's third derivative of x ** 2 at 0, as in the slope of a loss of u_xx, is NaN."""
    x = tf.zeros((1, 1), "float64")
    with tf.GradientTape() as third:
        third.watch(x)
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                y = x**2
            slope = first.gradient(y, x)
        curvature = second.gradient(slope, x)
    assert np.isnan(third.gradient(curvature, x))
    stack = [keras.Input((1,), dtype="float64"), layers.Dense(2), Function(lambda z: z**2)]
    model = keras.Sequential(stack)
    model.layers[0].set_weights([np.ones((1, 2)), np.zeros(2)])
    for strategy in ("reverse", "taylor"):
        layer = kd.HessianDiagonal(model, strategy=strategy)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        slopes = tape.gradient(loss, [w.value for w in model.trainable_variables])
        np.testing.assert_allclose(slopes[0], [[8 * 2.0, 8 * 2.0]])  # of (2 w^2)^2 + (2 v^2)^2


@pytest.mark.parametrize("strategy", ["reverse", "auto"])
def test_third_order_through_joined_inputs_under_xla(strategy):
    """A loss of u_xx on `Concatenate()([t, x])`, with a slice and a padding, trains under XLA."""
    t, x = keras.Input((1,)), keras.Input((1,))
    tx = layers.Concatenate()([t, x])
    wide = ops.pad(tx, [[0, 0], [0, 1]])[:, 0:3]
    u = layers.Dense(1)(layers.Dense(8, "tanh")(wide))
    (u_xx,) = kd.partials(u, (x, x), strategy=strategy)
    pinn = keras.Model([t, x], [u, u_xx])
    at = [points((16, 1), "float32"), points((16, 1), "float32", seed=1)]

    def plain(t, x):
        net = keras.Model([pinn.inputs[0], pinn.inputs[1]], u)
        with tf.GradientTape() as tape:
            with tf.GradientTape() as second:
                second.watch(x)
                with tf.GradientTape() as first:
                    first.watch(x)
                    y = net([t, x])
                slope = first.gradient(y, x)
            loss = tf.reduce_mean(tf.square(second.gradient(slope, x)))
        return tape.gradient(loss, [w.value for w in net.trainable_variables])[0]

    with pytest.raises(LookupError, match="XlaDynamicUpdateSlice"):
        compiled = tf.function(plain, jit_compile=True, autograph=False)
        compiled.get_concrete_function(*[tf.TensorSpec((None, 1))] * 2)
    pinn.compile(loss=["mse"] * 2, optimizer=keras.optimizers.Adam(0.01), jit_compile=True)
    losses = pinn.fit(at, [np.ones((16, 1))] * 2, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_plain_tapes_sum_over_coupled_rows(float64):
    model, x = around(Function(lambda x: x - ops.mean(x, 0))), tf.constant(apart((3,)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x)
    first = lambda row: predict(model)(np.concatenate([row, x[1:]]))[:1]  # noqa: E731
    alone = jacobian(first, x[:1], at_once=False)
    assert np.max(np.abs(tape.gradient(y, x)[:1] - alone[:, 0])) > 0.01


def numpy_sine(x):
    return x + tf.ensure_shape(tf.numpy_function(np.sin, [x], x.dtype), x.shape)


@tf.custom_gradient
def half_gradient(x):
    return x * x, lambda upstream: upstream * 2 * tf.stop_gradient(x)


@tf.custom_gradient
def stopped_before(x):
    slope = tf.stop_gradient(tf.cos(x))
    return tf.sin(x), lambda upstream: upstream * slope


@tf.custom_gradient
def numpy_slope(x):
    def gradient(upstream):
        return upstream * tf.ensure_shape(tf.numpy_function(np.cos, [x], x.dtype), x.shape)

    return tf.sin(x), gradient


# what is planted -> (function, order, what a warning says)
LACKING = {
    "stop_gradient": (lambda x: x * ops.stop_gradient(x), 1, "Gradients are stopped at 'StopGradient'"),
    "round": (lambda x: x + ops.round(4 * x), 1, "Constant piece by piece: 'Round'"),
    "round, in a switch": (
        lambda x: ops.switch(1, [ops.sin, lambda x: x + ops.round(4 * x)], x), 1,
        "Constant piece by piece: 'Round'",
    ),
    "bits": (
        lambda x: x * ops.cast(ops.view(ops.view(ops.cast(x, "float32"), "int32"), "float32"), x.dtype),
        1,
        "Constant piece by piece: 'Bitcast'",
    ),
    "argmax": (
        lambda x: x + ops.cast(ops.argmax(x, -1, keepdims=True), x.dtype), 1, "piece: 'ArgMax'"
    ),
    "integers": (lambda x: x + ops.cast(ops.cast(x, "int32"), x.dtype), 1, "piece: 'CastToInteger'"),
    "straight through": (
        lambda x: x * tf.grad_pass_through(tf.round)(3 * x), 1, "Rounded: 'GradPassThrough'"
    ),
    "custom gradient": (half_gradient, 2, "Gradients are stopped at 'StopGradient'"),
    "custom gradient, stopped before": (
        stopped_before, 2, "Gradients are stopped at 'StopGradient'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LACKING)
def test_what_a_derivative_lacks_is_told(name):
    function, order, words = LACKING[name]
    model = around(Function(function, name="planted"))
    layer = {1: kd.Gradient, 2: kd.Hessian}[order]
    with pytest.warns(UserWarning, match=f"(?s){words} in 'planted' .of type Function"):
        made = layer(model)
    assert "'planted' (of type Function)" in made.explain()
    if order == 2:
        kd.Gradient(model)  # says nothing: no word of it is true of the first derivative


def test_a_complex_output_that_is_declared_real_is_an_error():
    layer = kd.Jacobian(around(layers.Lambda(lambda x: tf.complex(x, x * x))))
    with pytest.raises(TypeError, match="(?s)output of a float dtype.*complex64"):
        layer(np.ones((2, 3), "float32"))


def test_numpy_code_in_a_switch_is_an_error():
    layer = Function(lambda x: ops.switch(1, [ops.sin, numpy_sine], x), name="planted")
    with pytest.raises(ValueError, match="'PyFunc' in 'planted'"):
        kd.Gradient(around(layer))


def test_numpy_code_is_an_error():
    model = around(Function(numpy_sine, name="planted"))
    with tf.GradientTape() as tape:  # a plain tape drops half of the derivative
        x = tf.constant(apart((3,)), "float32")
        tape.watch(x)
        y = model(x)
    assert tape.gradient(y, x) is not None
    with pytest.raises(
        ValueError, match="'PyFunc' in 'planted'.*would be missing.*custom_gradient"
    ):
        kd.Gradient(model)


def test_what_passes_through_a_variable_is_an_error():
    kept = tf.Variable(np.zeros((1, 3), "float32"), shape=(None, 3))

    def written(x):
        kept.assign(x * x)
        return x + kept

    def read_before(x):
        y = x + 0 * tf.reduce_sum(kept)
        kept.assign(x * x)
        return y

    kd.Gradient(around(Function(read_before)))
    with pytest.raises(ValueError, match="'ReadVariableOp' in 'planted'.*would be missing"):
        kd.Gradient(around(Function(written, name="planted")))


@pytest.mark.filterwarnings("ignore:(?s).*verified.*EagerPyFunc")
def test_code_in_python_has_no_several_gradients():
    """TensorFlow forgets how it was computed after the first."""
    sine = lambda x: tf.ensure_shape(tf.py_function(tf.sin, [x], x.dtype), x.shape)  # noqa: E731
    model = around(Function(sine, name="planted"))
    with pytest.raises(ValueError, match="(?s)'EagerPyFunc' in 'planted'"):
        kd.Hessian(model)(np.ones((2, 3), "float32"))


def test_numpy_code_in_a_custom_gradient_has_no_second_derivative():
    model = around(Function(numpy_slope, name="planted"))
    kd.Gradient(model)
    with pytest.raises(ValueError, match="(?s)'PyFunc' in 'planted'.*would be missing"):
        kd.Hessian(model)


def test_numpy_code_with_a_gradient_is_right(float64):
    @tf.custom_gradient
    def sine(x):
        y = tf.ensure_shape(tf.numpy_function(np.sin, [x], x.dtype), x.shape)
        return y, lambda upstream: upstream * tf.cos(x)

    model, x = around(Function(sine)), apart((3,))
    close(kd.Hessian(model)(x), hessian(predict(model), x)[:, 0], DIFFERENCES[2])


WITHOUT_KERNEL = {
    "Dilation2D": (lambda x: tf.nn.dilation2d(
        x[:, :, None, None] * tf.ones((1, 3, 3, 1)), tf.ones((2, 2, 1)), [1] * 4, "VALID", "NHWC", [1] * 4
    ), "order 2.*'Dilation2D' in 'planted'"),
    "Igamma": (lambda x: tf.math.igamma(x + 1, x + 2), "order 2.*'Igamma' in 'planted'"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:(?s).*verified.*Dilation2D")
@pytest.mark.parametrize("name", WITHOUT_KERNEL)
def test_no_gradient_of_a_gradient(name):
    function, words = WITHOUT_KERNEL[name]
    model, x = around(Function(function, name="planted")), apart((3,)).astype("float32")
    assert np.all(np.isfinite(kd.Gradient(model)(x)))
    with pytest.raises(ValueError, match=f"(?s){words}"):
        kd.Hessian(model)(x)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="only CPUs lack it")
def test_a_gradient_without_a_kernel():
    def dilated(x):
        margin = [[0, 0], [0, 1], [0, 1], [0, 0]]
        images = x[:, :, None, None] * tf.ones((1, 3, 3, 1))
        y = tf.nn.conv2d(images, tf.ones((2, 2, 1, 1)), 1, margin, dilations=2)
        return tf.reduce_sum(y, (1, 2))

    model = around(Function(dilated, name="planted"))
    with pytest.raises(ValueError, match="(?s)order 1.*dilation rates.*'Conv2D' in 'planted'"):
        kd.Gradient(model)


def test_recomputed_gradients():
    model = around(Function(tf.recompute_grad(lambda x: tf.tanh(2 * x))))
    x = apart((3,)).astype("float32")
    close(kd.Gradient(model)(x), jacobian(predict(model), x)[:, 0], SINGLE[1])
    layer = kd.Hessian(model)
    for mode in MODES:
        with pytest.raises(ValueError, match="(?s)order 2 needs operations.*recompute_grad"):
            run(layer, x, mode)


def test_no_kernel_in_double_precision(float64):
    model, x = around(layers.MaxPooling3D(2), (2, 2, 2, 1)), apart((2, 2, 2, 1))
    with pytest.raises(
        ValueError, match="(?s)float64.*'MaxPool3D' of a layer 'MaxPooling3D'.*float32"
    ):
        kd.Gradient(model)(x)
    single = around(layers.MaxPooling3D(2, dtype="float32"), (2, 2, 2, 1))
    hessian = kd.Hessian(single, strategy="tape", dtype="float32")(x)
    assert np.all(np.isfinite(hessian)) and np.any(hessian)


def test_what_xla_cannot_compile_is_named():
    model = around(UP(2, interpolation="bicubic", name="up"), SMALL)
    layer, x = kd.Laplacian(model), apart(SMALL).astype("float32")
    with pytest.raises(ValueError, match="(?s)XLA.*needs operations.*'ResizeBicubic' in 'up'"):
        tf.function(layer, jit_compile=True)(x)
    assert not layer.supports_jit and kd.Laplacian(around(UP(2), SMALL)).supports_jit
    close(tf.function(layer)(x), layer(x), EXACT["float32"])


@pytest.mark.slow
def test_loops_under_xla():
    """Twice differentiated they are right; a third time XLA fails, also where a loss is trained."""
    model, x = around(layers.LSTM(2, name="lstm"), (2, 1)), apart((2, 1)).astype("float32")
    hessian = kd.Hessian(model)
    close(tf.function(hessian, jit_compile=True)(x), hessian(x), EXACT["float32"])
    words = "(?s)XLA.*needs operations.*'lstm' .of type LSTM.*differentiated 3 times.*unroll"
    with pytest.raises(ValueError, match=words):
        tf.function(kd.Partials(model, [(0, 0, 1)]), jit_compile=True)(x)
    assert not hessian.supports_jit and kd.Gradient(model).supports_jit

    @tf.function(jit_compile=True)
    def train(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(hessian(x) ** 2)
        return tape.gradient(loss, [w.value for w in model.trainable_variables])

    with pytest.raises(ValueError, match=words):
        train(x)


@pytest.mark.parametrize("make", [
    lambda: layers.LSTM(2), lambda: layers.Conv1D(4, 2, groups=2),
], ids=["LSTM", "grouped convolution"])  # fmt: skip
def test_forward_mode_under_a_trained_loss(make, float64):
    model, x = around(make(), (2, 2)), apart((2, 2))
    layer = kd.Jacobian(model, strategy="forward")
    kernel = model.trainable_variables[0]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) ** 2)
    found, start = tape.gradient(loss, kernel.value), kernel.numpy()
    along, total = points(start.shape, "float64"), 0.0
    for sign in (1, -1):
        kernel.assign(start + sign * 1e-5 * along)
        total += sign * float(tf.reduce_sum(layer(x) ** 2)) / 2e-5
    close(np.sum(found * along), total, DIFFERENCES[1])


@pytest.mark.filterwarnings("ignore:(?s).*destroy the mask")
def test_masks_reach_every_copy_of_the_model(float64):
    """A tape around `tf.identity` of its input loses the mask, and padded steps get derivatives."""
    steps = keras.Input((3, 1), dtype="float64")
    model = keras.Model(steps, layers.Dense(1)(layers.LSTM(2)(steps)))
    x = tf.constant(apart((3, 1)))
    x._keras_mask = tf.constant([[True, True, False]] * 2)
    copied = tf.identity(x)
    with tf.GradientTape() as tape:
        tape.watch(copied)
        y = model(copied)
    assert np.all(tape.gradient(y, copied)[:, 2] != 0)
    for layer in (kd.Gradient(model), kd.Hessian(model)):
        found = np.asarray(layer(x))
        assert np.all(found[:, 2] == 0) and np.any(found[:, 0] != 0)


def squared(bound=None):
    """Each entry is squared until it is small, at most `bound` times; those above 1 never are."""
    large = lambda y: ops.abs(y) > 0.01  # noqa: E731
    body = lambda y: (ops.where(large(y), y * y, y),)  # noqa: E731
    return Function(lambda x: ops.while_loop(lambda y: ops.any(large(y)), body, (x,), bound)[0])


def test_loops_of_known_length_under_xla():
    slopes, x = kd.Gradient(around(Recurrence(), (3, 1))), apart((3, 1)).astype("float32")
    close(tf.function(slopes, jit_compile=True)(x), slopes(x), EXACT["float32"])


def test_a_loop_without_a_bound():
    """It does not end on random rows; and XLA cannot differentiate it."""
    x = keras.Input((1,))
    slopes, bounded = (kd.Gradient(keras.Model(x, squared(bound)(x))) for bound in (None, 30))
    at, true = np.array([[0.5], [0.2]], "float32"), [[8 * 0.5**7], [4 * 0.2**3]]
    close(slopes(at), true, EXACT["float32"])
    close(tf.function(bounded, jit_compile=True)(at), true, EXACT["float32"])
    with pytest.raises(ValueError, match="(?s)XLA.*without a bound.*maximum_iterations"):
        tf.function(slopes, jit_compile=True)(at)
    assert bounded.supports_jit and not slopes.supports_jit


@pytest.mark.parametrize("name", NESTED)
def test_a_loop_in_another_is_right_but_under_xla(name):
    slopes = kd.Jacobian(keras.Sequential([keras.Input((2,)), Function(NESTED[name])]))
    x = apart((2,)).astype("float32")
    by_hand = 1
    for h in before_each_sine(x, 1 if name == "vectorized_map" else 3):
        by_hand = 1 + np.cos(h) * by_hand
    close(tf.function(slopes)(x), np.eye(2) * by_hand[:, None], EXACT["float32"])
    with pytest.raises(
        ValueError, match="(?s)XLA.*While.*outside of `vectorized_map` and of other"
    ):
        tf.function(slopes, jit_compile=True)(x)

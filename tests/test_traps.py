"""Where derivatives go wrong with nested passes of a framework, and here do not."""

import keras
import numpy as np
import pytest
from framework import BACKEND, compiled, gradients
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
from truth import DIFFERENCES, EXACT, SINGLE, close, hessian, jacobian, numpy, predict

import keras_derivs as kd

# name -> (shape of x, (layer, its equivalent in float64 if it has none))
SECOND = {
    "LayerNormalization": ((4,), [layers.LayerNormalization]),
    "GroupNormalization": ((4,), [lambda: layers.GroupNormalization(2)]),
    "GroupNormalization of images": ((2, 2, 2), [lambda: layers.GroupNormalization(1)]),
    "bilinear": (SMALL, resampling(UP, 2, interpolation="bilinear")),
    "antialias": ((3, 3, 1), resampling(RESIZE, 2, 2, antialias=True)),
    "bicubic": (SMALL, resampling(UP, 2, interpolation="bicubic")),
    "nearest": (SMALL, resampling(RESIZE, 3, 3, "nearest")),
    "max pooling of stride 1": ((3, 3, 1), [lambda: POOL(2, 1, "same")]),
    "softsign": ((3,), [lambda: layers.Activation("softsign")]),
}
if BACKEND != "torch":  # for which Keras has it not
    SECOND["lanczos"] = (SMALL, resampling(RESIZE, 3, 3, "lanczos3"))


@pytest.mark.parametrize("strategy", ["reverse", pytest.param("auto", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name, strategy, float64):
    shape, (make, *twin) = SECOND[name]
    model, x = around(make(), shape), apart(shape)
    true = around(twin[0](), shape) if twin else model
    expected = hessian(predict(true), x, step=2e-3)[:, 0]
    close(kd.Hessian(model, strategy=strategy)(x), expected, (SINGLE if twin else DIFFERENCES)[2])


@pytest.mark.parametrize("name", ["LayerNormalization", "bilinear", "max pooling of stride 1"])
def test_the_weights_slope_of_a_second_derivative(name, float64):
    shape, (make, *twin) = SECOND[name]
    model, x = around(make(), shape), apart(shape)
    layer = kd.Laplacian(model, strategy="reverse")
    kernel = model.layers[-1].kernel  # the Laplacian is linear in it, so any step is exact
    loss = lambda: ops.sum(ops.square(layer(x)))  # noqa: E731
    (found,), start = gradients(loss, [kernel]), numpy(kernel)
    expected = np.zeros(kernel.shape)
    for n in range(len(start)):
        for sign in (1, -1):
            move = np.zeros_like(start)
            move[n] = 0.5 * sign
            kernel.assign(start + move)
            expected[n] += sign * float(numpy(loss()))
    close(found, expected, (SINGLE if twin else DIFFERENCES)[2])


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("strategy", ["reverse", "taylor"])
def test_integer_powers_at_zero(exponent, strategy, float64):
    function = Function(lambda x: x**exponent + ops.sin(x))
    model = keras.Sequential([keras.Input((1,), dtype="float64"), function])
    found = kd.Partials(model, [(0,) * n for n in range(1, 5)], strategy=strategy)(np.zeros((1, 1)))
    powers = np.array([0.0, 0.0, 0.0, 0.0])
    if 1 <= exponent <= 4:
        powers[exponent - 1] = np.prod(np.arange(1, exponent + 1))
    close(np.ravel([numpy(c) for c in found]), powers + [1, 0, -1, 0], EXACT["float64"])


@pytest.mark.parametrize("strategy", ["reverse", "taylor"])
def test_a_collocation_point_at_zero_spoils_no_weight(strategy, float64):
    stack = [keras.Input((1,), dtype="float64"), layers.Dense(2), Function(lambda z: z**2)]
    model = keras.Sequential(stack)
    model.layers[0].set_weights([np.ones((1, 2)), np.zeros(2)])
    layer, x = kd.HessianDiagonal(model, strategy=strategy), np.zeros((1, 1))
    slope, _ = gradients(lambda: ops.sum(layer(x) ** 2), model.trainable_variables)
    np.testing.assert_allclose(numpy(slope), [[16.0, 16.0]])  # of (2 w^2)^2 + (2 v^2)^2


@pytest.mark.parametrize("strategy", ["reverse", "auto"])
def test_third_order_through_joined_inputs(strategy):
    """A loss of u_xx on `Concatenate()([t, x])`, with a slice and a padding, trains."""
    t, x = keras.Input((1,)), keras.Input((1,))
    tx = layers.Concatenate()([t, x])
    wide = ops.pad(tx, [[0, 0], [0, 1]])[:, 0:3]
    u = layers.Dense(1)(layers.Dense(8, "tanh")(wide))
    (u_xx,) = kd.partials(u, (x, x), strategy=strategy)
    pinn = keras.Model([t, x], [u, u_xx])
    at = [points((16, 1), "float32"), points((16, 1), "float32", seed=1)]
    pinn.compile(loss=["mse"] * 2, optimizer=keras.optimizers.Adam(0.01))
    losses = pinn.fit(at, [np.ones((16, 1))] * 2, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def decibels():
    return layers.MelSpectrogram(4, 2, sampling_rate=8, num_mel_bins=2, min_freq=0.5, name="mel")


REFUSED_ROWS = {
    "batch normalisation in training": (
        lambda: kd.Hessian(around(layers.BatchNormalization(name="norm")), training=True), "'norm'"
    ),
    "a batch mean": (
        lambda: kd.Gradient(around(Function(lambda x: x - ops.mean(x, 0), name="mean"))), "'mean'"
    ),
    "a flip of the batch": (
        lambda: kd.Gradient(around(Function(lambda x: x + ops.flip(x, 0), name="flip"))), "'flip'"
    ),
    "a limit relative to the loudest": (
        lambda: kd.Jacobian(keras.Sequential([keras.Input((8,)), decibels()])), "'mel'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_ROWS)
def test_coupled_rows_are_refused_by_name(name):
    make, layer = REFUSED_ROWS[name]
    with pytest.raises(ValueError, match=f"rows are independent.*{layer}"):
        make()


# what is planted -> (function, what a warning says)
LACKING = {
    "stop_gradient": (lambda x: x * ops.stop_gradient(x), "Gradients are stopped at"),
    "round": (lambda x: x + ops.round(4 * x), "Constant piece by piece"),
    "round, in a switch": (
        lambda x: ops.switch(1, [ops.sin, lambda x: x + ops.round(4 * x)], x),
        "Constant piece by piece",
    ),
    "bits": (
        lambda x: x * ops.cast(ops.view(ops.view(ops.cast(x, "float32"), "int32"), "float32"), x.dtype),
        "Constant piece by piece",
    ),
    "argmax": (
        lambda x: x + ops.cast(ops.argmax(x, -1, keepdims=True), x.dtype), "Constant piece by piece"
    ),
    "integers": (
        lambda x: x + ops.cast(ops.cast(x, "int32"), x.dtype), "Constant piece by piece"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LACKING)
def test_what_a_derivative_lacks_is_told(name):
    function, words = LACKING[name]
    model = around(Function(function, name="planted"))
    with pytest.warns(UserWarning, match=f"(?s){words}.*in 'planted' .of type Function"):
        made = kd.Gradient(model)
    assert "'planted' (of type Function)" in made.explain()


@pytest.mark.parametrize(
    "function",
    [
        ops.sinc,
        ops.nan_to_num,
        lambda x: ops.where(x > 0, x, ops.sin(x)),
        lambda x: ops.hypot(ops.logaddexp(x, 2 * x), ops.cos(x)),
        lambda x: ops.nansum(x, axis=1, keepdims=True) * ops.norm(x, axis=1, keepdims=True),
        lambda x: x * ops.cast(ops.one_hot(ops.full_like(x, 1, "int32"), 3)[..., 0], x.dtype),
    ],
)
def test_what_selects_at_no_single_point(function):
    assert "single points" not in kd.Gradient(around(Function(function))).explain()


@pytest.mark.parametrize("strategy", ["tape", "auto"])
@pytest.mark.parametrize("rows", [0, 1])
def test_empty_batches_and_single_rows(rows, strategy):
    model, x = around(layers.Dense(3)), apart((3,), 2).astype("float32")[:rows]
    for layer, shape in ((kd.Gradient, (3,)), (kd.Hessian, (3, 3)), (kd.Laplacian, (1,))):
        made = layer(model, strategy=strategy)
        for run in (made, *compiled(made).values()):
            assert run(ops.convert_to_tensor(x)).shape == (rows, *shape)


def test_none_zeros_and_no_path_are_told_apart():
    x, z = keras.Input((2,), name="x"), keras.Input((2,), name="z")
    y = layers.Dense(1)(x)
    linear = keras.Model([x, z], kd.hessian(y, x))
    np.testing.assert_array_equal(numpy(linear([np.ones((3, 2))] * 2)), np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="'z'|z"):
        kd.gradient(y, z)
    stopped = keras.Sequential([keras.Input((2,)), Function(ops.stop_gradient), layers.Dense(1)])
    with pytest.raises(ValueError, match="(?s)no gradient reaches.*stopped at"):
        kd.Gradient(stopped)


@pytest.mark.filterwarnings("ignore:(?s).*destroy the mask")
def test_masks_reach_every_copy_of_the_model(float64):
    steps = keras.Input((3, 1), dtype="float64")
    model = keras.Model(steps, layers.Dense(1)(layers.LSTM(2)(layers.Masking(-1.0)(steps))))
    x = apart((3, 1))
    x[:, 2] = -1.0
    for layer in (kd.Gradient(model), kd.Hessian(model)):
        found = numpy(layer(x))
        assert np.all(found[:, 2] == 0) and np.any(found[:, 0] != 0)


@pytest.mark.slow
def test_rnn_hessians_in_fit():
    x = keras.Input((3, 1))
    u = layers.Dense(1)(layers.GRU(2)(x))
    model = keras.Model(x, [u, kd.laplacian(u, x)])
    model.compile(loss=["mse", "mse"], optimizer=keras.optimizers.Adam(0.01))
    at, targets = points((8, 3, 1), "float32"), [np.ones((8, 1)), np.zeros((8, 1))]
    losses = model.fit(at, targets, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.skipif(BACKEND == "jax", reason="Keras narrows float64 in a scan")
@pytest.mark.parametrize("order", [1, 2])
def test_loops_of_known_length(order, float64):
    model, x = around(Recurrence(), (3, 1)), apart((3, 1))
    layer, truth = {1: (kd.Gradient, jacobian), 2: (kd.Hessian, hessian)}[order]
    close(layer(model)(x), truth(predict(model), x, step=2e-3)[:, 0], DIFFERENCES[order])


@pytest.mark.parametrize("name", NESTED)
def test_a_loop_in_another(name):
    slopes = kd.Jacobian(keras.Sequential([keras.Input((2,)), Function(NESTED[name])]))
    x = apart((2,)).astype("float32")
    by_hand = 1
    for h in before_each_sine(x, 1 if name == "vectorized_map" else 3):
        by_hand = 1 + np.cos(h) * by_hand
    close(slopes(x), np.eye(2) * by_hand[:, None], EXACT["float32"])

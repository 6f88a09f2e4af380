"""Training mode: value and derivative of one pass, and the state of the model moved once."""

import keras
import numpy as np
import pytest
from framework import BACKEND, compiled, gradients
from keras import layers, ops
from models import points
from truth import DIFFERENCES, EXACT, close, hessian, jacobian, numpy

import keras_derivs as kd


def masked():
    """The sum of the inputs that dropout leaves, so that the gradient is its mask."""
    x = keras.Input((6,))
    total = layers.Lambda(lambda z: ops.sum(z, axis=-1, keepdims=True), output_shape=(1,))
    return keras.Model(x, total(layers.Dropout(0.5)(x)))


def noisy(num_outputs=1):
    """Dropout and noise between smooth layers; without a seed, PyTorch drops by its own state."""
    return keras.Sequential(
        [
            keras.Input((3,), dtype=keras.config.dtype_policy().compute_dtype),
            layers.Dense(16, "tanh"),
            layers.Dropout(0.5, seed=1),
            layers.GaussianNoise(0.3),
            layers.Dense(8, "tanh"),
            layers.GaussianDropout(0.3),
            layers.Dense(num_outputs),
        ]
    )


def normalised():
    return keras.Sequential(
        [
            keras.Input((3,), dtype=keras.config.dtype_policy().compute_dtype),
            layers.Dense(5, "tanh", activity_regularizer="l2", kernel_regularizer="l2"),
            layers.BatchNormalization(momentum=0.5),
            layers.Dense(1),
        ]
    )


def state(net):
    return [numpy(v.value).copy() for v in net.non_trainable_variables]


def restore(net, values):
    for variable, value in zip(net.non_trainable_variables, values):
        variable.assign(value)


MODES = ("eager", *compiled(None))


def tensor(x):
    """In its dtype, which Keras narrows on PyTorch."""
    return ops.convert_to_tensor(x, x.dtype)


def numbers(losses):
    return [float(numpy(loss)) for loss in losses]


def by(mode, function, net, states=()):
    """The function in a mode; it moves the state of the net, and other states."""
    variables = [*net.non_trainable_variables, *states]
    return function if mode == "eager" else compiled(function, variables)[mode]


@pytest.mark.parametrize("mode", MODES)
def test_value_and_derivative_share_one_fresh_mask(mode):
    net, x = masked(), tensor(points((4, 6), "float32"))
    layer = kd.Gradient(net, training=True, return_value=True)
    call = by(mode, lambda x: layer(x), net)
    slopes = []
    for _ in range(3):
        y, slope = call(x)
        close(ops.sum(slope * x, axis=1, keepdims=True), y, EXACT["float32"])
        slopes.append(numpy(slope))
        assert set(np.unique(slopes[-1])) <= {0.0, 2.0}
    assert not np.array_equal(slopes[0], slopes[1]) and not np.array_equal(slopes[1], slopes[2])


LAYERS = {
    "rows": (1, lambda m, **k: kd.Jacobian(m, strategy="reverse", **k), 3),
    "many rows": (1, lambda m, **k: kd.Jacobian(m, strategy="reverse", **k), 20),
    "chunks": (1, lambda m, **k: kd.Jacobian(m, strategy="reverse", chunk_size=2, **k), 5),
    "columns": (1, lambda m, **k: kd.Jacobian(m, strategy="forward", **k), 3),
    "Hessian": (2, kd.Hessian, 1),
    "Hessian of many": (2, kd.Hessian, 7),
    "diagonal": (2, kd.HessianDiagonal, 7),
    "Laplacian": (2, kd.Laplacian, 2),
    "Partials": (2, lambda m, **k: kd.Partials(m, [(0, 1), (2, 2)], **k), 2),
}


def arranged(name, truth):
    """Of all derivatives, those that a layer returns."""
    if name == "Hessian":
        return truth[:, 0]
    if name == "diagonal":
        return np.diagonal(truth, axis1=2, axis2=3)
    if name == "Laplacian":
        return np.trace(truth, axis1=2, axis2=3)
    if name == "Partials":
        return [truth[:, :, 0, 1], truth[:, :, 2, 2]]
    return truth


@pytest.mark.parametrize("name", LAYERS)
def test_every_strategy_draws_once(name, float64, double):
    order, make, num_outputs = LAYERS[name]
    net = noisy(num_outputs)
    x, before = points((4, 3), "float64"), state(net)

    def drawn(x):
        """The model with the seeds as they are, and the mask of as many rows."""
        parts = []
        for part in np.split(x, len(x) // 4):
            with keras.StatelessScope():
                parts.append(numpy(net(tensor(part), training=True)))
        return np.concatenate(parts)

    truth = (jacobian if order == 1 else hessian)(drawn, x)
    layer = make(net, training=True)
    found, expected = layer(x), arranged(name, truth)
    for one, other in zip(found, expected) if name == "Partials" else [(found, expected)]:
        close(one, other, DIFFERENCES[order])
    after = state(net)
    restore(net, before)
    net(x, training=True)
    for one, other in zip(after, state(net)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("mode", MODES)
def test_products_are_those_of_differences(mode, float64, double):
    """Each is of one fresh draw: of the mask and the noise that the model alone would draw."""
    net, x = noisy(), points((4, 3), "float64")
    v, before = points((4, 3), "float64", seed=3), state(net)
    alone = by(mode, lambda x: net(x, training=True), net)  # XLA draws other numbers

    def drawn(x):
        parts = []
        for part in np.split(x, len(x) // 4):
            restore(net, before)
            parts.append(numpy(alone(tensor(part))))
        return np.concatenate(parts)

    slopes, bends = jacobian(drawn, x)[:, 0], hessian(drawn, x)[:, 0]
    expected = [np.sum(slopes * v, 1, keepdims=True), np.einsum("bij,bj->bi", bends, v)]
    for order, (make, product) in enumerate(zip((kd.JVP, kd.HVP), expected), start=1):
        restore(net, before)
        layer = make(net, training=True)
        call = by(mode, lambda x, v, layer=layer: layer([x, v]), net)
        close(call(tensor(x), tensor(v)), product, DIFFERENCES[order])


@pytest.mark.parametrize("mode", MODES)
def test_a_coupled_batch_by_hand(mode):
    net, values = normalised(), points((8, 3), "float32")
    x, before = tensor(values), state(net)
    layer = kd.Gradient(net, training=True, coupled=True, return_value=True)
    y, slope = by(mode, lambda x: layer(x), net)(x)
    after = state(net)
    restore(net, before)
    expected = net(x, training=True)
    moved, at = state(net), keras.Variable(values)
    (true,) = gradients(lambda: ops.sum(net(at.value, training=True)), [at])
    close(y, expected, EXACT["float32"])
    close(slope, true, EXACT["float32"])
    for one, other in zip(after, moved):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert not np.array_equal(before[0], after[0])


def test_losses_are_counted_once():
    net, x = normalised(), points((8, 3), "float32")
    layer = kd.Gradient(net, training=True, coupled=True)
    z = keras.Input((3,))
    model = keras.Model(z, layer(z))
    model(x, training=True)
    found = numbers(model.losses)
    net(x, training=True)
    np.testing.assert_allclose(sorted(found), sorted(numbers(net.losses)), rtol=1e-6)


def test_coupled_products(float64, double):
    z = keras.Input((3,), dtype="float64")
    h = layers.BatchNormalization()(layers.Dense(4, "tanh")(z))
    net = keras.Model(z, layers.Dense(1, "tanh")(h))
    x, v, w = (points((6, n), "float64", seed=n) for n in (3, 3, 1))
    v = v[::-1]

    def values(x):
        with keras.StatelessScope():
            return numpy(net(tensor(x), training=True))

    rows = lambda flat: np.stack([values(part.reshape(6, 3))[:, 0] for part in flat])  # noqa: E731
    whole = jacobian(rows, x.reshape(1, 18))[0].reshape(6, 6, 3)  # row of y, row of x, entry
    options = {"training": True, "coupled": True}
    close(kd.JVP(net, **options)([x, v]), np.einsum("ijk,jk->i", whole, v)[:, None], 1e-8)
    close(kd.VJP(net, **options)([x, w]), np.einsum("ijk,i->jk", whole, w[:, 0]), 1e-8)
    close(kd.Gradient(net, **options)(x), whole.sum(0), 1e-8)
    slopes = kd.Gradient(net, **options)
    step = 1e-4
    change = (numpy(slopes(x + step * v)) - numpy(slopes(x - step * v))) / (2 * step)
    close(kd.HVP(net, **options)([x, v]), change, 1e-5)
    z = keras.Input((3,), dtype="float64")
    symbolic = keras.Model(z, kd.gradient(net(z), z, **options))
    close(symbolic(x), whole.sum(0), 1e-8)


def test_coupled_takes_tapes_alone():
    net = normalised()
    with pytest.raises(ValueError, match="coupled=True.*'reverse'.*'taylor'"):
        kd.Gradient(net, coupled=True, strategy="taylor")
    with pytest.raises(TypeError, match="arguments that it knows.*coupled"):
        kd.Jacobian(net, coupled=True)


@pytest.mark.parametrize("jit", [False, True] if BACKEND != "torch" else [False])
def test_fit_moves_the_state_as_the_model_alone(jit):
    x, y = points((32, 3), "float32"), points((32, 1), "float32", seed=4)

    def trained(derive):
        keras.utils.set_random_seed(5)
        net = keras.Sequential([normalised(), layers.Dropout(0.5, seed=7)])
        z = keras.Input((3,))
        if derive:
            value, slope = kd.Gradient(net, training=None, coupled=True, return_value=True)(z)
            model = keras.Model(z, {"y": value, "g": slope})
        else:
            model = keras.Model(z, {"y": net(z), "g": z})
        model.compile("sgd", loss={"y": "mse", "g": None}, jit_compile=jit)
        model.fit(x, {"y": y}, epochs=2, batch_size=8, shuffle=False, verbose=0)
        return [numpy(v.value).copy() for v in net.variables]

    for one, other in zip(trained(True), trained(False)):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_none_is_the_mode_of_the_call():
    layer = kd.Gradient(masked(), training=None)
    z = keras.Input((6,))
    model, x = keras.Model(z, layer(z)), points((4, 6), "float32")
    np.testing.assert_array_equal(numpy(layer(x)), np.ones((4, 6)))
    np.testing.assert_array_equal(model.predict(x, verbose=0), np.ones((4, 6)))
    one, other = (numpy(model(x, training=True)) for _ in range(2))
    assert set(np.unique(one)) == {0.0, 2.0} and not np.array_equal(one, other)


@pytest.mark.parametrize("mode", MODES)
def test_none_leaves_the_trace_of_the_call(mode):
    z = keras.Input(batch_shape=(2, 5, 3))
    recurrent = layers.LSTM(4, stateful=True, activity_regularizer="l2")
    net = keras.Model(z, layers.Dense(1)(recurrent(z)))
    x = tensor(points((2, 5, 3), "float32"))
    layer = kd.Gradient(net, training=None, return_value=True)
    outer = keras.Model(z, layer(z))
    values = [net(x) for _ in range(2)]
    losses = numbers(net.losses)
    recurrent.reset_state()
    call = by(mode, lambda x: (outer(x), outer.losses), net, recurrent.states)
    for value in values:
        (y, _), found = call(x)
        close(y, value, 10 * EXACT["float32"])
    np.testing.assert_allclose(numbers(found), losses, rtol=1e-5)
    penalised = normalised()
    partials = kd.Partials(penalised, [(), (0, 0)], training=None)  # by Taylor, if it were pure
    w = keras.Input((3,))
    outer, x = keras.Model(w, partials(w)), points((8, 3), "float32")
    outer(x)
    found = sorted(numbers(outer.losses))
    penalised(x)
    np.testing.assert_allclose(found, sorted(numbers(penalised.losses)), rtol=1e-5)


class Watching(keras.Model):
    """A model that counts its calls in every way there is."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.mean = keras.metrics.Mean()

    def build(self, shape):
        self.later = self.add_weight(shape=(), initializer="ones", trainable=False)
        self.dense.build(shape)

    def call(self, x):
        y = self.dense(x)
        self.count.assign_add(1.0)
        self.later.assign_add(1.0)
        self.mean.update_state(ops.mean(y))
        self.add_loss(ops.mean(y**2))
        return y


@pytest.mark.parametrize("training, calls", [(False, 0), (None, 1), (True, 1)])
def test_a_model_that_was_not_built_keeps_nothing_of_the_probe(training, calls):
    model, x = Watching(), points((4, 3), "float32")
    kd.Gradient(model, training=training)(x)
    assert float(model.count.numpy()) == calls and float(model.later.numpy()) == 1 + calls
    assert [float(v.numpy()) for v in model.mean.variables][1] == calls and model.losses == []


def test_sensitivities_by_dropout_have_a_variance():
    z = keras.Input((6,))
    x = points((4, 6), "float32")
    value, slope = kd.gradient(masked()(z), z, training=True, return_value=True)
    model = keras.Model(z, [value, slope])
    drawn = []
    for _ in range(20):
        y, found = model.predict(x, verbose=0)
        close(np.sum(found * x, 1, keepdims=True), y, EXACT["float32"])
        drawn.append(found)
    assert np.all(np.std(drawn, axis=0) > 0)


@pytest.mark.parametrize("explicit", [False, True])
def test_symbolic_value_and_derivative_of_separate_passes_are_told(explicit):
    z = keras.Input((6,))
    u = masked()(z, training=True) if explicit else masked()(z)
    with pytest.warns(UserWarning, match="separate passes.*return_value=True"):
        kd.gradient(u, z, training=True)
    kd.gradient(u, z, training=True, return_value=True)
    kd.partials(u[:, :1], (), training=True)


@pytest.mark.parametrize("explicit", [False, True])
def test_symbolic_statistics_move_once(explicit):
    net, x = normalised(), points((8, 3), "float32")
    z = keras.Input((3,))
    u = net(z, training=True) if explicit else net(z)
    outputs = kd.gradient(u, z, training=True, coupled=True, return_value=True)
    model, before = keras.Model(z, [u, *outputs]), state(net)
    net(x, training=True)
    once = state(net)
    for training in (True, False, None):
        restore(net, before)
        model(x, training=training)
        for one, other in zip(once, state(net)):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_noise_of_inference_in_separate_passes_is_told():
    z = keras.Input((1,))
    u = Jitter(keras.random.SeedGenerator(3))(z)
    with pytest.warns(UserWarning, match="separate passes.*return_value=True"):
        kd.gradient(u, z)
    kd.gradient(u, z, return_value=True)


def test_value_of_inference_in_training_is_told_once():
    layer, x = kd.Gradient(masked(), return_value=True), points((4, 6), "float32")
    layer(x)
    with pytest.warns(UserWarning, match="that of inference.*training=None") as told:
        layer(x, training=True)
        layer(x, training=True)
    assert len([one for one in told if one.category is UserWarning]) == 1
    smooth = keras.Sequential([keras.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    kd.Gradient(smooth, return_value=True)(points((4, 3), "float32"), training=True)


def test_inference_leaves_no_trace_in_a_training_call():
    net, x = keras.Sequential([normalised(), layers.Dropout(0.5)]), points((8, 3), "float32")
    before = state(net)
    kd.Gradient(net)(x, training=True)
    for one, other in zip(before, state(net)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("training", [None, True, False])
def test_modes_are_saved(training, tmp_path):
    z = keras.Input((3,))
    net = normalised()
    layer = kd.Gradient(net, training=training, coupled=True, audit=False)
    model = keras.Model(z, [layer(z), kd.gradient(net(z), z, training=training, coupled=True)])
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    found = [layer for layer in again.layers if isinstance(layer, kd.Gradient)]
    assert found[0].training is training and found[0].coupled and not found[0].audit
    x = points((8, 3), "float32")
    for one, other in zip(model(x), again(x)):
        close(one, other, EXACT["float32"])


def test_a_penalty_with_batch_statistics_trains(float64):
    net, x = normalised(), points((8, 3), "float64")
    layer = kd.Gradient(net, training=True, coupled=True)
    kernel = net.layers[0].kernel

    def penalty():
        return ops.mean((ops.sum(layer(x) ** 2, axis=1) - 1) ** 2)

    found = numpy(gradients(penalty, [kernel])[0])[0, 1]
    plain, values = kernel.numpy(), []
    for step in (1e-5, -1e-5):
        moved = plain.copy()
        moved[0, 1] += step
        kernel.assign(moved)
        values.append(*numbers([penalty()]))
    close(found, (values[0] - values[1]) / 2e-5, 1e-6)


STATES = {
    "recurrent": lambda: (layers.LSTM(4, stateful=True), (2, 5, 3), False),
    "power iteration": lambda: (layers.SpectralNormalization(layers.Dense(4)), (2, 3), True),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("return_value", [False, True])
def test_a_state_that_moves_before_the_derivative_is_told(name, return_value):
    layer, shape, training = STATES[name]()
    z = keras.Input(batch_shape=shape)
    u = layers.Dense(1)(layer(z))
    options = {"return_value": return_value, "coupled": True}
    with pytest.warns(UserWarning, match="state that moves.*Gradient"):
        kd.gradient(u, z, training=training, **options)
    norm = layers.Dense(1)(layers.BatchNormalization()(layers.Flatten()(z)))
    kd.gradient(norm, z, training=True, return_value=True, coupled=True)  # moved, but not read
    net, x = keras.Model(z, u), points(shape, "float32")
    variables = getattr(layer, "states", net.non_trainable_variables)
    net(x, training=training)
    before = [numpy(v.value).copy() for v in variables]
    alone = net(x, training=training)
    after = [numpy(v.value).copy() for v in variables]
    for variable, value in zip(variables, before):
        variable.assign(value)
    y, _ = kd.Gradient(net, training=True, return_value=True)(x)
    close(y, alone, EXACT["float32"])
    for one, variable in zip(after, variables):
        close(variable.value, one, EXACT["float32"])


class Mixed(keras.Model):
    """A derivative, then layers that take their mode from the call."""

    def __init__(self, training):
        super().__init__()
        self.slope = kd.Gradient(normalised(), training=training, coupled=True)
        self.dropout = layers.Dropout(0.5)

    def call(self, x):
        return self.slope(x), self.dropout(ops.ones_like(x))


@pytest.mark.parametrize("training", [None, True, False])
@pytest.mark.parametrize("called", [None, True, False])
def test_the_mode_of_a_derivative_is_its_own(training, called):
    model, x = Mixed(training), points((8, 3), "float32")
    for _ in range(2):
        _, ones = model(x, training=called)
        assert bool(np.any(numpy(ones) != 1)) is bool(called)


def test_the_first_call_of_a_derivative_of_a_derivative_draws_once():
    net, x = noisy(), points((4, 3), "float32")
    layer, before = kd.Jacobian(kd.Gradient(net, training=True), training=True), state(net)
    layer(x)
    found = state(net)
    restore(net, before)
    net(x, training=True)
    for one, other in zip(found, state(net)):
        np.testing.assert_array_equal(one, other)


class Jitter(layers.Layer):
    """Draws new numbers in inference, too; with an integer as its seed the same ones always."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def call(self, x):
        return x * keras.random.normal(ops.shape(x), seed=self.seed)


def test_only_numbers_that_reach_the_output_are_told_of():
    x = keras.Input((4, 4, 3))
    total = layers.Lambda(lambda z: ops.sum(z, axis=(1, 2, 3), keepdims=True)[:, :, 0, 0])
    unmoved = keras.Model(x, total(layers.RandomGrayscale(0.5, seed=1)(x)))
    values = points((2, 4, 4, 3), "float32")
    np.testing.assert_array_equal(numpy(kd.Gradient(unmoved)(values)), np.ones_like(values))
    noisy = keras.Model(x, total(Jitter(keras.random.SeedGenerator(3))(x)))
    with pytest.warns(UserWarning, match="in inference, too"):
        kd.Gradient(noisy)(values)


@pytest.mark.filterwarnings("ignore:.*in inference, too")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("training", [False, None])
def test_noise_of_inference(mode, fixed, training):
    x = keras.Input((3,))
    total = layers.Lambda(lambda z: ops.sum(z, axis=-1, keepdims=True))
    net = keras.Model(x, total(Jitter(5 if fixed else keras.random.SeedGenerator(3))(x)))
    layer, values = (
        kd.Gradient(net, training=training, return_value=True),
        points((4, 3), "float32"),
    )
    call = by(mode, lambda x: layer(x), net)
    drawn = [call(tensor(values)) for _ in range(3)]
    for y, slope in drawn:
        close(ops.sum(slope * tensor(values), axis=1, keepdims=True), y, EXACT["float32"])
    new = not np.array_equal(numpy(drawn[1][1]), numpy(drawn[2][1]))
    assert new == (training is None and not fixed)
    before = state(net)
    net(values)
    moved = any(np.any(a != b) for a, b in zip(before, state(net)))
    assert moved != fixed


def test_noise_that_a_derivative_holds_is_told_of():
    x = keras.Input((1,))
    net = keras.Model(x, Jitter(keras.random.SeedGenerator(3))(x))
    values = points((4, 1), "float32")
    with pytest.warns(UserWarning, match="inference, too.*training=None"):
        kd.Gradient(net)(values)
    kd.Gradient(net, training=None)(values)
    kd.Gradient(keras.Model(x, Jitter(5)(x)))(values)

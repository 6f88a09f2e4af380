"""A model beside its derivative trains as the plain model does: losses once, state moved once."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from models import points

import keras_derivs as kd

BACKEND = keras.backend.backend()
STEPS = 3


class Small(layers.Layer):
    """Adds a loss that is larger in training, and counts its calls."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, h, training=None):
        self.count.assign(self.count + 1)
        self.add_loss((3.0 if training else 1.0) * ops.mean(h**2))
        return h


class Noisy(layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(5)

    def call(self, h):
        return h * (1 + keras.random.uniform(ops.shape(h), seed=self.seed))


def network(normalised=False):
    """Every kind of state and penalty, at the top and further inside."""
    middle = layers.BatchNormalization(momentum=0.5) if normalised else layers.Dropout(0.5, seed=2)
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, "tanh"), Small(), middle])
    x = keras.Input((3,))
    h = layers.Dense(4, "tanh", activity_regularizer="l2", kernel_regularizer="l2")(x)
    h = inner(Small()(h)) + (h if normalised else Noisy()(h))
    return keras.Model(x, layers.Dense(1, activity_regularizer="l1")(h))


def plain(net, z, **options):
    return net(z), 1.0 * z


def twice(net, z, **options):
    """The net instead of the derivative, which is computed first; JAX's trainer sees one call."""
    w = keras.Input((3,))
    return keras.Model(w, [net(w), net(w)])(z)[::-1]


def wrapped(net, z, **options):
    return net(z), kd.Gradient(net, **options)(z)


def inside_another(net, z, **options):
    slopes = keras.Sequential([keras.Input((3,)), kd.Gradient(net, **options)])
    return net(z), slopes(z)


def of_second_order(net, z, **options):
    return net(z), kd.Laplacian(net, **options)(z)


def of_a_derivative(net, z, **options):
    return net(z), kd.Jacobian(kd.Gradient(net, **options), training=options["training"])(z)


def in_the_graph(net, z, **options):
    u = net(z)
    return u, kd.gradient(u, z, **options)


def in_one_pass(net, z, **options):
    return kd.Gradient(net, return_value=True, **options)(z)


def in_one_pass_inside(net, z, **options):
    w = keras.Input((3,))
    return keras.Model(w, in_one_pass(net, w, **options))(z)


def in_one_pass_of_the_graph(net, z, **options):
    return kd.gradient(net(z), z, return_value=True, **options)


def trained(make, normalised=False, compiled=True, **options):
    """The losses of training and evaluation, and the state after it."""
    keras.utils.set_random_seed(3)
    net, z = network(normalised), keras.Input((3,))
    coupled = normalised and options.get("training") is not False and make not in (plain, twice)
    options |= {"coupled": True} if coupled else {}
    u, slope = make(net, z, **options)
    model = keras.Model(z, {"u": u, "slope": slope})
    for variable in net.non_trainable_variables:
        if "seed" in variable.path:
            variable.assign(np.array([5, 0], variable.dtype))
    model.compile(
        keras.optimizers.SGD(0.1),
        {"u": "mse", "slope": None},
        run_eagerly=not compiled,
        jit_compile=compiled and BACKEND == "jax",
    )
    x = points((4 * STEPS, 3), "float32")
    y = {"u": points((4 * STEPS, 1), "float32", seed=1)}
    losses = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    if options.get("training") is not True:  # which moves the state in an evaluation, too
        losses.append(model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)["loss"])
    model(x[:4], training=True)
    losses += sorted(float(ops.convert_to_numpy(loss)) for loss in model.losses)
    return losses, [ops.convert_to_numpy(variable) for variable in net.variables]


def check(make, expected, normalised=False, compiled=True, **options):
    losses, state = trained(make, normalised, compiled, **options)
    same = {"training": options["training"]} if options["training"] is True else {}
    true_losses, true_state = trained(expected, normalised, compiled, **same)
    np.testing.assert_allclose(losses, true_losses, rtol=1e-4)
    for found, true in zip(state, true_state):
        np.testing.assert_allclose(found, true, rtol=1e-3, atol=1e-5)


BESIDE = (wrapped, inside_another, of_second_order, of_a_derivative)
IN_ONE_PASS = (in_one_pass, in_one_pass_inside)
ROWS = (
    *((make, plain, False) for make in (*BESIDE, in_the_graph)),
    *((make, plain, mode) for make in (in_the_graph, *IN_ONE_PASS) for mode in (None, True)),
    *((make, twice, training) for make in BESIDE for training in (None, True)),
)
EVERYDAY = ((inside_another, plain, False), (in_one_pass, plain, None), (in_the_graph, plain, True))
NORMALISED = [row for row in ROWS if row[0] not in (of_second_order, of_a_derivative)] + [
    (in_one_pass_of_the_graph, plain, mode) for mode in (None, True)
]  # which draws after the graph itself: of random numbers, others


@pytest.mark.filterwarnings("ignore:Gradients do not exist|.*separate passes|.*in inference, too")
@pytest.mark.parametrize("make, expected, training", EVERYDAY)
def test_losses_and_state_are_those_of_the_plain_model(make, expected, training):
    check(make, expected, training=training)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make, expected, training", ROWS)
@pytest.mark.parametrize("compiled", [True, False])
def test_losses_and_state_in_every_form(make, expected, training, compiled):
    check(make, expected, compiled=compiled, training=training)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make, expected, training", NORMALISED)
def test_statistics_in_every_form(make, expected, training):
    check(make, expected, normalised=True, training=training)


def recurrent(make, **options):
    """The losses of training, and the state that a recurrent layer is left in."""
    keras.utils.set_random_seed(3)
    z = keras.Input(batch_shape=(2, 4, 3))
    h = layers.LSTM(3, stateful=True, activity_regularizer="l2")(z)
    net = keras.Model(z, layers.Dense(1)(h))
    u, slope = make(net, z, **options)
    model = keras.Model(z, {"u": u, "slope": slope})
    model.compile(keras.optimizers.SGD(0.1), {"u": "mse", "slope": None}, jit_compile=False)
    x, y = points((6, 4, 3), "float32"), {"u": points((6, 1), "float32", seed=1)}
    losses = model.fit(x, y, batch_size=2, epochs=2, shuffle=False, verbose=0).history["loss"]
    losses.append(model.evaluate(x, y, batch_size=2, verbose=0, return_dict=True)["loss"])
    return losses, [ops.convert_to_numpy(variable) for variable in net.variables]


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot train a stateful layer there")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make, training",
    [(wrapped, False), (in_one_pass, None)],
)
def test_a_recurrent_state_moves_once(make, training):
    expected = recurrent(lambda net, z: (net(z), 1.0 * z))
    for found, true in zip(recurrent(make, training=training), expected):
        for one, other in zip(found, true):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


class Penalising(keras.Model):
    """Takes the derivative of a part in its own loss: that call clears no loss of the part."""

    def __init__(self, net, **options):
        super().__init__()
        self.net, self.slopes = net, kd.Gradient(net, **options)

    def call(self, x, training=None):
        return self.net(x, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        penalty = 0 * ops.mean(self.slopes(x))
        return super().compute_loss(x, y, y_pred, sample_weight, training) + penalty


@pytest.mark.parametrize("training", [False, None])
def test_a_derivative_has_the_losses_of_its_own_call(training):
    net = keras.Sequential([keras.Input((3,)), Small(), layers.Dense(1, kernel_regularizer="l2")])
    x, slopes = points((4, 3), "float32"), kd.Gradient(net, training=training)
    for _ in range(2):
        net(x)
        slopes(x)
        found = [float(ops.convert_to_numpy(loss)) for loss in slopes.losses]
        of_weights = float(0.01 * np.sum(net.get_weights()[-2] ** 2))
        expected = [*([np.mean(x**2)] if training is None else []), of_weights]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert len(net.losses) == 2


def test_a_derivative_in_a_loss_keeps_the_losses_of_the_model():
    net = keras.Sequential([keras.Input((3,)), layers.Dense(2, "tanh"), Small(), layers.Dense(1)])
    x = points((8, 3), "float32")
    y, hidden = (ops.convert_to_numpy(layer(x)) for layer in (net, net.layers[0]))
    model = Penalising(net)
    model(x)
    model.compile("sgd", "mse")
    expected = np.mean(hidden**2)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-4)
    loss = model.fit(x, y, batch_size=8, verbose=0).history["loss"][0]
    assert loss == pytest.approx(3 * expected, rel=1e-4)

"""The five questions that the package answers, with their exact numbers."""

import keras
import numpy as np
import pytest
from framework import on_tensorflow, tf
from keras import layers, ops
from models import points
from truth import EXACT, close, numpy

import keras_derivs as kd

LOG = [1.0986123, 1 / 3, -1 / 9, 2 / 27, -6 / 81]


def test_a_block_of_a_large_jacobian():
    x, hidden, last = keras.Input((100,)), layers.Dense(64, "tanh"), layers.Dense(10)
    y = last(hidden(x))
    model, values = keras.Model(x, y), points((16, 100), "float32")
    w, b, v, _ = model.get_weights()
    slopes = 1 - np.tanh(values @ w + b) ** 2
    expected = np.einsum("ih,bh,ho->boi", w, slopes, v)[:, 2:5, 50:70]
    layer = kd.SubJacobian(model, outputs=[2, 3, 4], inputs=range(50, 70))
    assert "3 backward" in layer.explain()
    close(layer(values), expected, EXACT["float32"])
    block = kd.sub_jacobian(y, x[:, 50:70], outputs=[2, 3, 4])
    close(keras.Model(x, block).predict(values, verbose=0), expected, EXACT["float32"])


def test_value_and_gradient_in_one_predict():
    net = keras.Sequential([keras.Input((5,)), layers.Dense(16, "tanh"), layers.Dense(1)])
    x, values = keras.Input((5,)), points((50, 5), "float32")
    model = keras.Model(x, kd.Gradient(net, return_value=True)(x))
    y, slope = model.predict(values, verbose=0)
    close(y, net(values), EXACT["float32"])
    close(slope, kd.Gradient(net)(values), EXACT["float32"])


@on_tensorflow
def test_a_value_and_its_gradient_cost_two_passes():
    net = keras.Sequential([keras.Input((5,)), layers.Dense(16, "tanh"), layers.Dense(1)])
    x = keras.Input((5,))
    model = keras.Model(x, kd.Gradient(net, return_value=True)(x))
    graph = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec((50, 5))).graph
    products = [operation for operation in graph.get_operations() if operation.type == "MatMul"]
    assert len(products) == 2 + 2  # two layers forward, two back


@keras.saving.register_keras_serializable(package="tests")
class Log(layers.Layer):
    def call(self, x):
        return ops.log(x + 2)


def test_log_and_its_derivatives_in_a_functional_model():
    x = keras.Input((1,))
    ys = [ops.log(x + 2)]
    for _ in range(4):
        ys.append(kd.gradient(ys[-1], x))
    found = keras.Model(x, ys).predict(np.ones((1, 1)), verbose=0)
    np.testing.assert_allclose(np.ravel(found), LOG, rtol=1e-6)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_log_and_its_derivatives_in_a_subclassed_model(run_eagerly):
    class Tower(keras.Model):
        def __init__(self):
            super().__init__()
            self.derivatives = [Log()]
            for _ in range(4):
                self.derivatives.append(kd.Gradient(self.derivatives[-1]))

        def call(self, x):
            return [derivative(x) for derivative in self.derivatives]

    model = Tower()
    model.compile(run_eagerly=run_eagerly)
    found = model.predict(np.ones((1, 1), "float32"), verbose=0)
    np.testing.assert_allclose(np.ravel(found), LOG, rtol=1e-6)


def test_a_custom_loss_with_slopes_and_curvatures():
    """Heat equation u_t = u_xx: the loss of the true solution is zero, that of another is not."""
    tx = keras.Input((2,))
    t, x = tx[:, 0:1], tx[:, 1:2]
    for rate, expected in ((1.0, 0.0), (2.0, None)):
        u = ops.exp(-rate * t) * ops.sin(x)
        u_t, u_xx = kd.partials(u, (t,), (x, x))
        model = keras.Model(tx, ops.concatenate([u_t, u_xx], axis=-1))
        model.compile(loss=lambda _, y: ops.mean((y[:, :1] - y[:, 1:]) ** 2))
        loss = model.evaluate(points((32, 2)), np.zeros((32, 2)), verbose=0)
        assert loss < 1e-12 if expected == 0.0 else loss > 0.05


def test_the_jacobian_of_a_loaded_recurrent_network(tmp_path):
    windows = keras.Input((20, 5))
    hidden = layers.LSTM(8, name="memory")(windows)
    model = keras.Model(windows, layers.Dense(1)(hidden))
    model.compile(loss="mse", optimizer="adam")
    model.fit(points((64, 20, 5)), points((64, 1)), verbose=0)
    model.save(tmp_path / "lstm.keras")
    model = keras.models.load_model(tmp_path / "lstm.keras")
    values = points((600, 20, 5), "float32")
    jacobian = keras.Model(model.input, kd.Jacobian(model)(model.input))
    found = jacobian.predict(values, batch_size=256, verbose=0)
    assert found.shape == (600, 1, 20, 5)
    some = values[:3]
    for t, feature in ((0, 0), (7, 3), (19, 4)):
        shift = np.zeros_like(some)
        shift[:, t, feature] = 1e-2
        expected = (model(some + shift) - model(some - shift)) / 2e-2
        close(found[:3, :, t, feature], expected, 1e-4)
    memory = kd.jacobian(model.get_layer("memory").output, model.input)
    assert keras.Model(model.input, memory).predict(some, verbose=0).shape == (3, 8, 20, 5)


def test_the_slope_of_a_trained_parabola(double, float64):
    keras.utils.set_random_seed(0)
    x = np.linspace(0, 10, 400)[:, None]
    inputs = keras.Input((1,), dtype="float64")
    hidden = layers.Rescaling(0.2, offset=-1)(inputs)
    for _ in range(2):
        hidden = layers.Dense(32, "tanh")(hidden)
    net = keras.Model(inputs, layers.Dense(1)(hidden))
    net.compile(loss="mse")
    kd.lbfgs(net, x, (x - 5) ** 2 / 25, max_steps=100, verbose=0)
    slope = float(numpy(kd.Gradient(net)(np.array([[0.5]])))[0, 0])
    assert abs(slope - 2 * (0.5 - 5) / 25) < 0.05 * abs(2 * (0.5 - 5) / 25)

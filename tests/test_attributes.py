"""Derivatives as attributes of the model that they differentiate, or of a part of it."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from models import points
from truth import EXACT, close

import keras_derivs as kd


@keras.saving.register_keras_serializable(package="tests")
class Penalised(keras.Model):
    """The penalty on its own slopes is a part of its loss."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = layers.Dense(4, "tanh"), layers.Dense(1)
        self.slopes = kd.Gradient(self)
        self.curvature = [kd.Laplacian(self), kd.Jacobian(self.slopes)]

    def call(self, x):
        h = self.hidden(x)
        self.add_loss(5 * ops.mean(ops.ones_like(h)))
        return self.head(h)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        penalty = ops.mean(ops.square(self.slopes(x)))
        return super().compute_loss(x, y, y_pred, sample_weight, training) + penalty


def alone(model):
    """A plain model that shares the weights."""
    return keras.Sequential([keras.Input((2,)), model.hidden, model.head])


@pytest.mark.parametrize("first", ["model", "slopes", "curvature"])
def test_a_model_that_holds_its_own_derivatives(first, tmp_path):
    model, x = Penalised(), points((4, 2), "float32")
    {"model": model, "slopes": model.slopes, "curvature": model.curvature[1]}[first](x)
    if first != "model":
        model(x)
    plain = alone(model)
    close(model.slopes(x), kd.Gradient(plain)(x), EXACT["float32"])
    close(model.curvature[0](x), kd.Laplacian(plain)(x), EXACT["float32"])
    close(model.curvature[1](x), kd.Hessian(plain)(x), EXACT["float32"])
    assert len(model.weights) == len(model.trainable_variables) == 4
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    close(again.slopes(x), model.slopes(x), EXACT["float32"])
    again.trainable = False
    assert again.trainable_weights == []


def test_a_penalty_on_its_own_slopes_trains():
    model, x = Penalised(), points((8, 2), "float32")
    model(x)
    y = ops.convert_to_numpy(model(x))
    slopes = ops.convert_to_numpy(kd.Gradient(alone(model))(x))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    expected = np.mean(slopes**2) + 5
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    losses = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert losses[0] == pytest.approx(expected, rel=1e-5) and losses[-1] < losses[0]


class Recursive(Penalised):
    def call(self, x):
        return self.head(self.hidden(x)) + ops.sum(self.slopes(x), axis=1, keepdims=True)


@pytest.mark.parametrize("by", ["model", "slopes"])
def test_a_model_that_needs_its_own_derivative_is_refused(by):
    model = Recursive()
    with pytest.raises(ValueError, match="(?s)computed without it.*recursive.*of its own"):
        (model if by == "model" else model.slopes)(points((4, 2), "float32"))


@keras.saving.register_keras_serializable(package="tests")
class WithPart(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.net = keras.Sequential([layers.Dense(4, "tanh"), layers.Dense(1)])
        self.slopes = kd.Gradient(self.net)
        self.net.slopes = self.slopes

    def call(self, x):
        return {"u": self.net(x), "slopes": self.slopes(x)}


def test_the_derivative_of_a_part_before_it_is_built(tmp_path):
    model, x = WithPart(), points((8, 2), "float32")
    before = model(x)
    close(before["slopes"], kd.Gradient(model.net)(x), EXACT["float32"])
    assert len(model.weights) == 4
    model.save(tmp_path / "m.keras")
    after = keras.models.load_model(tmp_path / "m.keras")(x)
    close(after["slopes"], before["slopes"], EXACT["float32"])

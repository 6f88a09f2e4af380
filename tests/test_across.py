"""What computes along the batch axis is told of; a layer that couples rows is named."""

import warnings

import keras
import pytest
from keras import layers, ops

import keras_derivs as kd


class Own(layers.Layer):
    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)


def around(function):
    x = keras.Input((3,))
    h = Own(function, name="own")(layers.Dense(3)(x))
    return keras.Model(x, layers.Dense(1, "tanh")(h))


# each without a part in the result, so that no two rows show it
ALONG = {
    "mean": lambda x: ops.mean(x, axis=0),
    "maximum of all": ops.max,
    "reversed": lambda x: ops.flip(x, axis=0),
    "shifted": lambda x: ops.roll(x, 1, axis=0),
    "the first row": lambda x: x[:1],
    "taken": lambda x: ops.take(x, [0], axis=0),
    "running sum": lambda x: ops.cumsum(x, axis=0),
    "norm": lambda x: ops.norm(x, axis=0),
}


@pytest.mark.parametrize("name", ALONG)
def test_what_runs_along_the_batch_is_told_of(name):
    with pytest.warns(UserWarning, match="Rows of the batch: .* in 'own' .*along the batch axis"):
        kd.Gradient(around(lambda x: x + 0 * ALONG[name](x)))


def test_what_runs_along_other_axes_is_not():
    def function(x):
        whole = ops.sum(x, axis=-1, keepdims=True) * ops.max(x, axis=1, keepdims=True)
        parts = x[:, :1] + ops.flip(x, axis=1) + ops.cumsum(x, axis=1) + ops.softmax(x)
        return whole + parts + ops.roll(ops.stack([x, x], axis=1)[:, 0], 1, axis=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UserWarning)
        kd.Gradient(around(function))


@pytest.mark.parametrize("symbolic", [False, True])
def test_the_layer_that_couples_rows_is_named(symbolic):
    model = around(lambda x: x - ops.mean(x, axis=0))
    with pytest.raises(ValueError, match=r"layer 'own' \(of type Own\)"):
        if symbolic:
            kd.gradient(model.outputs[0], model.inputs[0])
        else:
            kd.Gradient(model)
    x = keras.Input((3,))
    y = layers.Dense(1)(x - ops.mean(x, axis=0))
    with pytest.raises(ValueError, match=r"operation '\w+' \(of type (Mean|Subtract)\)"):
        kd.gradient(y, x)


# what counts the rows, in functions of any number of them -> where rows have their own axis
PLACED = {
    "lower triangle": ops.tril,
    "upper triangle": lambda x: ops.triu(x, 1),
    "number of the row": lambda x: x * ops.cast(ops.arange(ops.shape(x)[0])[:, None], x.dtype),
}
FREE = {
    "triangle": lambda x: ops.tril(x[:, None] * x[:, :, None])[:, 0] * x,
    "number of the feature": lambda x: x * ops.cast(ops.arange(ops.shape(x)[1]), x.dtype),
    "the last row of a sample": lambda x: ops.flip(x, axis=1),
}


@pytest.mark.filterwarnings("ignore:(?s).*(batch|Not verified)")
@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("name", PLACED)
def test_rows_that_count_their_place_are_refused(name, symbolic):
    """Several outputs are derived in copies of the batch, in which rows have other places."""
    x = keras.Input((20,))
    model = keras.Model(x, layers.Dense(20)(Own(PLACED[name], name="own")(x)))
    one = keras.Model(x, layers.Dense(1)(model.outputs[0]))
    assert kd.Gradient(one)(ops.ones((3, 20))).shape == (3, 20)  # of one output, without copies
    with pytest.raises(ValueError, match="alike.*'own'.*the place of that row"):
        if symbolic:
            kd.jacobian(model.outputs[0], x)
        else:
            kd.Jacobian(model)(ops.ones((3, 20)))
    with pytest.raises(ValueError, match="alike.*'own'.*the place of that row"):
        kd.Hessian(one, strategy="reverse")(ops.ones((3, 20)))


@pytest.mark.parametrize("name", FREE)
def test_features_that_count_their_place_are_not(name):
    x = keras.Input((4,))
    model = keras.Model(x, Own(FREE[name])(x))
    assert kd.Jacobian(model)(ops.ones((3, 4))).shape == (3, 4, 4)


class OfOneShape(Own):
    def compute_output_shape(self, shape):
        return shape


def test_rows_of_a_fixed_batch_may_count_their_place():
    x = keras.Input(batch_shape=(3, 2))
    weights = ops.convert_to_tensor([[1.0], [2.0], [3.0]])
    model = keras.Model(x, OfOneShape(lambda x: ops.square(x) * weights)(x))
    found = ops.convert_to_numpy(kd.Gradient(model, component=0)(ops.ones((3, 2))))
    assert found.tolist() == [[2, 0], [4, 0], [6, 0]]

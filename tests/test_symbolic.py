"""Derivatives between symbolic tensors: the same numbers as the layers, wherever the cut runs."""

import keras
import numpy as np
import pytest
import truth
from keras import layers, ops
from models import build, points
from truth import EXACT, close, numpy

import keras_derivs as kd


def predict(x, outputs, values):
    return keras.Model(x, outputs).predict(values, verbose=0)


@pytest.fixture
def field():
    """A field u(t, x) of one input of two columns."""
    net = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(1)])
    tx = keras.Input((2,))
    return net, tx, net(tx)


@pytest.mark.parametrize(
    "twin, layer, options",
    [
        (kd.gradient, kd.Gradient, {"component": 1}),
        (kd.jacobian, kd.Jacobian, {}),
        (kd.jacobian, kd.Jacobian, {"strategy": "forward", "chunk_size": 2}),
        (kd.sub_jacobian, kd.SubJacobian, {"outputs": [1], "inputs": slice(1, 3)}),
        (kd.hessian, kd.Hessian, {}),
        (kd.hessian_diagonal, kd.HessianDiagonal, {"component": 0}),
    ],
)
@pytest.mark.parametrize("name", ["sequential", "nested", "subclassed", "normalised"])
def test_twins_agree_with_layers(twin, layer, options, name):
    model, values = build(name, "float32")
    x = keras.Input(values.shape[1:])
    found = predict(x, twin(model(x), x, **options), values)
    close(found, layer(model, **options)(values), EXACT["float32"])


@pytest.mark.parametrize(
    "columns",
    [
        lambda tx: (tx[:, 0:1], tx[:, 1:2]),
        lambda tx: (tx[:, 0], tx[:, 1]),
        lambda tx: (tx[..., :1], tx[..., 1:]),
        lambda tx: ops.split(tx, 2, axis=1),
        lambda tx: ops.unstack(tx, axis=1),
        lambda tx: (ops.take(tx, 0, axis=1), ops.take(tx, [1], axis=1)),
        lambda tx: (ops.expand_dims(tx[:, 0], 1), ops.reshape(tx, (-1, 2))[:, 1:]),
    ],
)
def test_a_slice_stands_for_its_part_of_the_whole(field, columns):
    net, tx, u = field
    t, x = columns(tx)
    found = predict(tx, kd.partials(u, (t,), (x,), (x, x), (t, x)), points((9, 2)))
    expected = kd.Partials(net, [(0,), (1,), (1, 1), (0, 1)])(points((9, 2)))
    for one, other in zip(found, expected):
        close(one, other, EXACT["float32"])


def test_every_way_from_a_slice_counts(field):
    net, tx, n = field
    x = tx[:, 1:2]
    u = n * (1 - x * x)
    n_x = numpy(kd.Partials(net, [(1,)])(points((9, 2)))[0])
    value, at = numpy(net(points((9, 2)))), points((9, 2))[:, 1:2]
    expected = n_x * (1 - at * at) - 2 * at * value
    close(predict(tx, kd.diff(u, x), points((9, 2))), expected, EXACT["float32"])


def test_a_feature_that_is_no_slice_is_held_apart_from_its_source(field):
    _, tx, _ = field
    h = ops.sin(tx)
    y = ops.sum(h * tx, axis=-1)
    close(predict(tx, kd.gradient(y, h), points((5, 2))), points((5, 2)), EXACT["float32"])


@pytest.mark.parametrize("pick", [lambda h: ops.max(h, axis=1), lambda h: ops.sort(h, axis=1)])
def test_what_depends_on_values_is_no_slice(field, pick):
    _, tx, u = field
    with pytest.raises(ValueError, match="no path between them"):
        kd.gradient(u, pick(tx))


def test_several_tensors_at_once(field):
    _, tx, u = field
    t, x = tx[:, 0:1], tx[:, 1:2]
    u_t, u_x, both = predict(tx, [*kd.gradient(u, [t, x]), kd.gradient(u, tx)], points((6, 2)))
    close(np.hstack([u_t, u_x]), both, EXACT["float32"])
    blocks = kd.hessian(u, [t, x])
    whole, block = predict(tx, [kd.hessian(u, tx), blocks[0][1]], points((6, 2)))
    close(block[:, 0, 0], whole[:, 0, 1], EXACT["float32"])


def test_separate_inputs_and_what_does_not_depend_on_x():
    a, b = keras.Input((3,)), keras.Input((2,))
    y = layers.Dense(1)(layers.Dense(4, "tanh")(a) * layers.Dense(4, "tanh")(b))
    values = [points((5, 3)), points((5, 2))]
    expected = kd.Gradient(keras.Model([a, b], y))(values)
    derivative = kd.gradient(y, a)
    between = derivative._keras_history.operation
    assert len(between.derivative.model.inputs) == 2  # a, and the branch of b as it stands
    assert len(between.derivative.model.layers) == 2  # Dense of a, and the last Dense
    close(predict([a, b], derivative, values), expected[0], EXACT["float32"])


def test_intermediate_tensors():
    image = keras.Input((6, 6, 1))
    features = layers.Conv2D(3, 3, activation="tanh")(image)
    scores = layers.Dense(2)(layers.GlobalAveragePooling2D()(features))
    found = predict(image, kd.gradient(scores, features, component=1), points((2, 6, 6, 1)))
    head = keras.Model(features, scores)
    middle = keras.Model(image, features)(points((2, 6, 6, 1)))
    close(found, kd.Gradient(head, component=1)(middle), EXACT["float32"])


def test_derivatives_nest(field):
    net, tx, u = field
    x = tx[:, 1:2]
    step, once = kd.diff(kd.diff(kd.diff(u, x), x), x), kd.diff(u, x, x, x)
    found, expected = predict(tx, [step, once], points((7, 2)))
    close(found, expected, EXACT["float32"])
    second = truth.jacobian(lambda z: truth.numpy(kd.Partials(net, [(1, 1)])(z)[0]), points((7, 2)))
    assert np.max(np.abs(found - second[..., 1])) < 1e-2  # float32 differences are rough


def test_four_gradients_in_a_row(float64):
    x = keras.Input((1,), dtype="float64")
    ys = [ops.log(x + 2)]
    for _ in range(4):
        ys.append(kd.gradient(ys[-1], x))
    for found, expected in zip(
        predict(x, ys, np.ones((1, 1))), [np.log(3), 1 / 3, -1 / 9, 2 / 27, -6 / 81]
    ):
        close(found, [[expected]], EXACT["float64"])


@pytest.mark.parametrize("part", [slice(None), slice(50, 70)])
def test_products_of_slices(part):
    x = keras.Input((100,))
    y = layers.Dense(4)(layers.Dense(8, "tanh")(x))
    model = keras.Model(x, y)
    values = points((3, 100))
    v, w = points((3, len(range(100)[part])), seed=1), points((3, 4), seed=2)
    sv, sw, at = keras.Input(v.shape[1:]), keras.Input(w.shape[1:]), x[:, part]
    outputs = [kd.jvp(y, at, sv), kd.vjp(y, at, sw), kd.hvp(y, at, sv, component=2)]
    along, back, curved = predict([x, sv, sw], outputs, [values, v, w])
    jacobian = truth.numpy(kd.Jacobian(model)(values))[..., part]
    hessian = truth.numpy(kd.Hessian(model, component=2)(values))[:, part, part]
    close(along, np.einsum("bij,bj->bi", jacobian, v), EXACT["float32"])
    close(back, np.einsum("bij,bi->bj", jacobian, w), EXACT["float32"])
    close(curved, np.einsum("bjk,bk->bj", hessian, v), EXACT["float32"])


@pytest.mark.filterwarnings("ignore:.*does not support masking")  # Keras 3.16 says so of LSTM
def test_masks_reach_the_sub_graph():
    ids = keras.Input((6,), dtype="int32")
    embedded = layers.Embedding(10, 4, mask_zero=True)(ids)
    y = layers.Dense(1)(layers.LSTM(5)(embedded))
    slopes = predict(
        ids, kd.gradient(y, embedded), np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 9]])
    )
    assert np.all(slopes[0, 3:] == 0) and np.all(np.any(slopes[0, :3], axis=-1))
    assert np.all(np.any(slopes[1], axis=-1))


def test_layers_keep_their_one_output(field):
    net, tx, u = field
    kd.gradient(u, tx[:, 1:])
    kd.hessian(net.layers[-1].output, net.layers[0].output, component=0)
    for layer in net.layers:
        assert layer.output is not None  # ambiguous, if a cut had added nodes


def test_a_derivative_says_how_it_is_computed(field):
    _, tx, u = field
    between = kd.jacobian(u, tx)._keras_history.operation
    assert "reverse" in between.explain()


def test_finite_differences(field):
    net, tx, u = field
    model = keras.Model(tx, [kd.gradient(u, tx), kd.hessian(u, tx)])
    gradient, hessian = model(points((4, 2)))
    tight = truth.jacobian(truth.predict(net), points((4, 2)), step=0.1)[:, 0]
    close(gradient, tight, 1e-3)
    slopes = kd.Gradient(net)
    close(hessian, truth.jacobian(truth.predict(slopes), points((4, 2)), step=0.1), 1e-3)

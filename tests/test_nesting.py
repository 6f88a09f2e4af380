"""Derivative layers inside of other layers: of each other, over time, in models of one's own."""

import keras
import numpy as np
import pytest
import truth
from keras import layers, ops
from keras.src.testing import TestCase
from models import points
from truth import DIFFERENCES, EXACT, close

import keras_derivs as kd


def net(num_outputs=1, built=True):
    dtype = keras.config.dtype_policy().compute_dtype
    first = [keras.Input((2,), dtype=dtype)] if built else []
    return keras.Sequential([*first, layers.Dense(4, "tanh"), layers.Dense(num_outputs)])


# layer -> (outputs of the network, arguments, output shape of one sample)
LAYERS = {
    "Gradient": (1, {}, (2,)),
    "Jacobian": (2, {}, (2, 2)),
    "SubJacobian": (3, {"outputs": [0, 2], "inputs": 1}, (2,)),
    "Hessian": (1, {}, (2, 2)),
    "HessianDiagonal": (2, {}, (2, 2)),
    "Laplacian": (1, {}, (1,)),
    "Divergence": (2, {}, (1,)),
    "Curl": (2, {}, (1,)),
    "GradientPenalty": (1, {"target": 0.5}, (1,)),
    "JacobianPenalty": (2, {}, (1,)),
    "LogDeterminant": (2, {}, (1,)),
    "Partials": (1, {"terms": [(0,), (1, 1)]}, [(1,), (1,)]),
}
PRODUCTS = {  # the shapes of x and v, too
    "JVP": (3, {}, (3,), [(2,), (2,)]),
    "VJP": (3, {}, (2,), [(2,), (3,)]),
    "HVP": (1, {}, (2,), [(2,), (2,)]),
}


def make(name, built=True):
    num_outputs, options, *_ = {**LAYERS, **PRODUCTS}[name]
    return getattr(kd, name)(net(num_outputs, built), **options)


def check_nested(outer, name, built):
    inner, x = make(name, built), points((3, 2), "float64")
    options = {"output": 1} if name == "Partials" else {}
    found = getattr(kd, outer)(inner, **options)(x)

    def function(z):
        return truth.numpy(keras.tree.flatten(inner(z))[-1])

    if outer == "Jacobian":
        close(found, truth.jacobian(function, x), DIFFERENCES[1])
    else:
        hessian = truth.hessian(function, x)
        close(found, np.trace(hessian, axis1=-2, axis2=-1), DIFFERENCES[2])


@pytest.mark.parametrize(
    "outer, name, built",
    [
        ("Jacobian", "Gradient", True),
        ("Jacobian", "Gradient", False),
        ("Jacobian", "Divergence", False),
        ("Laplacian", "Jacobian", False),
        ("Laplacian", "Partials", True),
        ("Jacobian", "Laplacian", False),
    ],
)
def test_a_layer_of_a_layer(outer, name, built, float64):
    check_nested(outer, name, built)


@pytest.mark.long
@pytest.mark.parametrize("outer", ["Jacobian", "Laplacian"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("built", [True, False])
def test_any_layer_of_any_layer(outer, name, built, float64):
    check_nested(outer, name, built)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("built", [True, False])
def test_derivatives_of_products(name, built, float64):
    *_, (of_x, of_v) = PRODUCTS[name]
    product, x, v = (
        make(name, built),
        points((3, *of_x), "float64"),
        points((3, *of_v), "float64", 1),
    )
    by_x, by_v = kd.Gradient(product, component=0)([x, v])

    def along(x, v):
        return truth.numpy(product([x, v]))[:, 0]

    close(by_x, truth.jacobian(lambda z: along(z, v), x, at_once=False), DIFFERENCES[1])
    close(by_v, truth.jacobian(lambda z: along(x, z), v, at_once=False), DIFFERENCES[1])


def test_three_deep_and_unbuilt(float64):
    model, x = net(built=False), points((3, 2), "float64")
    found = kd.Laplacian(kd.Divergence(kd.Gradient(model)))(x)
    field = keras.Input((2,), dtype="float64")
    u = model(field)
    expected = keras.Model(field, kd.laplacian(kd.laplacian(u, field), field))(x)
    close(found, expected, EXACT["float64"])


class Slopes(keras.Model):
    """A layer of a layer, none of which is built, inside a model of one's own."""

    def __init__(self):
        super().__init__()
        self.net = net(built=False)
        self.curvature = kd.Jacobian(kd.Gradient(self.net))

    def call(self, x):
        return self.net(x) + ops.sum(self.curvature(x), axis=(1, 2))[:, None]


def test_a_subclassed_model_trains_through_unbuilt_layers():
    model, x = Slopes(), points((8, 2))
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(0.03))
    losses = model.fit(x, np.ones((8, 1)), epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and len(model.trainable_weights) == 4
    close(model(x), model.predict(x, verbose=0), EXACT["float32"])


def test_mixed_precision_reaches_weights_that_are_made_late():
    """The policy of the caller holds where a graph makes the weights."""
    keras.config.set_dtype_policy("float64")
    try:
        model = Slopes()
        model.predict(points((8, 2), "float64"), verbose=0)
        assert {weight.dtype for weight in model.weights} == {"float64"}
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "Partials"])
def test_over_time(name):
    layer, x = make(name, built=name != "Gradient"), points((4, 3, 2))
    wrapped = layers.TimeDistributed(layer)
    symbolic = wrapped(keras.Input((3, 2)))
    expected = np.stack([truth.numpy(layer(x[:, n])) for n in range(3)], axis=1)
    assert symbolic.shape == (None, *expected.shape[1:])
    close(wrapped(x), expected, EXACT["float32"])


@pytest.mark.parametrize("name", [*LAYERS, *PRODUCTS])
@pytest.mark.parametrize("built", [True, False])
def test_shapes_without_running(name, built, monkeypatch):
    layer = make(name, built)
    shapes = PRODUCTS[name][3] if name in PRODUCTS else [(2,)]
    given = [(5, *shape) for shape in shapes]
    monkeypatch.setattr(type(layer.model), "call", None)
    found = layer.compute_output_shape(given if len(given) > 1 else given[0])
    expected = {**LAYERS, **PRODUCTS}[name][2]
    alone = [(5, *shape) for shape in expected] if isinstance(expected, list) else (5, *expected)
    assert found == alone and layer.model.built == built


def test_shapes_of_several_inputs_and_a_value():
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, layers.Dense(1)(layers.Concatenate()([a, b])))
    layer = kd.Gradient(model, return_value=True)
    found = layer.compute_output_shape({"a": (None, 2), "b": (None, 3)})
    assert found == ((None, 1), {"a": (None, 2), "b": (None, 3)})


QUICK = ("Gradient", "Partials", "JVP", "GradientPenalty")


def check_layer(name, monkeypatch):
    num_outputs, options, shape, *rest = {**LAYERS, **PRODUCTS}[name]
    inputs = [(3, *one) for one in rest[0]] if rest else (3, 2)
    outputs = [(3, *one) for one in shape] if isinstance(shape, list) else (3, *shape)
    TestCase().run_layer_test(
        getattr(kd, name),
        init_kwargs={"model": net(num_outputs), **options},
        input_shape=inputs,
        expected_output_shape=outputs,
        expected_num_trainable_weights=4,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=0,
        expected_num_losses=0,
        supports_masking=True,
        run_training_check=not rest and not isinstance(shape, list),  # it takes single tensors
    )


@pytest.mark.filterwarnings("ignore:Gradients do not exist|.shuffle=True. was passed")
@pytest.mark.parametrize("name", QUICK)
def test_what_keras_asks_of_a_layer(name, monkeypatch):
    check_layer(name, monkeypatch)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Gradients do not exist|.shuffle=True. was passed")
@pytest.mark.parametrize("name", sorted({*LAYERS, *PRODUCTS} - {*QUICK}))
def test_what_keras_asks_of_every_layer(name, monkeypatch):
    check_layer(name, monkeypatch)


def test_a_sequential_that_was_added_to_is_one_network():
    model = keras.Sequential()
    for layer in (keras.Input((2,)), layers.Dense(3, "tanh"), layers.Dense(1)):
        model.add(layer)
    x = keras.Input((2,))
    outer = keras.Model(x, kd.Gradient(model)(x))
    clone = keras.models.clone_model(outer)
    clone.set_weights(outer.get_weights())
    close(clone(points((3, 2))), outer(points((3, 2))), EXACT["float32"])
    elsewhere = keras.Model(x, [kd.Gradient(model)(x), model.layers[0](x)])
    with pytest.raises(ValueError, match="needs the model it was made for"):
        keras.models.clone_model(elsewhere)


def twice_named():
    a, b = keras.Input((2,)), keras.Input((3,))
    joined = layers.Concatenate()([a, b])
    outputs = {"p": {"u": layers.Dense(1)(joined**2)}, "q": {"u": layers.Dense(1)(joined)}}
    return keras.Model({"left": {"x": a}, "right": {"x": b}}, outputs)


def test_a_path_tells_inputs_and_outputs_of_one_name_apart():
    values = {"left": {"x": points((4, 2))}, "right": {"x": points((4, 3))}}
    model = twice_named()
    by_path = kd.Gradient(model, wrt="right/x", output="p/u")(values)
    close(by_path, kd.Gradient(model, wrt=1, output=0)(values), EXACT["float32"])
    with pytest.raises(ValueError, match="'x'.*several.*left/x, right/x.*path.*position"):
        kd.Gradient(model, wrt="x", output=0)
    with pytest.raises(ValueError, match="'u'.*several.*p/u, q/u.*path.*position"):
        kd.Gradient(model, wrt=0, output="u")


def test_an_error_names_output_and_input_without_a_path():
    x = keras.Input((2,), name="point")
    y = layers.Dense(1, name="head")(ops.stop_gradient(x))
    with pytest.raises(ValueError, match="'head'.*'point'.*no gradient reaches.*'(Stop|stop|det)"):
        kd.gradient(y, x)
    two = keras.Model([x, keras.Input((3,), name="other")], layers.Dense(1, name="head")(x))
    with pytest.raises(ValueError, match=r"'head'.*'other' of shape \(None, 3\)"):
        kd.Gradient(two)

"""What the package uses of Keras beyond its public names, tried one by one."""

import keras
import numpy as np
import pytest

import keras_derivs as kd
from keras_derivs.graph import losses, private


@pytest.fixture(name="model")
def fixture_model():
    x = keras.Input((3,), name="x")
    h = keras.layers.Dense(4, name="dense")(x)
    return keras.Model({"x": x}, [keras.ops.tanh(h), h])


def test_the_layers_of_a_model(model):
    outer = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: {"x": x}), model])
    names = {layer.name for layer in private.layers_of(outer)}
    assert {outer.name, model.name, "dense"} <= names
    assert outer not in private.layers_of(outer, include_self=False)


def test_the_graph_of_a_sequential():
    plain = keras.Sequential([keras.layers.Dense(1)])
    assert private.functional(plain) is plain and not private.is_functional(plain)
    plain.build((None, 2))
    assert private.is_functional(private.functional(plain))
    assert [type(layer).__name__ for layer in private.added_to(plain)] == ["InputLayer", "Dense"]


def test_the_nodes_of_a_model_in_order(model):
    names = [type(node.operation).__name__ for node in private.nodes_of(model)]
    assert names == ["InputLayer", "Dense", "Tanh"]
    assert private.nodes_of(keras.layers.Dense(1)) == []


def test_the_nested_inputs_and_outputs(model):
    assert private.tree_of_inputs(model) == {"x": model.inputs[0]}
    assert private.tree_of_outputs(model) == model.outputs
    assert private.tree_of_inputs(keras.layers.Dense(1), 7) == 7


def test_what_made_a_tensor_and_what_takes_it(model):
    y, h = model.outputs
    operation, index, place = private.source_of(h)
    assert (operation.name, index, place) == ("dense", 0, 0)
    assert private.uses_of(operation)[0].outputs[0] is h
    assert any(node.outputs[0] is y for node in private.users_of(operation))
    assert private.source_of(np.ones(3)) is None


def test_a_copy_has_a_name_of_its_own(model):
    copied = private.numpy.Copy(name="own")(model.outputs[0])
    assert keras.Model(model.inputs, copied).output_names == ["own"]
    assert private.to_snake_case("InputLayer") == "input_layer"


def test_a_graph_computes_in_the_dtypes_of_its_layers(double):
    x, values = keras.Input((3,), dtype="float64"), 1 + 1e-12 * np.ones((2, 3))
    stack = keras.Sequential([x, keras.layers.Activation("tanh", dtype="float64")])
    for graph in (keras.Model(x, keras.ops.tanh(x)), stack):
        assert private.own_dtype(graph) is None and graph.compute_dtype == "float32"
        np.testing.assert_allclose(graph(values), np.tanh(values), rtol=1e-14)
    assert private.own_dtype(keras.layers.Dense(1)) == "float32"


def test_the_penalties_of_a_call_are_forgotten():
    dense = keras.layers.Dense(2, activity_regularizer="l2")
    model = keras.Sequential([keras.Input((3,)), dense])
    model(np.ones((2, 3)))
    assert model.losses
    losses.clear_losses(model)
    assert not model.losses


def test_masks():
    tokens = keras.ops.convert_to_tensor([[1, 0]])
    assert private.mask_of(tokens) is None
    embedded = keras.layers.Embedding(3, 2, mask_zero=True)(tokens)
    assert keras.ops.convert_to_numpy(private.mask_of(embedded)).tolist() == [[True, False]]
    x = keras.ops.ones((1, 2))
    private.set_keras_mask(x, private.mask_of(embedded))
    assert private.mask_of(x) is not None


def test_causal_padding():
    layer = keras.layers.Conv1D(1, 3, padding="causal", dilation_rate=2)
    layer.build((None, 5, 1))
    assert [list(pair) for pair in private.causal_padding(layer)] == [[0, 0], [4, 0], [0, 0]]


def test_the_shape_of_a_lambda():
    first = keras.layers.Lambda(lambda x: x, output_shape=(7,))
    copy = private.with_same_shape(keras.layers.Lambda(lambda x: x), first)
    assert copy.compute_output_shape((2, 3)) == first.compute_output_shape((2, 3)) == (2, 7)


def test_the_context_of_a_call():
    context = private.CallContext(entry_layer=None)
    context.set_value("training", False)
    assert context.get_value("training") is False
    private.set_global_attribute("keras_derivs_test", context)
    assert private.get_global_attribute("keras_derivs_test") is context
    private.set_global_attribute("keras_derivs_test", None)


class Small(keras.layers.Layer):
    def call(self, h):
        self.add_loss(keras.ops.mean(keras.ops.ones_like(h)) * 5.0)
        return h


@pytest.mark.parametrize("wrapped", [False, True])
def test_losses_of_shared_layers_are_kept_in_fit(wrapped):
    x = keras.Input((2,))
    net = keras.Sequential([x, keras.layers.Dense(3, "tanh"), Small(), keras.layers.Dense(1)])
    u = net(x)
    slope = kd.Gradient(net)(x) if wrapped else kd.gradient(u, x)
    model = keras.Model(x, {"u": u, "slope": slope})
    model.compile("sgd", loss={"u": "mse", "slope": None})
    data = np.ones((4, 2)), {"u": net.predict(np.ones((4, 2)), verbose=0)}
    for _ in range(2):
        assert model.evaluate(*data, verbose=0) == pytest.approx(5.0)
    assert model.fit(*data, verbose=0).history["loss"][0] == pytest.approx(5.0)


def test_the_scopes():
    assert not private.in_stateless_scope()
    with keras.StatelessScope() as scope:
        assert private.in_stateless_scope() and private.get_stateless_scope() is scope
        assert scope.state_mapping == {}
    with keras.name_scope("outer"):
        assert private.current_path() == "outer"


def test_the_types_that_keras_narrows():
    assert "float64" in private.dtypes.BIT64_TO_BIT32_DTYPE


def test_the_parts_of_attention():
    layer = keras.layers.MultiHeadAttention(2, 4, value_dim=3)
    layer.build((None, 5, 6), (None, 5, 6))
    projections, scale, plain = private.attention_parts(layer)
    assert [p.name for p in projections] == ["query", "key", "value", "attention_output"]
    assert scale == 0.5 and plain


def test_training_of_layers():
    assert private.may_train_otherwise(keras.layers.Dropout(0.5))
    assert not private.may_train_otherwise(keras.layers.Flatten())


@pytest.mark.parametrize(
    "module, name",
    [
        ("numpy", "Add"), ("nn", "Softmax"), ("math", "Logsumexp"), ("linalg", "Norm"),
        ("core", "Cast"), ("image", "Resize"), ("activations", "ReLU"),
    ],
)  # fmt: skip
def test_classes_of_operations(module, name):
    assert isinstance(getattr(getattr(private, module), name), type)


def test_functions_of_the_backend():
    assert all(callable(f) for f in (private.of_backend.numpy.hypot, private.of_backend.nn.celu))
    assert private.of_backend.linalg and private.of_backend.math


def test_what_is_replaced():
    assert callable(private.legacy_h5_format.save_model_to_hdf5)
    assert callable(private.Variable.__add__) and callable(keras.Operation.symbolic_call)
    assert callable(private.Functional.call) and callable(private.Sequential.call)


def test_what_an_export_uses():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces for a file")
    assert callable(private.archive()._backend_add_endpoint)
    assert callable(private.recurrent().cudnn_ok) and callable(private.of_backend.rnn)


def test_what_surrounds_a_call():
    layer = keras.layers.Dense(1)
    assert not private.was_called(layer) and private.remat_mode(layer) is None
    layer(np.ones((1, 2)))
    assert private.was_called(layer) and not private.in_call()
    with keras.StatelessScope():
        assert private.in_call()
    with keras.RematScope(mode="full"):
        assert private.remat_mode(keras.layers.Dense(1)) is not None
    seen = keras.layers.Lambda(lambda x: x + float(private.in_call()))
    assert float(seen(np.zeros((1, 1)))[0, 0]) == 1


def test_what_a_model_is_called_on_for_a_file(model):
    ((spec,),) = [list(x.values()) for x in private.signature_of(model)]
    assert tuple(spec.shape) == (None, 3) and spec.name == "x"
    formats = ("torch", "litert", "onnx", "openvino", "saved_model")
    assert all(callable(getattr(private.exporters, f"export_{name}")) for name in formats)

"""Files of models with derivatives: right by their own runtimes, or an error and no file."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from export_cells import need
from keras import layers, ops

import keras_derivs as kd
from keras_derivs import backend
from keras_derivs.backend.tensorflow.gradients import PORTABLE
from keras_derivs.export import compare

# not from this package: converters use what their dependencies deprecate
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")


def slope_model(**options):
    """A network and its slope."""
    net = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    x = keras.Input((2,), name="x")
    return keras.Model(x, {"u": net(x), "slope": kd.Gradient(net, **options)(x)})


def operations(model, format=None):
    """The types of operations in the graph that Keras traces for a file."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = [tf.TensorSpec(model.inputs[0].shape, model.inputs[0].dtype, "x")]
    archive.add_endpoint("serve", model.__call__, input_signature=spec)
    graph = archive._get_concrete_fn("serve").get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize(
    "stack",
    [
        lambda: [layers.Dense(3, "tanh"), layers.LayerNormalization(), layers.Dense(3, "sigmoid")],
        lambda: [layers.Dense(4, "softplus"), layers.Reshape((2, 2)), layers.LSTM(2)],
    ],
)
def test_a_plain_export_holds_elementary_operations_only(stack):
    net = keras.Sequential([keras.Input((2,)), *stack(), layers.Dense(1)])
    x = keras.Input((2,))
    found = operations(keras.Model(x, kd.Hessian(net, strategy="reverse")(x)))
    wrong = {type for type in found if "Grad" in type or "While" in type or "TensorList" in type}
    assert {"Tanh", "MatMul"} & found and not wrong


def test_a_litert_file_holds_no_loop_over_a_sequence_of_known_length():
    net = keras.Sequential([keras.Input((2, 1)), layers.GRU(2), layers.Dense(1)])
    assert any("While" in type for type in operations(net))
    with backend.for_format("litert"):
        found = operations(net)
    assert not any("While" in type or "TensorList" in type for type in found)


def test_litert_tells_of_float64(tmp_path):
    need("litert")
    x = keras.Input((2,))
    model = keras.Model(x, {"y": x * np.linspace(0.5, 1, 2)})
    with pytest.raises(ValueError, match="float64, which LiteRT has not. Give `dtype='float32'`"):
        kd.export(model, tmp_path / "y.tflite")
    assert not list(tmp_path.iterdir())


def test_one_sample_is_measured_on_the_scale_of_all():
    """Its own output may nearly cancel, as that of a Laplacian."""
    x = keras.Input((1,))
    model = keras.Model(x, x * 1.0)
    known = compare.cases(model, np.array([[1.0], [1e-4]], "float32"))
    assert len(known) == 2
    found = compare.compare(model, lambda xs, names: [xs[0] + 5e-6], known, 1e-5)
    assert 4e-6 < found < 6e-6
    with pytest.raises(ValueError, match="differs from the model by 2.0e-05"):
        compare.compare(model, lambda xs, names: [xs[0] + 2e-5], known, 1e-5)


def test_training_keeps_the_gradients_of_tensorflow():
    net = keras.Sequential([keras.Input((2,)), layers.Dense(3, "tanh"), layers.Dense(1)])
    layer = kd.Hessian(net, strategy="reverse")
    operations(keras.Model(net.inputs, layer(net.inputs[0])))
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((None, 2))).graph
    assert "TanhGrad" in {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("type", sorted({"Conv2D", "Slice", "Tanh"}))
def test_a_portable_gradient_takes_the_place_of_tensorflows(type):
    assert type in PORTABLE


class Drifting(layers.Layer):
    """Another function each time that it is traced."""

    count = 0

    def call(self, x):
        self.count += 1
        return x * self.count


def test_a_file_that_differs_is_not_kept(tmp_path):
    model, path = slope_model(), tmp_path / "slope"
    off = kd.export(model, path)
    assert 0 <= off <= 1e-5
    before = sorted(file.name for file in path.rglob("*"))
    stamp = (path / "saved_model.pb").stat().st_mtime_ns
    x = keras.Input((2,))
    with pytest.raises(ValueError, match=r"(?s)Received: .*no file is left.*differs"):
        kd.export(keras.Model(x, Drifting()(x)), path)
    assert sorted(file.name for file in path.rglob("*")) == before
    assert (path / "saved_model.pb").stat().st_mtime_ns == stamp
    assert [file.name for file in tmp_path.iterdir()] == ["slope"]


def test_onnx_gives_value_and_slope(tmp_path):
    need("onnx")
    import onnxruntime

    model, path = slope_model(strategy="reverse"), tmp_path / "slope.onnx"
    x = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    kd.export(model, path, format="onnx", samples=x)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (5, 1, 0):
        found = dict(zip(("slope", "u"), session.run(["slope", "u"], {"x": x[:batch]})))
        step = np.float32(1e-2) * np.eye(2, dtype="float32")
        up, down = (session.run(["u"], {"x": (x[:batch, None] + s * step).reshape(-1, 2)})[0]
                    for s in (1, -1))  # fmt: skip
        slopes = (up - down).reshape(-1, 2) / 2e-2
        assert found["u"].shape == (batch, 1) and found["slope"].shape == (batch, 2)
        np.testing.assert_allclose(found["slope"], slopes, atol=1e-3)


@keras.saving.register_keras_serializable(package="tests")
class Unknown(layers.Layer):
    """Has an operation that ONNX has not."""

    def call(self, x):
        return tf.math.bessel_i0e(x)


def test_what_a_runtime_refuses_is_told_and_not_left(tmp_path):
    need("onnx")
    net = keras.Sequential([keras.Input((2,)), Unknown(), layers.Dense(1)])
    x = keras.Input((2,))
    model, path = keras.Model(x, kd.Gradient(net)(x)), tmp_path / "model.onnx"
    path.write_text("an older file")
    with pytest.raises(ValueError, match=r"(?s)ONNX.*no file is left.*Bessel"):
        kd.export(model, path)
    assert path.read_text() == "an older file"
    assert list(tmp_path.iterdir()) == [path]


def test_a_determinant_is_told_to_need_a_saved_model(tmp_path):
    need("onnx")
    net = keras.Sequential([keras.Input((2,)), layers.Dense(2, "tanh")])
    with pytest.raises(ValueError, match="no file is left: .*Take `format='tf_saved_model'`"):
        kd.export(kd.LogDeterminant(net), tmp_path / "model.onnx")
    assert kd.export(kd.LogDeterminant(net), tmp_path / "model") < 1e-5


def test_auto_takes_what_the_format_can_hold(tmp_path, monkeypatch):
    """The tape, the choice for one output, is refused here as a runtime would refuse it."""
    model, tried = slope_model(), []
    real = export_main().compare

    def compare(*args):
        layer = next(part for part in model.layers if isinstance(part, kd.Gradient))
        tried.append(layer.plan.choice.strategy)
        if tried[-1] != "taylor":
            raise ValueError("not a tape")
        return real(*args)

    monkeypatch.setattr(export_main(), "compare", compare)
    monkeypatch.setattr(model, "predict", lambda x, **options: model(x))
    kd.export(model, tmp_path / "slope")
    assert tried[0] != "taylor" and tried[-1] == "taylor"


def export_main():
    return importlib.import_module("keras_derivs.export.main")


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"model": 3}, TypeError, "needs a `keras.Model`.*Received: 3"),
        ({"model": keras.Sequential([])}, ValueError, "has weights.*not\\s+built"),
        ({"path": None}, TypeError, "needs a path.*Received: None"),
        ({"format": "pb"}, ValueError, "needs one of.*Received: 'pb'"),
        (
            {"format": "torch", "path": "model.pt2"},
            ValueError,
            "needs Keras on one of.*Received: 'tensorflow'",
        ),
        ({"format": "litert"}, ValueError, "end in '.tflite'.*Received: 'model'"),
        ({"tolerance": 0}, ValueError, "positive number.*Received: 0"),
        ({"samples": np.zeros((0, 2))}, ValueError, "at least one sample.*Received"),
        ({"samples": [np.zeros((2, 2))] * 2}, ValueError, "each input.*Received: 2"),
    ],
)
def test_wrong_arguments(arguments, error, message, tmp_path):
    given = {"model": slope_model(), "path": tmp_path / "model", **arguments}
    with pytest.raises(error, match=f"(?s){message}"):
        kd.export(**given)
    assert not list(tmp_path.iterdir())


def test_integer_inputs_need_samples(tmp_path):
    words = keras.Input((3,), dtype="int32")
    model = keras.Model(words, layers.Dense(1)(layers.Flatten()(layers.Embedding(5, 2)(words))))
    with pytest.raises(ValueError, match="`samples=` is needed.*Received: none"):
        kd.export(model, tmp_path / "model")


def test_a_recurrent_layer_of_cudnn_runs_its_loop_in_a_derivative(monkeypatch):
    module = importlib.import_module("keras.src.backend.tensorflow.rnn")
    net = keras.Sequential([keras.Input((2, 1)), layers.LSTM(2), layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(3, 2, 1))
    expected = kd.Hessian(net)(x)
    used = []

    def fused(*args, **kwargs):
        used.append(True)
        raise NotImplementedError

    monkeypatch.setattr(module, "_is_gpu_available", lambda: True)
    monkeypatch.setattr(module, "_cudnn_lstm", fused)
    net(x)
    assert used == [True]  # the stand-in is met by a plain call
    found = kd.Hessian(net)(x)
    assert used == [True]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_derivative_layer_is_exported_as_it_is(tmp_path):
    net = keras.Sequential([keras.Input((2,)), layers.Dense(1, ops.square)])
    kd.export(kd.Laplacian(net), tmp_path / "laplacian")
    loaded = tf.saved_model.load(str(tmp_path / "laplacian"))
    served = loaded.serve(tf.ones((3, 2)))
    (kernel, _) = net.get_weights()
    np.testing.assert_allclose(served, np.full((3, 1), 2 * np.sum(kernel**2)), rtol=1e-5)


def test_a_runtime_that_would_end_the_process_is_not_asked(tmp_path):
    need("onnx")
    net = keras.Sequential([keras.Input((2, 2)), layers.LSTM(2), layers.Dense(1)])
    x = keras.Input((2, 2))
    model = keras.Model(x, {"u": net(x), "slope": kd.Gradient(net)(x)})
    with pytest.warns(
        UserWarning, match="no empty batch: ONNX Runtime ends the whole process, by signal"
    ):
        kd.export(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("count", [1, 11])
def test_openvino_has_the_outputs_of_a_list_and_no_more(count, tmp_path):
    need("openvino")
    from openvino import Core

    net = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    x = keras.Input((2,), name="x")
    slopes = [kd.Gradient(net)(x) * (n + 1) for n in range(count)]
    model = keras.Model(x, slopes)
    at = np.ones((1, 2), "float32")
    kd.export(model, tmp_path / "model.xml", samples=at)
    compiled = Core().compile_model(tmp_path / "model.xml", "CPU")
    found, expected = compiled(at), keras.tree.flatten(model.predict(at, verbose=0))
    assert len(compiled.outputs) == count
    for n, right in enumerate(expected):
        name = f"output_{n:02d}" if count > 10 else f"output_{n}"
        np.testing.assert_allclose(found[name], right, rtol=1e-2)

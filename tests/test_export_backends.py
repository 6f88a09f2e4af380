"""Files of models with derivatives on JAX and PyTorch, by whatever Keras offers there."""

import importlib

import keras
import numpy as np
import pytest
from export_cells import FORMATS, need
from framework import BACKEND
from keras import layers, ops
from run_artifacts import LOADERS

import keras_derivs as kd

pytestmark = [
    pytest.mark.skipif(BACKEND == "tensorflow", reason="tensorflow_only is about TensorFlow"),
    pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The file of:UserWarning"),
]
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="it is about JAX")
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="it is about PyTorch")
X = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")


def slope_model():
    """A network, its slopes by backward passes, and its Hessian by polynomials."""
    net = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    x = keras.Input((2,), name="x")
    slope = kd.Gradient(net, strategy="reverse")(x)
    hessian = kd.Hessian(net, strategy="taylor")(x)
    both = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(2)])
    jacobian = kd.Jacobian(both, strategy="reverse")(x)
    return keras.Model(x, {"u": net(x), "slope": slope, "hessian": hessian, "jacobian": jacobian})


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_holds_value_and_derivatives_by_either_engine(format, tmp_path):
    need(format)
    model, path = slope_model(), tmp_path / LOADERS[format][1]
    assert kd.export(model, path, format) < 1e-5
    found = LOADERS[format][0](path)(X)
    expected = dict(sorted(model.predict(X, verbose=0).items()))
    if format not in ("litert", "openvino"):  # without names, in the order of the names
        found = {name: found[name] for name in expected}
    for y, e in zip(found.values(), expected.values()):
        np.testing.assert_allclose(y, e, rtol=1e-4, atol=1e-5)


@on_torch
def test_keras_exports_a_program_of_pytorch(tmp_path):
    """By `model.export` itself, the axes left open."""
    torch = importlib.import_module("torch")
    model, path = slope_model(), tmp_path / "slope.pt2"
    rows = torch.export.Dim("rows", min=0)
    before = [weight.requires_grad for weight in model.parameters()]
    model.export(path, format="torch", dynamic_shapes={0: rows}, verbose=False)
    assert before == [weight.requires_grad for weight in model.parameters()] and any(before)
    program = torch.export.load(path).module()
    for count in (4, 1, 0):
        found = program(torch.from_numpy(X[:count]))
        step = np.float32(1e-2) * np.eye(2, dtype="float32")
        up, down = (
            program(torch.from_numpy((X[:count, None] + s * step).reshape(-1, 2)))["u"]
            for s in (1, -1)
        )
        slopes = ((up - down) / 2e-2).detach().numpy().reshape(-1, 2)
        np.testing.assert_allclose(found["slope"].detach().numpy(), slopes, atol=1e-3)


@on_torch
def test_a_model_without_derivatives_is_left_to_keras(tmp_path):
    torch = importlib.import_module("torch")
    net = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    net.export(tmp_path / "plain.pt2", format="torch", verbose=False)
    program = torch.export.load(tmp_path / "plain.pt2").module()
    x = torch.from_numpy(X[:1])
    np.testing.assert_allclose(program(x).detach(), net.predict(X[:1], verbose=0), rtol=1e-6)


@on_torch
def test_a_litert_file_of_pytorch_holds_one_number_of_rows(tmp_path):
    need("litert")
    model, path = slope_model(), tmp_path / "slope.tflite"
    with pytest.warns(UserWarning, match="takes 1 rows, no more and no less"):
        kd.export(model, path, samples=X)
    given = [keras.layers.InputSpec(shape=(2, 2), dtype="float32", name="x")]
    with pytest.warns(UserWarning, match="takes 2 rows, no more and no less"):
        kd.export(model, path, samples=X, input_signature=given)
    with pytest.raises(ValueError, match="takes 2 rows, no more and no less: give that many"):
        kd.export(model, path, samples=X[:3], input_signature=given)


STACKS = {
    "grouped convolution": lambda: [layers.Conv2D(4, 2, strides=2, groups=2), layers.Flatten()],
    "dilated convolution": lambda: [layers.Conv2D(2, 2, dilation_rate=2), layers.Flatten()],
    "transposed convolution": lambda: [layers.Conv2DTranspose(1, 3, strides=2), layers.Flatten()],
    "separable convolution": lambda: [layers.SeparableConv2D(2, 2), layers.Flatten()],
    "pools": lambda: [layers.MaxPooling2D(2, 1), layers.AveragePooling2D(2, padding="same"), layers.Flatten()],
    "pools that leave out entries": lambda: [layers.AveragePooling2D(2, 3), layers.MaxPooling2D(1), layers.Flatten()],
    "pools of sequences": lambda: [layers.Reshape((8, 4)), layers.MaxPooling1D(3), layers.AveragePooling1D(2), layers.Flatten()],
    "pools of volumes": lambda: [layers.Reshape((4, 2, 2, 2)), layers.MaxPooling3D(2), layers.Conv3DTranspose(1, 2), layers.Flatten()],
}  # fmt: skip


QUICK = ("grouped convolution", "pools")


@on_torch
@pytest.mark.parametrize(
    "stack", [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in STACKS]
)
def test_gradients_that_no_format_has_are_made_of_others(stack):
    """A program for any number of rows, without an operation of a gradient in it."""
    programs = importlib.import_module("keras_derivs.backend.torch.program")
    torch = importlib.import_module("torch")
    given = keras.Input((4, 4, 2), name="x")
    y = given * ops.sin(given)
    for layer in STACKS[stack]():
        y = layer(y)
    net = keras.Model(given, layers.Dense(1)(y))
    model = keras.Model(given, kd.Hessian(net, strategy="reverse")(given))
    spec = keras.layers.InputSpec(shape=(None, 4, 4, 2), dtype="float32")
    program = programs.program(model, [spec])
    names = {str(node.target) for node in program.recorded.graph.nodes}
    assert not any("backward" in name for name in names), names
    x = np.random.default_rng(1).normal(size=(3, 4, 4, 2)).astype("float32")
    expected = model.predict(x, verbose=0)
    for rows in (3, 1, 0):
        found = program(torch.from_numpy(x[:rows])).detach().numpy()
        np.testing.assert_allclose(found, expected[:rows], atol=1e-5 * np.max(np.abs(expected)))


def _recurrent(jax, x):
    """Carries two tensors over the sequence, backward, and returns a sequence."""

    def step(carried, entry):
        low, high = carried
        return (jax.numpy.sin(low + entry), high * entry), low * high

    ones = jax.numpy.ones((2, 4))
    (low, high), steps = jax.lax.scan(step, (ones, 2 * ones), x.swapaxes(0, 1), reverse=True)
    return jax.numpy.sum(low + high + jax.numpy.sum(steps**2 * np.arange(4)[:, None, None], 0))


@on_jax
@pytest.mark.parametrize(
    "function",
    [
        lambda jax, x: jax.lax.pad(x, np.float32(0.5), [(0, 0, 0), (1, 2, 1), (0, -1, 2)]),
        lambda jax, x: jax.lax.pad(x, np.float32(0.5), [(1, 1, 3), (-1, 0, 0), (0, 0, 1)]),
        lambda jax, x: jax.grad(
            lambda x: jax.numpy.sum(
                jax.lax.conv_general_dilated(
                    x, x[:1] ** 2, (2,), "SAME", dimension_numbers=("WNC", "WIO", "NCW")
                )
            )
        )(x),
        lambda jax, x: jax.lax.reduce_window(
            x, np.float32(0), jax.lax.add, (1, 2, 3), (1, 1, 2), "SAME", None, (1, 2, 1)
        ),
        lambda jax, x: jax.lax.reduce_window(
            x, np.float32(0), jax.lax.add, (2, 1, 3), (1, 2, 1), "VALID", (1, 3, 1)
        ),
        lambda jax, x: jax.lax.dot_general(x[0], x[1, :, :3], (((0,), (0,)), ((), ()))),
        lambda jax, x: jax.lax.dot_general(x[0], x[1, :3], (((1,), (1,)), ((), ()))),
        lambda jax, x: jax.lax.dot_general(x[0, 0], x, (((0,), (1,)), ((), ()))),
        lambda jax, x: jax.lax.dot_general(x[:, :3], x[0], (((2,), (1,)), ((), ()))),
        lambda jax, x: jax.lax.dot_general(x[0, :, :2], x, (((1,), (0,)), ((0,), (2,)))),
        lambda jax, x: jax.lax.dot_general(x, x[:, :3], (((0, 2), (0, 2)), ((), ()))),
        lambda jax, x: jax.lax.dot_general(x, x, (((2, 0), (1, 0)), ((), ()))),
        lambda jax, x: jax.nn.relu(jax.jit(jax.numpy.sin)(x)),
        lambda jax, x: jax.grad(lambda x: _recurrent(jax, x))(x),
        lambda jax, x: jax.grad(lambda x: jax.grad(lambda x: _recurrent(jax, x))(x)[0, 1, 2])(x),
    ],
)
def test_a_program_in_what_the_converter_to_onnx_has(function):
    jax = importlib.import_module("jax")
    portable = importlib.import_module("keras_derivs.backend.jax.portable").portable
    x = np.random.default_rng(0).normal(size=(2, 4, 4)).astype("float32")
    program = portable(jax.make_jaxpr(lambda x: function(jax, x))(x), [x])
    found = jax.core.eval_jaxpr(program.jaxpr, program.consts, x)[0]
    np.testing.assert_allclose(found, function(jax, x), rtol=1e-6)
    for equation in program.eqns:
        assert equation.primitive.name not in (
            "jit", "pjit", "custom_jvp_call", "pad", "reduce_window_sum", "scan",
        )  # fmt: skip
        if equation.primitive.name == "dot_general":
            (of_x, of_y), (rows, others) = equation.params["dimension_numbers"]
            axes = range(equation.invars[0].aval.ndim)
            assert rows == others == tuple(axes[: len(rows)])
            assert of_x == tuple(axes[len(axes) - len(of_x) :])
            assert of_y == tuple(range(len(rows), len(rows) + len(of_y)))
        if equation.primitive.name == "conv_general_dilated":
            numbers = equation.params["dimension_numbers"]
            assert numbers.lhs_spec == numbers.rhs_spec == numbers.out_spec == (0, 1, 2)


@on_jax
def test_a_program_holds_nothing_twice_and_nothing_in_vain():
    jax = importlib.import_module("jax")
    portable = importlib.import_module("keras_derivs.backend.jax.portable").portable
    key = jax.random.key(0)

    def function(x, y):
        masks = [np.float32([1, 0]), np.float32([1, 0]), np.float32([1, -0.0])]
        parts = [mask * jax.numpy.sin(x) for mask in masks]
        jax.numpy.cos(x)
        low, high = x.astype("float16") * 0 + 1, x * 0 + 1
        noise = jax.random.normal(key, (2,)) + jax.random.normal(jax.random.key(1), (2,))
        return jax.lax.stop_gradient(sum(parts)) / y, 1 / parts[2], low, high, noise

    given = [np.float32([[0.5, 2], [1, 3]]), np.float32([[3, 1], [2, 7]])]
    program = portable(jax.make_jaxpr(function)(*given), given)
    names = [equation.primitive.name for equation in program.eqns]
    assert names.count("sin") == 1 and not {"cos", "stop_gradient"} & set(names)
    found = jax.core.eval_jaxpr(program.jaxpr, program.consts, *given)
    for y, e in zip(found, function(*given)):
        assert y.dtype == e.dtype
        np.testing.assert_allclose(y, e, rtol=1e-6)


@on_jax
def test_a_product_with_a_transposed_matrix_is_right_in_openvino(tmp_path):
    """As the gradient of a dense layer after a broadcast has it; OpenVINO computed another one."""
    need("openvino")
    x = keras.Input((3, 2))
    squares = ops.sum(ops.square(x[:, :, None] - x[:, None]), axis=-1, keepdims=True)
    y = ops.sum(layers.Dense(4, "tanh")(squares), axis=2)
    y = ops.sum(layers.Dense(1)(layers.Dense(4, "tanh")(layers.Dense(4)(y))), axis=1)
    model = keras.Model(x, {"y": y, "slope": kd.gradient(y, x, strategy="reverse")})
    kd.export(model, tmp_path / "model.xml")


@pytest.mark.slow
@on_jax
@pytest.mark.parametrize(
    "stack, advice",
    [
        (lambda: [layers.RepeatVector(65), layers.GRU(2)], "Make the layer with `unroll=True`"),
        (
            lambda: [layers.Reshape((2, 1)), layers.MaxPooling1D(2), layers.Flatten()],
            "Take `AveragePooling` instead",
        ),
    ],
)
def test_what_the_converter_of_jax_has_not_is_told_with_a_way_out(stack, advice, tmp_path):
    need("onnx")
    net = keras.Sequential([keras.Input((2,)), *stack(), layers.Dense(1)])
    model = keras.Model(net.inputs, kd.Gradient(net, strategy="reverse")(net.inputs[0]))
    with pytest.raises(ValueError, match=f"no file is left: .*{advice}"):
        kd.export(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@on_torch
def test_a_permuted_copy_of_a_weight_is_right_in_litert(tmp_path):
    """As the gradient of an unrolled LSTM has it, in which the converter swaps rows and columns."""
    need("litert")

    class Copied(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(3, 3))

        def call(self, x):
            copies = ops.broadcast_to(self.kernel, (2, 3, 3))
            return ops.sum(x[:, None, None] * ops.transpose(copies, (0, 2, 1)), axis=3)

    x = keras.Input((3,))
    y = layers.Flatten()(ops.sin(Copied()(x)))
    model = keras.Model(x, kd.gradient(layers.Dense(1)(y), x))
    with pytest.warns(UserWarning, match="takes 1 rows"):
        kd.export(model, tmp_path / "model.tflite")


@on_torch
def test_a_permutation_of_a_permuted_tensor_is_right_in_litert(tmp_path):
    """As second derivatives of attention have it: the converter drops it where lengths are equal."""
    need("litert")
    x = keras.Input((3, 3, 3))
    first = 0.8 * ops.transpose(x, (0, 2, 3, 1))
    y = ops.reshape(ops.transpose(ops.reshape(first, (-1, 3, 3)), (0, 2, 1)), (-1, 27))
    model = keras.Model(x, kd.gradient(layers.Dense(1)(ops.sin(y)), x))
    with pytest.warns(UserWarning, match="takes 1 rows"):
        kd.export(model, tmp_path / "model.tflite")

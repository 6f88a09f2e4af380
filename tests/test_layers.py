"""Every layer on every kind of model, against central differences and against each other."""

import keras
import numpy as np
import pytest
import truth
from framework import BACKEND, on_tensorflow, tf
from keras import ops
from models import MODELS, build, points
from truth import DIFFERENCES, EXACT, close, numpy

import keras_derivs as kd
from keras_derivs.graph.private import set_keras_mask
from keras_derivs.layers import direct

DTYPES = ("float32", "float64")


@pytest.mark.parametrize("strategy", ["auto", "tape"])
@pytest.mark.parametrize("name", MODELS)
def test_jacobian_and_hessian_match_central_differences(name, strategy):
    model, x = build(name, "float64")
    y = model(x)
    out = () if tuple(y.shape[1:]) in ((), (1,)) else tuple(y.shape[1:])
    jacobian = kd.Jacobian(model, strategy=strategy)(x)
    close(jacobian, truth.jacobian(truth.predict(model), x), DIFFERENCES[1])
    hessian = truth.hessian(truth.predict(model), x)
    hessian = hessian.reshape(len(x), *out, *x.shape[1:], *x.shape[1:])
    close(kd.Hessian(model, strategy=strategy)(x), hessian, DIFFERENCES[2])
    size = max(1, int(np.prod(x.shape[1:])))
    square = hessian.reshape(len(x), *out, size, size)
    diagonal = np.diagonal(square, axis1=-2, axis2=-1).reshape(len(x), *out, *x.shape[1:])
    close(kd.HessianDiagonal(model, strategy=strategy)(x), diagonal, DIFFERENCES[2])


def test_calls_that_need_nothing_around_them():
    model, x = build("scalar", "float32")
    x, layer, mixed = ops.convert_to_tensor(x), kd.Gradient(model), kd.Gradient(model)
    plain = keras.layers.Layer.__call__
    close(layer(x), plain(layer, x), EXACT["float32"])
    assert direct.possible(layer, (x,), {}) == (BACKEND != "torch")
    masked = ops.add(x, 0)
    set_keras_mask(masked, ops.ones((len(x),), "bool"))
    mixed.dtype_policy = "mixed_float16"
    with keras.StatelessScope():
        assert not direct.possible(layer, (x,), {})
    for other in (masked, ops.cast(x, "float64"), ops.convert_to_numpy(x), keras.Input((3,))):
        assert not direct.possible(layer, (other,), {})
    assert not direct.possible(layer, (x,), {"training": False})
    assert not direct.possible(mixed, (x,), {})


@on_tensorflow
def test_a_tape_around_an_eager_call():
    model, x = build("scalar", "float64")
    layer, x = kd.Gradient(model), tf.constant(x)
    loss = lambda: tf.reduce_sum(layer(x) ** 2)  # noqa: E731
    with tf.GradientTape() as tape:
        value = loss()
    kernel = model.trainable_variables[0]
    (slope,), start = tape.gradient(value, [kernel.value]), kernel.numpy()
    move = np.random.default_rng(0).normal(size=start.shape)
    sides = []
    for sign in (1, -1):
        kernel.assign(start + sign * 1e-5 * move)
        sides.append(float(loss()))
    close(np.sum(slope * move), (sides[0] - sides[1]) / 2e-5, DIFFERENCES[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "sequence"])
@pytest.mark.parametrize(
    "strategy, chunk_size", [("forward", None), ("forward", 2), ("tape", 1), ("reverse", 3)]
)
def test_strategies_and_chunks_agree(name, dtype, strategy, chunk_size):
    model, x = build(name, dtype)
    layer = kd.Jacobian(model, strategy=strategy, chunk_size=chunk_size)
    expected = kd.Jacobian(model, strategy="reverse")(x)
    close(layer(x), expected, EXACT[dtype])
    assert keras.backend.standardize_dtype(layer(x).dtype) == dtype


@pytest.mark.parametrize("name", ["sequential", "scalar", "image", "subclassed", "normalised"])
@pytest.mark.parametrize("layer", [kd.Hessian, kd.HessianDiagonal, kd.Laplacian])
@pytest.mark.parametrize("strategy", ["auto", "tape"])
def test_chunks_of_second_derivatives_agree(name, layer, strategy):
    model, x = build(name, "float64")
    chunked = layer(model, chunk_size=4, strategy=strategy)(x)
    close(chunked, layer(model)(x), EXACT["float64"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sequential", "image", "nested", "subclassed", "scalar_input"])
def test_products_match_their_matrices(name, dtype):
    if (name, dtype) == ("scalar_input", "float64") and not tf:
        pytest.skip("Keras declares its output to be in float32")
    model, x = build(name, dtype)
    y = model(x)
    v, w = points(x.shape, dtype, 1), points(y.shape, dtype, 2)
    batch = len(x)
    jacobian = np.reshape(truth.numpy(kd.Jacobian(model)(x)), (batch, w[0].size, v[0].size))
    flat_v, flat_w = v.reshape(batch, -1), w.reshape(batch, -1)
    product = np.einsum("bij,bj->bi", jacobian, flat_v).reshape(y.shape)
    close(kd.JVP(model)([x, v]), product, EXACT[dtype])
    product = np.einsum("bij,bi->bj", jacobian, flat_w).reshape(x.shape)
    close(kd.VJP(model)([x, w]), product, EXACT[dtype])
    component = None if w[0].size == 1 else (0,) * (w.ndim - 1)
    hessian = np.reshape(
        truth.numpy(kd.Hessian(model, component=component)(x)), (batch, v[0].size, v[0].size)
    )
    product = np.einsum("bjk,bk->bj", hessian, flat_v).reshape(x.shape)
    close(kd.HVP(model, component=component)([x, v]), product, EXACT[dtype])


TERMS = [(), (0,), (2,), (1, 1), (0, 2), (2, 0), (0, 1, 2), (1, 1, 1)]


@pytest.mark.parametrize("name", ["sequential", "scalar", "rank_one", "subclassed", "nested"])
@pytest.mark.parametrize("strategy, chunk_size", [("auto", None), ("tape", None), ("tape", 2)])
def test_partials_match_the_full_derivatives(name, strategy, chunk_size):
    model, x = build(name, "float64")
    found = kd.Partials(model, TERMS, strategy=strategy, chunk_size=chunk_size)(x)
    y = truth.predict(model)(x)
    shape = (-1, *y.shape[1:], 3)
    first = np.reshape(truth.numpy(kd.Jacobian(model)(x)), shape)
    second = np.reshape(truth.numpy(kd.Hessian(model, strategy="tape")(x)), (*shape, 3))
    third = truth.jacobian(lambda z: np.reshape(truth.numpy(kd.Hessian(model)(z)), (*shape, 3)), x)
    by_order = {0: y, 1: first, 2: second, 3: third}
    for term, value in zip(TERMS, found):
        expected = by_order[len(term)][(..., *term)]
        close(value, expected, DIFFERENCES[1] if len(term) == 3 else EXACT["float64"])


@pytest.mark.parametrize("name", [name for name in MODELS if name != "sequence"])
@pytest.mark.parametrize(
    "layer, options",
    [
        (kd.Jacobian, {}),
        (kd.SubJacobian, {"outputs": slice(None, 1)}),
        (kd.Hessian, {}),
        (kd.HessianDiagonal, {}),
    ],
)
def test_engines_agree(name, layer, options):
    model, x = build(name, "float64")
    if layer is kd.SubJacobian and len(model(x).shape) == 1:
        options = {}
    found = layer(model, strategy="taylor", **options)(x)
    close(found, layer(model, strategy="tape", **options)(x), EXACT["float64"])


def test_taylor_names_the_operation_it_lacks():
    model, _ = build("sequence", "float32")
    with pytest.raises(ValueError, match="(?s)Taylor rule.*lstm.*'auto'"):
        kd.Jacobian(model, strategy="taylor")


def test_auto_takes_the_cheapest_strategy_that_is_possible():
    model, _ = build("scalar", "float64")
    recurrent, _ = build("sequence", "float64")
    assert "'reverse' on the tape" in kd.Gradient(model).explain()
    assert "'taylor' on polynomials" in kd.Laplacian(model).explain()
    assert "5 passes (against 8 by 'reverse')" in kd.Laplacian(model).explain()
    assert "(against too many by 'taylor')" in kd.HessianDiagonal(recurrent).explain()
    recurrent = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3)])
    assert "stops at 'lstm" in kd.HessianDiagonal(recurrent).explain()
    assert "training mode" in kd.Laplacian(model, training=True).explain()
    wide, _ = build("sequential", "float64", num_outputs=50, num_inputs=20)
    assert "too many by 'taylor'" in kd.Hessian(wide).explain()


def test_auto_returns_to_the_tape_at_a_mask():
    x, v = points((2, 4, 2)), points((2, 4, 2), seed=1)
    layer = kd.JVP(keras.layers.GlobalAveragePooling1D())
    close(layer([x, v]), np.mean(v, axis=1), EXACT["float32"])
    assert "'taylor'" in layer.explain()
    masked = keras.ops.convert_to_tensor(x)
    masked._keras_mask = keras.ops.convert_to_tensor([[True, True, False, False]] * 2)
    close(layer([masked, v]), np.mean(v[:, :2], axis=1), EXACT["float32"])
    assert "stops at masked inputs" in layer.explain()


SELECTIONS = [
    (None, None), (1, 2), ([2, 0], range(1, 3)), (slice(None, None, 2), [-1]), (-1, slice(1, None)),
]  # fmt: skip


@pytest.mark.parametrize("strategy", ["auto", "reverse", "forward", "taylor"])
@pytest.mark.parametrize("outputs, inputs", SELECTIONS)
def test_sub_jacobian_is_the_selected_block(outputs, inputs, strategy):
    model, x = build("sequential", "float64", num_outputs=3, num_inputs=4)
    full = truth.numpy(kd.Jacobian(model)(x))
    rows = slice(None) if outputs is None else outputs
    columns = slice(None) if inputs is None else inputs
    rows = list(rows) if isinstance(rows, range) else rows
    columns = list(columns) if isinstance(columns, range) else columns
    expected = full[:, rows][..., columns]
    layer = kd.SubJacobian(model, outputs=outputs, inputs=inputs, strategy=strategy)
    close(layer(x), expected, EXACT["float64"])


def test_sub_jacobian_selects_each_axis_on_its_own():
    model, x = build("image", "float64")
    full = truth.numpy(kd.Jacobian(model)(x))
    block = kd.SubJacobian(model, outputs=[2, 0], inputs=(slice(1, 4), [0, 3], 1))(x)
    expected = full[np.ix_(range(2), [2, 0], range(1, 4), [0, 3], [1])][..., 0]
    close(block, expected, EXACT["float64"])


def test_only_what_is_selected_is_computed():
    model, _ = build("sequential", "float32", num_outputs=50, num_inputs=40)
    few_rows = kd.SubJacobian(model, outputs=[1, 2, 3])
    few_columns = kd.SubJacobian(model, inputs=[4, 5], strategy="tape")
    assert "'reverse'" in few_rows.explain() and "3 backward" in few_rows.explain()
    assert "'forward'" in few_columns.explain() and "2 tangent" in few_columns.explain()


@on_tensorflow
def test_a_pass_back_for_each_selected_row():
    model, _ = build("sequential", "float32", num_outputs=50, num_inputs=40)
    few_rows = kd.SubJacobian(model, outputs=[1, 2, 3])
    one, x = tf.function(lambda x: few_rows(x)), tf.zeros((5, 40))
    operations = one.get_concrete_function(x).graph.get_operations()
    products = [operation for operation in operations if operation.type == "MatMul"]
    assert len(products) == 2 + 3 * 2  # the forward pass, and one pass back for each row


@pytest.mark.parametrize("layer", [kd.Gradient, kd.Hessian, kd.HessianDiagonal, kd.Jacobian])
def test_value_and_derivative_come_from_one_pass(layer):
    calls = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            calls.append(x)
            return keras.ops.sum(keras.ops.sin(x), axis=-1, keepdims=True)

    model, x = Counted(), points((4, 3))
    both = layer(model, return_value=True)
    both(x)
    calls.clear()
    y, derivative = both(x)
    assert len(calls) == 1
    close(y, model(x), EXACT["float32"])
    close(derivative, layer(model)(x), EXACT["float32"])


def test_component_is_one_row():
    model, x = build("sequential", "float64")
    close(kd.Gradient(model, component=1)(x), kd.Jacobian(model)(x)[:, 1], EXACT["float64"])
    close(kd.Hessian(model, component=-1)(x), kd.Hessian(model)(x)[:, 1], EXACT["float64"])


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_small_batches(rows, chunk_size):
    model, x = build("sequential", "float32")
    x = x[:rows]
    assert kd.Jacobian(model, chunk_size=chunk_size)(x).shape == (rows, 2, 3)
    assert kd.Jacobian(model, strategy="forward", chunk_size=chunk_size)(x).shape == (rows, 2, 3)
    assert kd.Hessian(model, chunk_size=chunk_size)(x).shape == (rows, 2, 3, 3)
    assert kd.HessianDiagonal(model, chunk_size=chunk_size)(x).shape == (rows, 2, 3)
    assert kd.Partials(model, [(1, 1)], chunk_size=chunk_size)(x)[0].shape == (rows, 2)


def test_a_derivative_that_is_zero_is_zeros():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    assert np.all(numpy(kd.Hessian(model)(points((2, 3)))) == 0)
    first, third = map(numpy, kd.Partials(model, [(0,), (0, 1, 2)])(points((2, 3))))
    assert np.all(first != 0) and np.all(third == 0)


@on_tensorflow
def test_unknown_sequence_length_in_a_graph():
    model, x = build("sequence", "float32")
    layer = kd.Jacobian(model)
    signature = [tf.TensorSpec((None, None, 2), "float32")]
    graph = tf.function(lambda x: layer(x), input_signature=signature)
    for length in (3, 4):
        close(graph(x[:, :length]), layer(x[:, :length]), EXACT["float32"])

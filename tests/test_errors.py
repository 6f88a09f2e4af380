"""Wrong inputs: one row each, with the words that the message must hold."""

import keras
import numpy as np
import pytest
from framework import BACKEND, gradients, tf
from keras import layers, ops
from models import points
from truth import EXACT, close

import keras_derivs as kd


def net(num_outputs=3):
    return keras.Sequential(
        [keras.Input((2,)), layers.Dense(4, "tanh"), layers.Dense(num_outputs, name="last")]
    )


def symbolic():
    x = keras.Input((2,), name="point")
    return net()(x), x


def lone():
    return keras.Input((2,), name="lone")


class TimesBatchMean(layers.Layer):
    def call(self, x):
        return x * ops.mean(x, axis=0, keepdims=True)


class Flipped(layers.Layer):
    def call(self, x):
        return x + ops.flip(x, axis=0)


def coupled(layer):
    return keras.Sequential([keras.Input((2,)), layers.Dense(2), layer, layers.Dense(1)])


def of_input(dtype=None, **kwargs):
    x = keras.Input((4,), dtype=dtype, **kwargs)
    y = layers.Lambda(lambda x: ops.ones((2, 1)), output_shape=(1,))(x)
    return keras.Model(x, y)


def embedding():
    ids = layers.Embedding(5, 3)
    return keras.Sequential(
        [keras.Input((4,), dtype="int32"), ids, layers.Flatten(), layers.Dense(1)]
    )


def argmax():
    return keras.Sequential(
        [keras.Input((4,)), layers.Lambda(lambda x: ops.cast(ops.argmax(x, -1), "float32"))]
    )


def two_outputs():
    x = keras.Input((2,))
    return keras.Model(x, {"p": layers.Dense(1)(x), "q": layers.Dense(1)(x)})


def two_inputs():
    x, z = keras.Input((2,), name="x"), keras.Input((3,), name="z")
    return keras.Model([x, z], [layers.Dense(1, name="p")(x), layers.Dense(1, name="q")(z)])


def ids_beside_numbers(num_floats=1):
    ids = keras.Input((4,), dtype="int32", name="ids")
    found = layers.Flatten()(layers.Embedding(5, 3)(ids))
    numbers = [keras.Input((12,), name=f"x{n}") for n in range(num_floats)]
    return keras.Model([*numbers, ids], layers.Dense(1)(layers.Add()([*numbers, found])))


def empty(num_inputs, num_outputs):
    x = keras.Input((num_inputs,), name="nothing")
    return keras.Model(x, ops.concatenate([x] * num_outputs, axis=1) if num_outputs else x[:, :0])


def inverse():
    x = keras.Input((4,))
    y = ops.linalg.inv(ops.reshape(x, (-1, 2, 2)))
    return keras.Model(x, ops.sum(y, axis=(1, 2))[:, None], name="inverse")


def sequence(function):
    x = keras.Input((5, 2))
    return keras.Model(x, function(x))


def operator():
    f, x = keras.Input((3,)), keras.Input((2,))
    return keras.Model(
        [f, x], ops.einsum("bk,pk->bp", layers.Dense(4)(f), layers.Dense(4, "tanh")(x))
    )


def float8():
    layer = layers.Dense(1, name="eight")
    model = keras.Sequential([keras.Input((2,)), layer])
    layer.quantize("float8")
    return model


TENSOR = type(ops.ones(1)).__name__
ROWS = {
    "vector output": (lambda: kd.Gradient(net()), ValueError, "scalar output.*(None, 3).*component=.*Jacobian"),
    "vector y": (lambda: kd.gradient(*symbolic()), ValueError, "scalar output.*component="),
    "vector HVP": (lambda: kd.HVP(net()), ValueError, "scalar output"),
    "independent y": (lambda: kd.gradient(symbolic()[0], lone()), ValueError, "no path.*"),
    "both are named": (lambda: kd.gradient(symbolic()[0], lone()), ValueError, "made by 'sequential.*'lone'"),
    "one of several": (lambda: kd.gradient(symbolic()[0], [symbolic()[1], lone()]), ValueError, "no path"),
    "one depends on another": (
        lambda: kd.jacobian(*(lambda y, x: (layers.Dense(1)(y), [x, y]))(*symbolic())),
        ValueError, "independent of each other",
    ),
    "integer input": (lambda: kd.Gradient(embedding()), TypeError, "float dtype.*int32.*embedding"),
    "integer beside one": (lambda: kd.Gradient(ids_beside_numbers()), TypeError, "'ids' of dtype int32.*wrt='x0'"),
    "integer beside two": (lambda: kd.Hessian(ids_beside_numbers(2)), TypeError, r"'ids'.*wrt=\['x0', 'x1'\]"),
    "string input": (lambda: kd.Gradient(of_input("string")), TypeError, "float dtype.*string"),
    "complex input": (lambda: kd.Gradient(of_input("complex64")), TypeError, "float dtype.*complex64"),
    "integer numbers": (lambda: kd.Jacobian(net())(np.ones((2, 2), int)), TypeError, "float dtype"),
    "vector penalty": (lambda: kd.GradientPenalty(net()), ValueError, "scalar output.*component="),
    "negative target": (lambda: kd.GradientPenalty(net(1), target=-1), ValueError, "target=.*least 0.*-1"),
    "target in words": (lambda: kd.gradient_penalty(*symbolic(), target="one"), TypeError, "target=.*'one'"),
    "no number as target": (lambda: kd.GradientPenalty(net(1), target=np.nan), ValueError, "target=.*finite.*nan"),
    "not square": (lambda: kd.LogDeterminant(net(3)), ValueError, "as many outputs as inputs.*(None, 3)"),
    "no field": (lambda: kd.Divergence(net(3), num_samples=2), ValueError, "vector field.*(None, 3)"),
    "no samples": (lambda: kd.JacobianPenalty(net(), num_samples=0), ValueError, "num_samples=.*positive.*0"),
    "samples by forward": (
        lambda: kd.JacobianPenalty(net(), num_samples=2, strategy="forward"), ValueError, "strategy=.*forward",
    ),
    "unknown sampling": (
        lambda: kd.Laplacian(net(), num_samples=2, sampling="columns"), ValueError, "sampling=.*'columns'",
    ),
    "sampling nothing": (
        lambda: kd.Laplacian(net(), sampling="coordinates"), ValueError, "sampling=.*num_samples=",
    ),
    "open output": (
        lambda: kd.JacobianPenalty(keras.Sequential([keras.Input((None, 2)), layers.Dense(2)]), num_samples=2),
        ValueError, "num_samples=.*axes are known.*(None, None, 2)",
    ),
    "no gradient": (lambda: kd.Gradient(argmax()), ValueError, "differentiable operations.*argmax"),
    "out of range": (lambda: kd.SubJacobian(net(), outputs=[5]), ValueError, r"outputs=.*-3 to 2.*\[5\]"),
    "far below": (lambda: kd.SubJacobian(net(), inputs=-3), ValueError, r"inputs=.*-2 to 1"),
    "repeated": (lambda: kd.SubJacobian(net(), outputs=[1, 1]), ValueError, "every index once"),
    "repeated from the end": (lambda: kd.SubJacobian(net(), outputs=[1, -2]), ValueError, "every index once"),
    "wrong rank": (lambda: kd.SubJacobian(net(), outputs=(1, 1)), ValueError, "one selection per axis"),
    "empty": (lambda: kd.SubJacobian(net(), inputs=[]), ValueError, "at least one index"),
    "empty slice": (lambda: kd.SubJacobian(net(), inputs=slice(7, 9)), ValueError, "at least one index"),
    "no axes": (lambda: kd.SubJacobian(net(), inputs=()), ValueError, "index per axis"),
    "name for index": (lambda: kd.SubJacobian(net(), inputs="x"), TypeError, "integer indices.*'x'"),
    "mask for index": (lambda: kd.SubJacobian(net(), inputs=[True, False]), TypeError, "integer indices"),
    "float index": (lambda: kd.SubJacobian(net(), inputs=1.0), TypeError, "integer indices"),
    "batch mean": (lambda: kd.Jacobian(coupled(TimesBatchMean(name="mixer"))), ValueError, "rows.*'mixer'"),
    "batch flip": (lambda: kd.Gradient(coupled(Flipped(name="mixer"))), ValueError, "rows.*'mixer'"),
    "batch normalisation": (
        lambda: kd.Gradient(coupled(layers.BatchNormalization(name="mixer")), training=True),
        ValueError, "rows.*'mixer'.*training=False",
    ),
    "coupled symbolic": (
        lambda: kd.jacobian(*(lambda x: (TimesBatchMean(name="mixer")(x), x))(lone())), ValueError, "rows.*mixer",
    ),
    "a function": (lambda: kd.Jacobian(lambda x: x), TypeError, "keras.layers.Layer.*function"),
    "a name": (lambda: kd.Gradient("net"), TypeError, "keras.layers.Layer.*'net'"),
    "numpy for symbolic": (lambda: kd.gradient(np.ones((2, 1)), np.ones((2, 1))), TypeError, r"ndarray.*Gradient\(model\)"),
    "eager for symbolic": (lambda: kd.jacobian(ops.ones((2, 1)), lone()), TypeError, rf"{TENSOR}.*Jacobian\(model\)"),
    "unknown strategy": (lambda: kd.Jacobian(net(), strategy="magic"), ValueError, "strategy=.*'magic'"),
    "strategy elsewhere": (lambda: kd.Hessian(net(), strategy="forward"), ValueError, "strategy=.*'forward'"),
    "typo of a strategy": (lambda: kd.Jacobian(net(), strategy="tylor"), ValueError, "'tylor'.*Did you mean 'taylor'"),
    "list of strategies": (lambda: kd.Jacobian(net(), strategy=["taylor"]), ValueError, "strategy=.*taylor"),
    "typo of an argument": (lambda: kd.Jacobian(net(), stratgy="taylor"), TypeError, "stratgy='taylor'.*Did you mean `strategy`"),
    "argument of others": (lambda: kd.Jacobian(net(), samples=3), TypeError, "Jacobian.*samples=3.*It takes model"),
    "argument of a function": (lambda: kd.hessian(*symbolic(), chunksize=3), TypeError, "Did you mean `chunk_size`"),
    "seed": (lambda: kd.Laplacian(net(), num_samples=2, seed=1.5), ValueError, "seed=.*32 bits.*1.5"),
    "not dependent": (
        lambda: kd.Gradient(two_inputs(), wrt="z", output="p"), ValueError, r"'gradient.*made by 'p'.*'z'.*no path",
    ),
    "not dependent on all": (lambda: kd.Gradient(two_inputs(), output="q"), ValueError, r"made by 'q'.*'x'.*no path"),
    "no entries of x": (lambda: kd.Jacobian(empty(0, 2)), ValueError, r"at least one entry.*'nothing'.*\(None, 0\)"),
    "no entries of y": (lambda: kd.Laplacian(empty(2, 0)), ValueError, r"output with at least one entry.*\(None, 0\)"),
    "float8": (lambda: kd.Gradient(float8()), ValueError, "'eight'.*float8.*int8"),
    "called on nothing": (lambda: kd.Jacobian(net())(), TypeError, "one argument.*0"),
    "called on None": (lambda: kd.Jacobian(net())(None), TypeError, "tensors or arrays.*None"),
    "called on a number": (lambda: kd.Jacobian(net())(1.0), TypeError, "tensors or arrays.*1.0"),
    "called on a list": (lambda: kd.Jacobian(net())([[1.0, 2.0]]), TypeError, r"tensors or arrays.*numpy.array"),
    "called on a name": (lambda: kd.Jacobian(net())("x"), TypeError, "tensors or arrays.*'x'"),
    "two arguments": (lambda: kd.Jacobian(net())(points((2, 2)), points((2, 2))), TypeError, "one argument.*2.*list"),
    "two for one": (lambda: kd.Jacobian(net())([points((2, 2))] * 2), ValueError, "1 inputs.*2 tensors"),
    "width": (lambda: kd.Jacobian(net())(points((2, 3))), ValueError, r"\(None, 2\).*\(2, 3\)"),
    "rank": (lambda: kd.Jacobian(net())(points((2, 3, 2))), ValueError, r"\(None, 2\).*\(2, 3, 2\)"),
    "one sample": (lambda: kd.Jacobian(net())(points(2)), ValueError, r"\(None, 2\).*\(2,\)"),
    "symbolic width": (lambda: kd.Jacobian(net())(keras.Input((3,))), ValueError, r"\(None, 2\).*\(None, 3\)"),
    "no x": (lambda: kd.gradient(symbolic()[0], []), ValueError, "at least one tensor x"),
    "no chunk": (lambda: kd.Jacobian(net(), chunk_size=0), ValueError, "chunk_size=.*positive.*0"),
    "part of a chunk": (lambda: kd.Jacobian(net(), chunk_size=2.5), ValueError, "chunk_size=.*2.5"),
    "unknown input": (lambda: kd.Jacobian(net(), wrt="foo"), ValueError, "wrt=.*'foo'"),
    "no input": (lambda: kd.Jacobian(net(), wrt=[]), ValueError, "wrt=.*empty"),
    "float for input": (lambda: kd.Jacobian(net(), wrt=0.5), TypeError, "wrt=.*0.5"),
    "unknown output": (lambda: kd.Jacobian(net(), output=3), ValueError, "output=.*3"),
    "which output": (lambda: kd.Gradient(two_outputs()), ValueError, r"\['p', 'q'\].*output="),
    "no such component": (lambda: kd.Gradient(net(), component=7), ValueError, "component=.*7"),
    "component of a name": (lambda: kd.Gradient(net(), component="a"), TypeError, "component="),
    "float labels": (
        lambda: kd.Gradient(net(), component="labels")([points((2, 2)), points(2)]), TypeError, "integer labels.*float",
    ),
    "symbolic float labels": (
        lambda: kd.gradient(*symbolic(), component=keras.Input(())), TypeError, "integer labels.*dtype='int32'",
    ),
    "one-hot labels": (
        lambda: kd.Hessian(net(), component="labels")([points((2, 2)), np.eye(2, dtype=int)]), ValueError,
        r"one label for each row.*\(2, 2\)",
    ),
    "too few labels": (
        lambda: kd.Gradient(net(), component="labels")([points((2, 2)), np.array([1])]), ValueError, "1 labels for 2 rows",
    ),
    "no symbolic terms": (lambda: kd.partials(symbolic()[0]), ValueError, "at least one term"),
    "an order for a coordinate": (lambda: kd.diff(*symbolic(), 2), TypeError, r"Received: 2.*diff\(u, x, x\)"),
    "no labels": (lambda: kd.Gradient(net(), component="labels")(points((2, 2))), ValueError, r"called on \[x, labels\]"),
    "large label": (
        lambda: kd.Gradient(net(), component="labels")([points((2, 2)), np.array([0, 3])]), ValueError,
        r"labels from 0 to 2.*\[3\]",
    ),
    "labels of an image": (
        lambda: kd.Gradient(keras.Sequential([keras.Input((2, 2)), layers.Dense(3)]), component="labels"), ValueError,
        r"one axis per sample.*\(None, 2, 3\)",
    ),
    "labels for a product": (
        lambda: kd.HVP(net(), component="labels")([points((2, 2)), np.array([0, 1])]), ValueError, r"called on \[x, v\]",
    ),
    "three batch axes": (lambda: kd.Gradient(net(1), batch_dims=3), ValueError, "batch_dims=.*needs 1, or 2.*3"),
    "no axis of places": (lambda: kd.Jacobian(net(), batch_dims=2), ValueError, r"batch_dims=2.*\(places, d\)"),
    "places in y alone": (
        lambda: kd.Gradient(sequence(lambda x: ops.sum(x, axis=1)), batch_dims=2), ValueError,
        r"\(batch, places, d\).*Received: y of shape \(None, 2\) and x of shapes \[\(None, 5, 2\)\]",
    ),
    "coupled places": (
        lambda: kd.Jacobian(sequence(layers.GRU(2, return_sequences=True, name="gru")), batch_dims=2), ValueError,
        "layer 'gru'.*axis 1",
    ),
    "flipped places": (
        lambda: kd.Jacobian(sequence(lambda x: ops.flip(x, axis=1)), batch_dims=2), ValueError, "'flip.*axis 1",
    ),
    "coupled rows of places": (
        lambda: kd.Jacobian(sequence(TimesBatchMean(name="mixer")), batch_dims=2), ValueError, "'mixer'.*batch",
    ),
    "some places": (
        lambda: kd.jacobian(*(lambda x: (ops.sin(x), x[:, :2]))(keras.Input((5, 2))), batch_dims=2), ValueError,
        "same entries at each place",
    ),
    "product of shared places": (
        lambda: kd.VJP(operator(), wrt=1, batch_dims=2), ValueError, r"\(batch, places, d\).*Jacobian",
    ),
    "no such feature": (lambda: kd.Partials(net(), [(2,)]), ValueError, "features from 0 to 1.*2"),
    "negative feature": (lambda: kd.Partials(net(), [(-1,)]), TypeError, "non-negative"),
    "term of a number": (lambda: kd.Partials(net(), [0]), TypeError, "tuple of non-negative"),
    "no terms": (lambda: kd.Partials(net(), []), ValueError, "terms=.*list"),
    "no named terms": (lambda: kd.Partials(net(), {}), ValueError, "terms=.*dict"),
    "a number for a name": (lambda: kd.Partials(net(), {1: (0,)}), TypeError, "names.*Received: 1.*'u_t'"),
    "a path for a name": (lambda: kd.partials(symbolic()[0], {"u/t": ()}), TypeError, "without a slash.*'u/t'"),
    "a list for a term": (lambda: kd.partials(symbolic()[0], {"u": [lone()]}), TypeError, "tuple of coordinates"),
    "infinite coefficient": (lambda: kd.Partials(net(), [{(0,): np.inf}]), ValueError, "finite number.*inf"),
    "coefficients of a name": (lambda: kd.Partials(net(), [{(0,): "c"}]), ValueError, "finite number.*'c'"),
    "no sum": (lambda: kd.Partials(net(), [{}]), ValueError, "not all of them zero.*Received: {}"),
    "a sum of nothing": (lambda: kd.Partials(net(), [{(0, 1): 1, (1, 0): -1}]), ValueError, "not all of them zero"),
    "a sum of numbers": (lambda: kd.Partials(net(), [{0: 1.0}]), TypeError, "tuple of non-negative.*0"),
    "weights without terms": (lambda: kd.Partials(net(), [{"terms": [(0,)], "weights": []}]), ValueError, "number for each"),
    "a sum of names": (lambda: kd.partials(symbolic()[0], (), {"u": 1.0}), TypeError, "dict of tuples.*'u'"),
    "term of a tensor": (lambda: kd.partials(*symbolic()), TypeError, "tuple of coordinates"),
    "vector coordinate": (lambda: kd.diff(*symbolic()), ValueError, "one number per sample.*point"),
    "no coordinate": (lambda: kd.diff(symbolic()[0]), ValueError, "at least one coordinate"),
    "no vector": (lambda: kd.JVP(net())(points((2, 2))), ValueError, r"\[x, v\]"),
    "vectors of v": (lambda: kd.JVP(net())([points((2, 2)), points(3)]), ValueError, r"'jvp' needs v.*\(2, 2\).*\(2,\).*\(3,\)"),
    "batch of v": (lambda: kd.JVP(net())([points((4, 2)), points((3, 2))]), ValueError, r"\(4, 2\).*\(3, 2\)"),
    "numbers of rows": (lambda: kd.VJP(net())([points((4, 2)), points(4)]), ValueError, r"\(3,\).*\(4,\)"),
    "complex v": (lambda: kd.HVP(net(1))([points((2, 2)), 1j * points((2, 2))]), TypeError, "real numbers.*complex"),
    "constant v": (lambda: kd.JVP(net(), vectors=[1, 2, 3]), ValueError, r"'jvp' needs v.*\(2,\).*\(3,\)"),
    "infinite v": (lambda: kd.JVP(net(), vectors=[1, np.inf]), TypeError, "vectors=.*finite"),
    "name for v": (lambda: kd.JVP(net(), vectors="v"), TypeError, "vectors=.*'v'"),
    "no name for v": (lambda: kd.JVP(net(), vectors=""), TypeError, "vectors=.*finite.*Received"),
    "no vectors for v": (lambda: kd.HVP(net(), vectors={}), TypeError, "vectors=.*finite.*Received"),
    "constant beside y": (lambda: kd.vjp(*symbolic(), np.ones(2)), ValueError, r"the output.*\(3,\).*\(2,\)"),
    "symbolic v": (lambda: kd.jvp(*symbolic(), keras.Input((3,))), ValueError, r"shape of x.*\(None, 3\)"),
    "shape of v": (lambda: kd.JVP(net())([points((2, 2)), points((2, 3))]), ValueError, "v of the shape of x"),
    "shape of w": (lambda: kd.VJP(net())([points((2, 2)), points((2, 2))]), ValueError, "v of the shape of the output"),
}  # fmt: skip


OF_SPARSE = {"sparse input": (lambda: kd.Gradient(of_input(sparse=True)), TypeError, "dense")}
OF_TENSORFLOW = {  # which alone has such tensors, and refuses to invert singular matrices
    "ragged input": (lambda: kd.Gradient(of_input(ragged=True)), TypeError, "dense"),
    "singular matrix": (
        lambda: kd.Gradient(inverse())(np.ones((2, 4), "float32")), ValueError, "inverted.*'inverse'.*singular",
    ),
    "sparse numbers": (
        lambda: kd.Jacobian(net())(tf.sparse.from_dense(np.eye(2, dtype="float32"))), TypeError, "dense",
    ),
    "ragged numbers": (lambda: kd.Jacobian(net())(tf.ragged.constant([[1.0], [2.0, 3.0]])), TypeError, "dense"),
}  # fmt: skip
if tf:
    ROWS |= OF_TENSORFLOW
if BACKEND != "torch":
    ROWS |= OF_SPARSE


@pytest.mark.parametrize("name", ROWS)
def test_wrong_input(name):
    make, error, words = ROWS[name]
    with pytest.raises(error, match=f"(?s){words}"):
        make()


def test_an_unknown_length_cannot_be_sliced_off():
    x = keras.Input((None, 3))
    y = layers.GRU(2)(x)
    with pytest.raises(ValueError, match="whole tensor and slice the result"):
        kd.jacobian(y, x[:, :, 0:1])
    with pytest.raises(ValueError, match="axes are known"):
        kd.SubJacobian(keras.Model(x, y), inputs=(0, 1))


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_the_derivative_of_quantised_layers_is_called_an_estimate(mode):
    model = net(1)
    model.quantize(mode)
    with pytest.warns(UserWarning, match=f"'last' .{mode}.*straight-through estimate"):
        layer = kd.Gradient(model)
    x = points((3, 2), "float32")
    assert "straight-through" in layer.explain()
    given = keras.Variable(x)
    (expected,) = gradients(lambda: ops.sum(model(given.value)), [given])
    close(layer(x), expected, EXACT["float32"])

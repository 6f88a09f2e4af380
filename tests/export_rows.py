"""Small models to be exported, and the derivatives of each."""

import keras
import numpy as np
from keras import layers, ops

import keras_derivs as kd

NUM_SAMPLES = 7


def exact_gelu(x):
    return keras.activations.gelu(x, approximate=False)


def _sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack, layers.Dense(1)])


def _dense(activation):
    return _sequential((3,), layers.Dense(6, activation))


def _recurrent(layer, unroll):
    return _sequential((2, 2), layer(2, unroll=unroll))


def _convolution():
    convolution = layers.Conv2D(2, 3, strides=2, padding="same", activation="tanh")
    return _sequential((4, 4, 1), convolution, layers.Flatten())


def _pooling():
    pool = [layers.MaxPooling2D(2), layers.AveragePooling2D(2, padding="same")]
    convolution = layers.DepthwiseConv2D(2, padding="same", activation="tanh")
    return _sequential((3, 3, 2), convolution, *pool, layers.Flatten())


def _attention():
    x = keras.Input((2, 2))
    y = layers.MultiHeadAttention(2, 2)(x, x)
    return keras.Model(x, layers.Dense(1)(layers.Flatten()(y)))


def _class_activation():
    """Grad-CAM: a feature map, weighted by the gradient of a class score."""
    image = keras.Input((6, 6, 1))
    maps = layers.Conv2D(3, 3, activation="swish")(image)
    scores = layers.Dense(2)(layers.Flatten()(layers.AveragePooling2D(2)(maps)))
    weights = kd.gradient(scores[:, 1:2], maps)
    heat = ops.sum(maps * ops.mean(weights, axis=(1, 2), keepdims=True), axis=-1)
    return keras.Model(image, {"scores": scores, "heat": ops.relu(heat)})


def _forces():
    """Energy and forces of three atoms, by filters of their distances as in SchNet."""
    x = keras.Input((3, 3))
    squares = ops.sum(ops.square(x[:, :, None] - x[:, None]), axis=-1, keepdims=True)
    filters = layers.Dense(4, "softplus")(
        ops.exp(-squares * np.linspace(0.5, 2, 4, dtype="float32"))
    )
    atoms = layers.Dense(4)(ops.ones_like(x[:, :, :1]))
    atoms = layers.Dense(4, "softplus")(ops.sum(filters * atoms[:, None], axis=2))
    return keras.Model(x, ops.sum(layers.Dense(1)(atoms), axis=1))


ROWS = {
    "Dense, tanh": lambda: _dense("tanh"),
    "Dense, exact gelu": lambda: _dense(exact_gelu),
    "Dense, swish": lambda: _dense("swish"),
    "Dense, softplus": lambda: _dense("softplus"),
    "Dense, sine": lambda: _dense(ops.sin),
    "Dense, relu": lambda: _dense("relu"),
    "Conv2D": _convolution,
    "DepthwiseConv2D and pooling": _pooling,
    "LayerNormalization": lambda: _sequential((4,), layers.Dense(6, "tanh"), layers.LayerNormalization()),
    "GroupNormalization": lambda: _sequential((3, 4), layers.GroupNormalization(2), layers.Dense(3, "tanh"), layers.Flatten()),
    "BatchNormalization": lambda: _sequential((4,), layers.Dense(6, "tanh"), layers.BatchNormalization()),
    "MultiHeadAttention": _attention,
    "LSTM, unrolled": lambda: _recurrent(layers.LSTM, True),
    "LSTM": lambda: _recurrent(layers.LSTM, False),
    "GRU, unrolled": lambda: _recurrent(layers.GRU, True),
    "GRU": lambda: _recurrent(layers.GRU, False),
    "forces, as SchNet's": _forces,
    "Grad-CAM": _class_activation,
}  # fmt: skip
ITSELF = ("Grad-CAM",)  # rows whose model holds the derivative
TERMS = [(0,), (0, 1), (0, 0, 2)]
PRODUCTS = {"taylor": "taylor", "reverse": "tape", "auto": "auto"}
KINDS = {
    "Gradient": lambda net, x, s: kd.Gradient(net, strategy=s)(x),
    "Jacobian": lambda net, x, s: kd.Jacobian(net, strategy=s)(x),
    "SubJacobian": lambda net, x, s: kd.SubJacobian(net, inputs=_some(x), strategy=s)(x),
    "Hessian": lambda net, x, s: kd.Hessian(net, strategy=s)(x),
    "Laplacian": lambda net, x, s: kd.Laplacian(net, strategy=s)(x),
    "Partials": lambda net, x, s: ops.concatenate(kd.Partials(net, TERMS, strategy=s)(x), axis=1),
    "JVP": lambda net, x, s: kd.JVP(net, strategy=PRODUCTS[s])([x, ops.cos(x)]),
    "VJP": lambda net, x, s: kd.VJP(net)([x, ops.cos(net(x))]),
}


def _some(x):
    """Two features, and the first entry of all other axes."""
    return [0, 2] if len(x.shape) == 2 else (*[0] * (len(x.shape) - 2), slice(0, 2))


def with_derivatives(row, strategy, kinds=tuple(KINDS)):
    """A model of value and derivatives, and samples."""
    keras.utils.set_random_seed(1)
    net = ROWS[row]()
    shape = net.inputs[0].shape[1:]
    samples = np.random.default_rng(1).normal(size=(NUM_SAMPLES, *shape)).astype("float32")
    if row in ITSELF:
        return net, samples
    x = keras.Input(shape, name="x")
    outputs = {kind: KINDS[kind](net, x, strategy) for kind in kinds}
    return keras.Model(x, {"value": net(x), **outputs}), samples

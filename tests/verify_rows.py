"""Models for `verify`: right ones, and ones with a fault. name -> function -> (model, inputs)."""

import keras
import numpy as np
from framework import by_numpy, with_gradient
from keras import layers, ops
from models import points

import keras_derivs as kd


@keras.saving.register_keras_serializable(package="verify_rows")
class Of(layers.Layer):
    """A layer of one function, which is its config."""

    def __init__(self, function, name=None):
        super().__init__(name=name)
        self.function = function

    def call(self, x):
        return self.function(x)

    def get_config(self):
        return {"function": self.function, "name": self.name}


def stack(shape, *parts, x=None, count=3):
    """A model of layers and functions in a row, and points for it."""
    inputs = y = keras.Input(shape)
    for part in parts:
        y = part(y) if isinstance(part, layers.Layer) else Of(part)(y)
    return keras.Model(inputs, y), points((count, *shape)) if x is None else np.asarray(x)


def of(function, x=None, width=3):
    """A function alone, at some points."""
    return lambda: stack((width,), function, x=x)


def between_layers(function):
    return lambda: stack(
        (3,),
        layers.Dense(4, "tanh", name="before"),
        Of(function, "planted"),
        layers.Dense(2, "tanh"),
    )


dense = layers.Dense


def with_activation(name, x=None):
    return lambda: stack((3,), dense(5), layers.Activation(name), dense(2), x=x)


def scaled(factor):
    def make():
        model, x = stack((3,), layers.Rescaling(1 / factor), dense(4, "tanh"), dense(2))
        return model, factor * x

    return make


def features_of_many_scales():
    factors = np.array([1e-6, 1.0, 1e6])
    return stack((3,), lambda x: ops.divide(x, factors.astype("float32")), dense(4, "tanh"), dense(2),
                 x=points((4, 3)) * factors)  # fmt: skip


def outputs_of_many_scales(count=3):
    weights = (10.0 ** np.linspace(-6, 6, count)).astype("float32")
    return stack((3,), dense(5, "tanh"), dense(count), lambda x: ops.multiply(x, weights))


def several():
    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((3,), name="b")}
    h = dense(4, "tanh")(ops.concatenate([inputs["a"], ops.sin(inputs["b"])], 1))
    model = keras.Model(inputs, {"u": dense(1)(h), "v": 1e-5 * dense(2)(h)})
    return model, {"a": points((3, 2)), "b": points((3, 3), seed=1)}


def masked():
    x = points((3, 5, 2))
    x[0, 3:] = 0
    x[2, 1:] = 0
    return stack((5, 2), layers.Masking(), layers.LSTM(3), dense(1), x=x)


def embedded():
    numbers, x = keras.Input((4,), dtype="int32"), keras.Input((4, 2))
    h = layers.Embedding(5, 2)(numbers) * x
    model = keras.Model([numbers, x], dense(1)(layers.Flatten()(ops.tanh(h))))
    return model, [np.array([[0, 1, 4, 2]] * 3), points((3, 4, 2))]


def coordinates():
    tx = keras.Input((2,))
    u = dense(1)(dense(6, "tanh")(tx))
    u_t, u_xx = kd.partials(u, (tx[:, :1],), (tx[:, 1:], tx[:, 1:]))
    return keras.Model(tx, [u, u_t + u * u_xx]), points((3, 2))


def nested_derivatives():
    x = keras.Input((2,))
    u = dense(1)(dense(5, "tanh")(x))
    return keras.Model(x, kd.gradient(kd.laplacian(u, x), x)), points((3, 2))


def derivative_layer(make, outputs=1, inputs=3, vector=False):
    def build():
        net = keras.Sequential([keras.Input((inputs,)), dense(5, "tanh"), dense(outputs)])
        x = points((3, inputs))
        return make(net), [x, points((3, inputs), seed=2)] if vector else x

    return build


@keras.saving.register_keras_serializable(package="verify_rows")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = dense(4, "tanh"), dense(2)

    def call(self, x):
        return self.second(self.first(x) + ops.sin(x[:, :1]))


def shared_layer():
    x, layer = keras.Input((3,)), dense(3, "tanh")
    return keras.Model(x, layer(layer(layer(x)))), points((3, 3))


def residual_blocks():
    y = inputs = keras.Input((4,))
    for _ in range(12):
        y = y + dense(4)(layers.LayerNormalization()(ops.silu(y)))
    return keras.Model(inputs, y), points((3, 4))


def attention():
    x = keras.Input((4, 4))
    y = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 2)(x, x))
    return keras.Model(x, dense(1)(layers.Flatten()(y))), points((3, 4, 4))


def float64_model():
    model = keras.Sequential(
        [keras.Input((3,), dtype="float64"), dense(4, "tanh", dtype="float64")]
    )
    return model, points((3, 3), "float64")


def cubic_spline(x):
    return sum(ops.relu(x - knot) ** 3 * weight for knot, weight in ((-0.5, 1.0), (0.1, -3.0)))


RIGHT = {
    "dense": lambda: stack((3,), dense(4, "tanh"), dense(2)),
    "deep": lambda: stack((3,), *(dense(6, "tanh") for _ in range(20))),
    "residual blocks": residual_blocks,
    "shared layer": shared_layer,
    "subclassed": lambda: (Subclassed(), points((3, 3))),
    "single sample": lambda: stack((3,), dense(4, "tanh"), dense(2), count=1),
    "many samples": lambda: stack((3,), dense(4, "tanh"), dense(2), count=300),
    "many outputs": lambda: stack((3,), dense(50, "tanh")),
    "many inputs": lambda: stack((500,), dense(3, "tanh")),
    "float64": float64_model,
    "inputs of 1e-6": scaled(1e-6),
    "inputs of 1e6": scaled(1e6),
    "features of many scales": features_of_many_scales,
    "outputs of many scales": outputs_of_many_scales,
    "very many scales": lambda: outputs_of_many_scales(20),
    "values of 1e6": of(lambda x: 1e6 + ops.sin(x)),
    "values of 1e-6": of(lambda x: 1e-6 * ops.sin(x)),
    "linear": lambda: stack((3,), dense(2)),
    "constant": of(lambda x: ops.zeros_like(x) + 2.0 + 0 * x),
    "convolution": lambda: stack((6, 2), layers.Conv1D(3, 2, activation="gelu"), layers.Flatten()),
    "convolutions": lambda: stack(
        (6, 6, 1), layers.Conv2D(2, 3, activation="silu"), layers.AveragePooling2D(2), layers.Flatten()
    ),
    "depthwise": lambda: stack((5, 5, 2), layers.DepthwiseConv2D(2), ops.tanh, layers.Flatten()),
    "transposed": lambda: stack((4, 2), layers.Conv1DTranspose(2, 2), ops.sin, layers.Flatten()),
    "maximum pooling": lambda: stack((6, 2), layers.MaxPooling1D(), ops.tanh, layers.Flatten()),
    "GRU": lambda: stack((3, 2), layers.GRU(2)),
    "LSTM": lambda: stack((3, 2), layers.Bidirectional(layers.LSTM(2))),
    "masks": masked,
    "embedding": embedded,
    "attention": attention,
    "layer normalisation": lambda: stack((4,), layers.LayerNormalization(), dense(2, "tanh")),
    "group normalisation": lambda: stack((3, 4), layers.GroupNormalization(2), layers.Flatten()),
    "batch normalisation": lambda: stack((4,), dense(4), layers.BatchNormalization(), ops.sin),
    "unit normalisation": lambda: stack((4,), layers.UnitNormalization(), dense(2)),
    "dropout": lambda: stack((4,), layers.Dropout(0.5), layers.GaussianNoise(1.0), dense(2, "silu")),
    "softmax": lambda: stack((4,), layers.Softmax(), dense(2)),
    "logsumexp": of(lambda x: ops.logsumexp(5 * x, axis=-1, keepdims=True)),
    "relu": with_activation("relu"),
    "wide relu": lambda: stack((3,), dense(300, "relu"), dense(1)),
    "relu on its kink": of(ops.relu, x=[[0.0, 0.5, -1.0], [0.3, 0.2, 0.1]]),
    "elu on its kink": of(ops.elu, x=[[0.0, 0.5, -1.0], [1e-7, 0.2, 0.1]]),
    "relu squared on its kink": of(lambda x: ops.relu(x) ** 2, x=[[0.0, 0.5, 0.0], [1e-6, 0.2, 0.1]]),
    "|x| x^2 at 0": of(lambda x: ops.abs(x) * x * x, x=np.zeros((2, 3))),
    "spline on its knot": of(cubic_spline, x=[[0.1, 0.5, -0.5], [0.1, 0.2, 0.3]]),
    "selu": with_activation("selu"),
    "hard sigmoid": with_activation("hard_sigmoid"),
    "maximum of two": of(lambda x: ops.maximum(ops.sin(x), ops.cos(3 * x))),
    "norm": of(lambda x: ops.norm(x, axis=-1, keepdims=True)),
    "tanh(1000 x)": of(lambda x: ops.tanh(1000 * x), x=[[1e-4, 0.5, -1e-3], [3e-4, -2e-3, 0.1]]),
    "exp(50 x)": of(lambda x: ops.exp(50 * x)),
    "sin(200 x)": of(lambda x: ops.sin(200 * x)),
    "sigmoid(1e6 x)": of(lambda x: ops.sigmoid(1e6 * x), x=[[1e-7, 0.5, -1e-6], [1.0, 2.0, -1e-3]]),
    "logarithm of 1e-6 to 1e6": of(ops.log, x=[[1e-6, 1.0, 1e6], [1e-3, 2.0, 1e3]]),
    "square root": of(lambda x: ops.sqrt(ops.abs(x)) * x),
    "reciprocal": of(lambda x: 1 / (1e-3 + x * x)),
    "several inputs and outputs": several,
    "coordinates": coordinates,
    "nested derivatives": nested_derivatives,
    "right custom gradient": between_layers(lambda x: right_sine(x)),
    "Gradient": derivative_layer(kd.Gradient),
    "Hessian": derivative_layer(kd.Hessian),
    "Laplacian": derivative_layer(lambda net: kd.Laplacian(net, coefficients=[1.0, -2.0, 3.0])),
    "Curl": derivative_layer(kd.Curl, outputs=3),
    "HVP": derivative_layer(kd.HVP, vector=True),
    "Partials": derivative_layer(lambda net: kd.Partials(net, [(), (0,), (1, 2), (0, 0, 1)])),
}  # fmt: skip


right_sine = with_gradient(ops.sin, lambda x, g: g * ops.cos(x))


def wrong_sine(slope):
    return with_gradient(ops.sin, lambda x, g: g * slope(x))


def numpy_part(x):
    return x + by_numpy(np.sin)(x)


def stopped_moments(x):
    mean = ops.mean(x, -1, keepdims=True)
    return x * ops.square(x - ops.stop_gradient(mean))


def tiny_output(x):
    """The first output is large and right, the second small and wrong."""
    return ops.concatenate([1e5 * x, 1e-5 * wrong_sine(lambda x: 1.01 * ops.cos(x))(x[:, :1])], 1)


def transposed_jacobian(x):
    matrix = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(4, 4)), x.dtype)
    return with_gradient(lambda x: x @ matrix, lambda x, g: g @ matrix)(x)


def dropped_imaginary_part(x):
    """Re((x + ix)^2 exp(ix)), with the slope of the real part alone."""

    def value(x):
        z = ops.view_as_complex(ops.stack([x, 0 * x], axis=-1))
        return ops.real(ops.exp(1j * z) * z)

    return with_gradient(value, lambda x, g: g * ops.cos(x))(x)


def half_slope(x):
    slope = lambda x: ops.cast(ops.cast(ops.cos(x), "float16"), x.dtype)  # noqa: E731
    return wrong_sine(slope)(x)


def coupled_slope(x):
    mean = lambda g: g * 0 + ops.mean(g, axis=0, keepdims=True)  # noqa: E731
    return with_gradient(ops.sin, lambda x, g: mean(g) * ops.cos(x))(x)


def one_coordinate(x):
    factors = ops.convert_to_tensor([1.0, 1.0, 1.001, 1.0], x.dtype)
    return with_gradient(ops.sin, lambda x, g: g * ops.cos(x) * factors)(x)


def where_large(x):
    return wrong_sine(lambda x: ops.where(ops.abs(x) > 5, 1.1 * ops.cos(x), ops.cos(x)))(x)


def wrong_rule(rule):
    def make():
        kd.taylor_rule(WithRule)(rule)
        return stack((3,), dense(4, "tanh"), WithRule(name="planted"), dense(2))

    return make


def rule_of_wrong_slope(layer, x):
    slope = kd.taylor.call(ops.sin, x)
    return slope * 1.001 - ops.sin(x.value) * 0.001


@keras.saving.register_keras_serializable(package="verify_rows")
class WithRule(layers.Layer):
    def call(self, x):
        return ops.sin(x)


def second_order(slope):
    """Right at first order; `slope(x)` has a derivative that is wrong."""
    return between_layers(wrong_sine(slope))


def late_fault(layer):
    model, x = stack((3,), Of(wrong_sine(lambda x: 1.01 * ops.cos(x)), "planted"))
    return lambda: (layer(model), x)


FAULTS = {
    "wrong factor": between_layers(wrong_sine(lambda x: 1.01 * ops.cos(x))),
    "slightly wrong factor": between_layers(wrong_sine(lambda x: (1 + 1e-6) * ops.cos(x))),
    "wrong sign": between_layers(wrong_sine(lambda x: -ops.cos(x))),
    "missing term": between_layers(with_gradient(lambda x: x * ops.sin(x), lambda x, g: g * x * ops.cos(x))),
    "added term": between_layers(wrong_sine(lambda x: ops.cos(x) + 1e-4)),
    "zero gradient": between_layers(wrong_sine(lambda x: 0 * x)),
    "slope of float16": between_layers(half_slope),
    "slope of float32 of an offset": between_layers(
        wrong_sine(lambda x: ops.cast(ops.cast(ops.cos(x) + 100, "float32"), x.dtype) - 100)
    ),
    "straight through round": between_layers(with_gradient(ops.round, lambda x, g: g)),
    "stop_gradient": between_layers(ops.stop_gradient),
    "stop_gradient of a factor": between_layers(lambda x: x * ops.stop_gradient(x)),
    "stop_gradient of a tiny part": between_layers(lambda x: x + 1e-4 * ops.stop_gradient(ops.sin(x))),
    "stop_gradient of one feature": between_layers(
        lambda x: ops.concatenate([x[:, :1], ops.stop_gradient(x[:, 1:2]), x[:, 2:]], 1)
    ),
    "stopped moments": between_layers(stopped_moments),
    "stopped maximum": between_layers(
        lambda x: x - ops.stop_gradient(ops.logsumexp(x, -1, keepdims=True))
    ),
    "stop in the slope": second_order(lambda x: ops.stop_gradient(ops.cos(x))),
    "numpy in the slope": second_order(by_numpy(np.cos)),
    "wrong slope of the slope": second_order(with_gradient(ops.cos, lambda x, g: -1.01 * g * ops.sin(x))),
    "half of the slope of the slope": between_layers(
        with_gradient(lambda x: x * x, lambda x, g: g * (x + ops.stop_gradient(x)))
    ),
    "numpy": between_layers(numpy_part),
    "argmax": between_layers(lambda x: x + ops.cast(ops.argmax(x, -1, keepdims=True), x.dtype)),
    "round": between_layers(lambda x: x + ops.round(4 * x)),
    "fine steps": between_layers(lambda x: x + ops.floor(40 * x) / 40),
    "cast to integers": between_layers(lambda x: x + ops.cast(ops.cast(5 * x, "int32"), x.dtype)),
    "sign": between_layers(lambda x: x * x + ops.sign(x - 0.05)),
    "comparison": between_layers(lambda x: x + ops.cast(x > 0.1, x.dtype)),
    "batch mean": between_layers(lambda x: x - ops.mean(x, axis=0, keepdims=True)),
    "flipped batch": between_layers(lambda x: x + 0.1 * ops.flip(x, axis=0)),
    "coupled slope": between_layers(coupled_slope),
    "one output of small scale": of(tiny_output),
    "one output of many": lambda: stack(
        (3,), dense(40, "tanh"),
        lambda x: ops.concatenate([x[:, :39], 1e-4 * wrong_sine(lambda x: 1.01 * ops.cos(x))(x[:, 39:])], 1),
    ),
    "one input coordinate": between_layers(one_coordinate),
    "one coordinate of small scale": lambda: stack(
        (2,), lambda x: ops.sin(x[:, :1]) + right_sine(1e6 * x[:, 1:]) * 0 + wrong_sine(
            lambda x: 1.01 * ops.cos(x))(1e6 * x[:, 1:]),
        x=points((4, 2)) * [1.0, 1e-6],
    ),
    "large values only": lambda: stack((3,), where_large),
    "small values only": lambda: stack(
        (3,), wrong_sine(lambda x: ops.where(ops.abs(x) < 1e-2, 1.1 * ops.cos(x), ops.cos(x)))
    ),
    "negative values only": lambda: stack(
        (3,), wrong_sine(lambda x: ops.where(x < 0, 1.1 * ops.cos(x), ops.cos(x))),
        x=np.abs(points((3, 3))),
    ),
    "rule of a wrong value": wrong_rule(lambda layer, x: kd.taylor.call(ops.sin, x) * 1.001),
    "rule of a wrong slope": wrong_rule(rule_of_wrong_slope),
    "transposed Jacobian": between_layers(transposed_jacobian),
    "dropped imaginary part": between_layers(dropped_imaginary_part),
    "singular": between_layers(lambda x: ops.sqrt(x - x) + x),
    "Gradient of a wrong model": late_fault(lambda model: kd.Gradient(model, component=1)),
    "Hessian of a wrong model": late_fault(lambda model: kd.Hessian(model, component=1)),
    "random": between_layers(lambda x: x + keras.random.normal(ops.shape(x))),
}  # fmt: skip

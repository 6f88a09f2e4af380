"""One row for each Taylor rule: name -> (sample shape, domain, function maker)."""

import keras
import numpy as np
from keras import layers, ops
from keras.src.ops import core, nn
from keras.src.ops import numpy as knp

from keras_derivs.backend import constant

NOT_RULES = {core.StopGradient, nn.Gelu}  # these have tests of their own
ANY, POSITIVE, UNIT = (-2.0, 2.0), (0.3, 2.0), (-0.7, 0.7)


def fixed(shape, seed=1):
    return np.random.default_rng(seed).uniform(0.2, 1.0, shape)


def shifted(x):
    """Matrices that have an inverse."""
    return ops.add(x, 3 * np.eye(3))


def of(function):
    return lambda: function


def row(function, shape=(4,), domain=ANY):
    return shape, domain, of(function)


def layer(make, shape=(4,), domain=ANY):
    return shape, domain, make


def adapted(invert):
    made = layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 2.0, 3.0, 4.0],
                                invert=invert)  # fmt: skip
    made.build((None, 4))
    return made


class Left(layers.Layer):
    """A variable, an array and numbers on the left of x."""

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1],), initializer="normal")

    def call(self, x):
        y = self.w * ops.sin(x) - self.w / (2 + x * x) + self.w @ x[:, :, None] ** 2
        return ops.where(self.w < x, y, np.sqrt(2) * y - fixed((4,)) * x + np.float32(0.5) * x)


class Scaled(layers.Layer):
    """A custom layer whose scale is computed from a weight."""

    def build(self, input_shape):
        self.log_scale = self.add_weight(shape=(input_shape[-1],), initializer="normal")
        self.inner = layers.Dense(2, "tanh")

    def call(self, x):
        return self.inner(x * ops.exp(self.log_scale)) + ops.mean(x, axis=-1, keepdims=True)


SMOOTH = {
    name: row(getattr(ops, name), domain=domain)
    for domain, names in {
        ANY: "exp exp2 expm1 square sin cos sinh cosh tanh arctan arcsinh erf erfc sigmoid "
        "log_sigmoid softplus silu tanh_shrink softsign squareplus negative absolute relu relu6 "
        "elu selu celu hard_sigmoid sparse_sigmoid hard_tanh hard_shrink soft_shrink "
        "hard_silu sparse_plus softmax log_softmax logsumexp sign floor ceil round trunc "
        "ones_like zeros_like deg2rad rad2deg copy real conjugate fliplr fabs "
        "tan",
        POSITIVE: "log log1p log2 log10 sqrt rsqrt reciprocal cbrt",
        UNIT: "arcsin arccos arctanh tan",
        (1.3, 3.0): "arccosh",
    }.items()
    for name in names.split()
}


def flagged(name):
    """x times a function without a derivative."""
    function = getattr(ops, name)
    return row(lambda x: x * ops.cast(function(x), x.dtype))


def reduced(name):
    function = getattr(ops, name)
    return row(lambda x: x * ops.cast(function(x, axis=-1, keepdims=True), x.dtype))


def compared(name):
    function = getattr(ops, name)
    return row(lambda x: x * ops.cast(function(x, 0.5), x.dtype))


FLAT = {
    **{name: flagged(name) for name in ["argsort", "isfinite", "isnan", "isinf", "signbit"]},
    **{name: reduced(name) for name in ["argmax", "argmin"]},
    **{
        name: compared(name)
        for name in ["equal", "not_equal", "greater", "greater_equal", "less", "less_equal"]
    },
}
ROWS = {
    **SMOOTH,
    **FLAT,
    "leaky_relu": row(lambda x: ops.leaky_relu(x, 0.25)),
    "relu layer": layer(lambda: layers.ReLU(1.5, 0.1, 0.3)),
    "mish": layer(lambda: layers.Activation("mish")),
    "hard_silu layer": layer(lambda: layers.Activation("hard_silu")),
    "glu": row(ops.glu),
    "rms_normalization, scale that varies": row(
        lambda x: ops.rms_normalization(x, scale=ops.exp(x))
    ),
    "threshold": row(lambda x: ops.threshold(x, 0.5, 0.1)),
    "clip": row(lambda x: ops.clip(x, -1.0, 1.0)),
    "add": row(lambda x: x + ops.sin(x)),
    "add, broadcast": row(lambda x: x[:, :1] + x + 1.0),
    "subtract": row(lambda x: 1.0 - (x - ops.exp(x[:, 1:2]))),
    "multiply": row(lambda x: x * ops.exp(x) * 2.0),
    "multiply, broadcast": row(lambda x: ops.multiply(x[:, 0] * ops.exp(x[:, 1]), fixed(()))),
    "divide": row(lambda x: ops.divide(ops.sin(x), x) + 1.0 / x + x / 3.0, domain=POSITIVE),
    "true_divide": row(lambda x: ops.true_divide(x, x + 1.0), domain=POSITIVE),
    "power, integer": row(lambda x: x**3),
    "power, negative": row(lambda x: x**-2.0, domain=POSITIVE),
    "power, real": row(lambda x: x**1.5, domain=POSITIVE),
    "power, tensor": row(lambda x: ops.power(x, fixed(4)), domain=POSITIVE),
    "power, negative number": row(lambda x: x**-0.5, domain=POSITIVE),
    "power, negative base": row(lambda x: ops.power(x, np.arange(4.0)) + x**-3),
    "power, broadcast": row(
        lambda x: ops.power(x[:, :1], fixed(4)) + ops.power(x, x[:, :1]), domain=POSITIVE
    ),
    "power, both": row(lambda x: ops.power(x, x) + ops.power(2.0, x), domain=POSITIVE),
    "maximum": row(lambda x: ops.maximum(x * x, ops.exp(x)) + ops.maximum(x, 0.5)),
    "minimum": row(lambda x: ops.minimum(x * x, ops.exp(x)) + ops.minimum(0.5, x)),
    "fmax": row(lambda x: ops.fmax(x * x, ops.exp(x))),
    "fmin": row(lambda x: ops.fmin(x * x, ops.exp(x))),
    "where": row(lambda x: ops.where(x > 0.2, ops.sin(x), x * x)),
    "where, number": row(lambda x: ops.where(x > 0.2, 1.0, x * x)),
    "sum": row(lambda x: ops.sum(x * x, axis=1), (3, 2)),
    "sum, all axes": row(lambda x: x * ops.sum(ops.exp(x), axis=(1, 2), keepdims=True), (3, 2)),
    "mean": row(lambda x: ops.mean(ops.exp(x), axis=-1)),
    "max": row(lambda x: ops.max(x * x, axis=-1)),
    "amax": row(lambda x: ops.amax(x * x, axis=-1, keepdims=True)),
    "min": row(lambda x: ops.min(x * x, axis=-1)),
    "amin": row(lambda x: ops.amin(x * x, axis=-1)),
    "prod": row(lambda x: ops.prod(x, axis=-1)),
    "var": row(lambda x: ops.var(x, axis=-1)),
    "std": row(lambda x: ops.std(x, axis=-1, keepdims=True)),
    "norm": row(lambda x: ops.norm(x, axis=-1)),
    "norm of order 1": row(lambda x: ops.norm(ops.sin(x), ord=1, axis=-1)),
    "normalize": row(lambda x: ops.normalize(x, axis=-1)),
    "logsumexp, axis": row(lambda x: ops.logsumexp(x, axis=1, keepdims=True), (3, 2)),
    "sort": row(lambda x: ops.sort(x * x)),
    "cumprod": row(lambda x: ops.cumprod(x, axis=1), (3, 2)),
    "ptp": row(lambda x: ops.ptp(x * x, axis=-1)),
    "hypot, number": row(lambda x: ops.hypot(x, 1.5) + ops.hypot(fixed((3, 4)), x[:, :1])),
    "hypot": row(lambda x: ops.hypot(x, ops.exp(x))),
    "logaddexp": row(lambda x: ops.logaddexp(x, ops.sin(x)) + ops.logaddexp(0.3, x)),
    "logaddexp2": row(lambda x: ops.logaddexp2(x, ops.sin(x))),
    "arctan2": row(lambda x: ops.arctan2(x[:, :1], x * x - 2) + ops.arctan2(x, 0.3)),
    "arctan2, left": row(lambda x: ops.arctan2(fixed((3, 4)), x)),
    "mod": row(lambda x: ops.mod(x * ops.exp(x) / 4, 9.0) + ops.mod(-7.0, 5 + ops.sin(x) / 4)),
    "fmod": row(lambda x: ops.fmod(x * x - 9, 20.0) + ops.fmod(8.0, 5 + ops.sin(x) / 4)),
    "sinc": row(lambda x: ops.sinc(x * x)),
    "median": row(lambda x: ops.median(x * x, axis=-1)),
    "median, odd": row(lambda x: ops.median(ops.sin(x), axis=1, keepdims=True), (3,)),
    "norm of order 3": row(lambda x: ops.norm(x, ord=3, axis=-1)),
    "norm of order 1.5": row(lambda x: ops.norm(x, ord=1.5, axis=-1, keepdims=True)),
    "det": row(lambda x: ops.det(ops.sin(x)), (3, 3)),
    "inv": row(lambda x: ops.inv(shifted(x * x)), (3, 3)),
    "solve for vectors": row(lambda x: ops.solve(shifted(x * x), x[:, 0]), (3, 3)),
    "slogdet": row(lambda x: ops.slogdet(shifted(x * x))[1], (3, 3)),
    "logdet": row(lambda x: ops.logdet(shifted(x * ops.transpose(x, (0, 2, 1)))), (3, 3)),
    "i0": row(lambda x: ops.i0(3 * x)),
    "norm, infinite order": row(lambda x: ops.norm(x * x, np.inf, -1)),
    "solve": row(lambda x: ops.solve(shifted(x * x), x), (3, 3)),
    "categorical": row(
        lambda x: ops.categorical_crossentropy(ops.sin(x), x, from_logits=True)
        + ops.categorical_crossentropy(ops.sin(x), ops.softmax(x) ** 2)
        + ops.categorical_crossentropy(ops.sin(x), ops.sigmoid(2 * x))
        + ops.categorical_crossentropy(ops.sin(x), ops.softmax(ops.add(x, np.array([0.0, 20.0] * 2))))
    ),
    "sparse categorical": row(
        lambda x: ops.sparse_categorical_crossentropy(np.array([1, 0, 2]), x, from_logits=True)
        + ops.sparse_categorical_crossentropy(np.array([1, 0, 2]), ops.softmax(x))
    ),
    "binary": row(
        lambda x: ops.binary_crossentropy(ops.sin(x) ** 2, x, from_logits=True)
        + ops.binary_crossentropy(ops.sin(x) ** 2, ops.sigmoid(x))
        + ops.binary_crossentropy(ops.sin(x) ** 2, ops.softmax(2 * x))
    ),
    "cross": row(lambda x: ops.cross(x, ops.exp(x)) + ops.cross(fixed((3, 3)), x), (3,)),
    "tensordot": row(lambda x: ops.tensordot(x * x, fixed((2, 4)), axes=1), (3, 2)),
    "tensordot, axes": row(
        lambda x: ops.tensordot(fixed((4, 3)), x, axes=[[1], [1]]), (3, 2)
    ),
    "select": row(lambda x: ops.select([x < -0.5, x < 0.5], [ops.sin(x), x * x], 0.3)),
    "nan_to_num": row(lambda x: ops.nan_to_num(x * x)),
    "digitize": row(lambda x: x * ops.cast(ops.digitize(x, np.array([0.5])), x.dtype)),
    "trapezoid": row(lambda x: ops.trapezoid(x * x, dx=0.5, axis=1), (3, 2)),
    "fft": row(lambda x: ops.fft((x * x, ops.sin(x)))[0], (4,)),
    "fft2": row(lambda x: ops.ifft2(ops.fft2((x * x, x)))[1], (4, 2)),
    "rfft": row(lambda x: ops.irfft(ops.rfft(x * x)), (4,)),
    "stft": row(lambda x: ops.istft(ops.stft(x * x, 4, 2, 4), 4, 2, 4), (8,)),
    "moments": row(lambda x: sum(ops.moments(x, axes=[1, 2], keepdims=True)) * x, (3, 2)),
    "concatenate": row(lambda x: ops.concatenate([x, ops.exp(x[:, :1]), ops.ones_like(x)], 1)),
    "concatenate, value": row(lambda x: ops.concatenate([x, fixed((3, 1))], 1)),
    "concatenate, inputs": row(lambda x: ops.exp(ops.concatenate([x[:, 1:2], x[:, 0:1]], 1))),
    "stack": row(lambda x: ops.stack([x, ops.exp(x)], axis=1)),
    "split": row(lambda x: ops.split(x, 2, axis=1)[1]),
    "unstack": row(lambda x: ops.unstack(x, axis=1)[2]),
    "getitem": row(lambda x: x[:, 1:3] * x[:, None, 0]),
    "getitem, ellipsis": row(lambda x: x[..., 0], (3, 2)),
    "getitem, samples": row(lambda x: x[..., 0] * x[1:2, :, 1], (3, 2)),
    "slice": row(lambda x: ops.slice(x, (0, 1), (3, 2))),
    "take": row(lambda x: ops.take(x, [2, 0, 0], axis=1)),
    "take_along_axis": row(lambda x: ops.take_along_axis(x, np.array([[0], [2], [1]]), axis=1)),
    "transpose": row(lambda x: ops.transpose(x, (0, 2, 1)), (3, 2)),
    "transpose, batch": row(lambda x: ops.transpose(ops.sin(ops.transpose(x))), (3,)),
    "swapaxes": row(lambda x: ops.swapaxes(x, 1, 2), (3, 2)),
    "moveaxis": row(lambda x: ops.moveaxis(x, 1, -1), (3, 2)),
    "reshape": row(lambda x: ops.reshape(x, (-1, 6)), (3, 2)),
    "reshape, batch": row(lambda x: ops.reshape(ops.reshape(x, (-1, 2)), (3, 6)), (3, 2)),
    "ravel": row(lambda x: ops.reshape(ops.ravel(x), (-1, 4))),
    "squeeze": row(lambda x: ops.squeeze(x, 2), (3, 1)),
    "expand_dims": row(lambda x: ops.expand_dims(x, 1)),
    "broadcast_to": row(lambda x: ops.broadcast_to(x, (3, 4)), (1,)),
    "pad": row(lambda x: ops.pad(x, ((0, 0), (1, 2)))),
    "pad, constant": row(lambda x: ops.pad(x, ((0, 0), (1, 2)), constant_values=2.0)),
    "pad, reflect": row(lambda x: ops.pad(x, ((0, 0), (1, 2)), mode="reflect")),
    "repeat": row(lambda x: ops.repeat(x, 2, axis=1)),
    "tile": row(lambda x: ops.tile(x, (1, 2))),
    "roll": row(lambda x: ops.roll(x, 1, axis=1)),
    "flip": row(lambda x: ops.flip(x, axis=1)),
    "cumsum": row(lambda x: ops.cumsum(x, axis=1)),
    "diff": row(lambda x: ops.diff(x, axis=1)),
    "trace": row(lambda x: ops.trace(x, axis1=1, axis2=2), (3, 3)),
    "diagonal": row(lambda x: ops.diagonal(x, axis1=1, axis2=2), (3, 3)),
    "tril": row(ops.tril, (3, 3)),
    "triu": row(ops.triu, (3, 3)),
    "cast": row(lambda x: ops.cast(ops.cast(x, "int32"), x.dtype) * ops.cast(x, "float64")),
    "saturate_cast": row(lambda x: ops.saturate_cast(x, "float64")),
    "convert_to_tensor": row(lambda x: ops.convert_to_tensor(x) * 2),
    "matmul": row(lambda x: ops.matmul(x, fixed((4, 2)))),
    "matmul, both": row(lambda x: ops.matmul(x, ops.exp(ops.swapaxes(x, 1, 2))), (3, 2)),
    "matmul, left": row(lambda x: ops.matmul(fixed((2, 3)), x), (3, 2)),
    "matmul, batch": row(lambda x: ops.matmul(x, fixed((3, 2, 4))), (3, 2)),
    "dot": row(lambda x: ops.dot(x, fixed((4, 2)))),
    "einsum": row(lambda x: ops.einsum("bij,jk->bki", x, fixed((2, 4))), (3, 2)),
    "einsum, batch": row(lambda x: ops.einsum("bij,bk->bijk", x, fixed((3, 4))), (3, 2)),
    "einsum, both": row(lambda x: ops.einsum("bij,bkj->bik", x, ops.exp(x)), (3, 2)),
    "dense": layer(lambda: layers.Dense(3, "tanh")),
    "dense, layer inside": layer(lambda: layers.Dense(3, layers.Activation("softplus"))),
    "einsum_dense": layer(lambda: layers.EinsumDense("bij,jk->bik", (None, 3), bias_axes="k",
                                                     activation="sigmoid"), (3, 2)),
    "conv 1": layer(lambda: layers.Conv1D(2, 2, activation="tanh"), (5, 2)),
    "conv 2": layer(lambda: layers.Conv2D(2, 2, padding="same", groups=1), (4, 3, 2)),
    "conv 1, groups": layer(
        lambda: layers.Conv1D(4, 2, padding="causal", groups=2, activation="tanh"), (4, 2)
    ),
    "conv 2, groups": layer(
        lambda: layers.Conv2D(4, 2, 2, "same", dilation_rate=1, groups=2, use_bias=False), (3, 3, 2)
    ),
    "conv 3": layer(lambda: layers.Conv3D(2, 2, activation="tanh"), (3, 3, 3, 1)),
    "depthwise": layer(lambda: layers.DepthwiseConv2D(2, activation="tanh"), (3, 3, 2)),
    "separable": layer(lambda: layers.SeparableConv1D(2, 2, activation="tanh"), (4, 2)),
    "transposed": layer(lambda: layers.Conv2DTranspose(2, 2, activation="tanh"), (3, 3, 2)),
    "average pooling": layer(lambda: layers.AveragePooling1D(2), (4, 2)),
    "max pooling": layer(lambda: layers.MaxPooling1D(2), (4, 1)),
    "max pooling, same": layer(lambda: layers.MaxPooling2D(2, 1, "same"), (2, 2, 1)),
    "adaptive pooling": row(lambda x: ops.adaptive_average_pool(x, (2,)), (4, 2)),
    "global average": layer(lambda: layers.GlobalAveragePooling2D(), (3, 3, 2)),
    "depth_to_space": row(lambda x: ops.depth_to_space(x, 2), (2, 2, 4)),
    "space_to_depth": row(lambda x: ops.space_to_depth(x, 2), (2, 2, 4)),
    "unfold": row(lambda x: ops.unfold(x, 2), (1, 3, 3)),
    "patches": row(lambda x: ops.image.extract_patches(x, (2, 2)), (4, 4, 1)),
    "resizing": layer(lambda: layers.Resizing(4, 4, "nearest"), (2, 2, 1)),
    "center crop": layer(lambda: layers.CenterCrop(2, 1), (3, 2, 1)),
    "resize": row(lambda x: ops.image.resize(x, (4, 4), "nearest"), (2, 2, 1)),
    "resizing, padded": layer(
        lambda: layers.Resizing(4, 4, "nearest", pad_to_aspect_ratio=True, fill_value=5.0), (2, 4, 1)
    ),
    "resizing, cropped": layer(
        lambda: layers.Resizing(4, 4, "nearest", crop_to_aspect_ratio=True), (2, 4, 1)
    ),
    "resize, padded": row(
        lambda x: ops.image.resize(x, (6, 3), "nearest", pad_to_aspect_ratio=True, fill_value=-2.0), (2, 4, 1)
    ),
    "flatten": layer(layers.Flatten, (3, 2)),
    "reshape layer": layer(lambda: layers.Reshape((2, 3)), (6,)),
    "permute": layer(lambda: layers.Permute((2, 1)), (3, 2)),
    "repeat_vector": layer(lambda: layers.RepeatVector(2)),
    "cropping 1": layer(lambda: layers.Cropping1D(1), (4, 2)),
    "cropping 2": layer(lambda: layers.Cropping2D(1), (4, 4, 1)),
    "cropping 3": layer(lambda: layers.Cropping3D(1), (3, 3, 3, 1)),
    "padding 1": layer(lambda: layers.ZeroPadding1D(1), (2, 2)),
    "padding 2": layer(lambda: layers.ZeroPadding2D(1), (2, 2, 1)),
    "padding 3": layer(lambda: layers.ZeroPadding3D(1), (2, 2, 2, 1)),
    "up 1": layer(lambda: layers.UpSampling1D(2), (2, 2)),
    "up 2": layer(lambda: layers.UpSampling2D(2), (2, 2, 1)),
    "up 3": layer(lambda: layers.UpSampling3D(2), (2, 2, 2, 1)),
    "dropout": layer(lambda: layers.Dropout(0.5)),
    "spatial 1": layer(lambda: layers.SpatialDropout1D(0.5), (3, 2)),
    "spatial 2": layer(lambda: layers.SpatialDropout2D(0.5), (3, 3, 2)),
    "spatial 3": layer(lambda: layers.SpatialDropout3D(0.5), (2, 2, 2, 1)),
    "noise": layer(lambda: layers.GaussianNoise(0.5)),
    "gaussian dropout": layer(lambda: layers.GaussianDropout(0.5)),
    "alpha dropout": layer(lambda: layers.AlphaDropout(0.5)),
    "identity": layer(layers.Identity),
    "activity": layer(lambda: layers.ActivityRegularization(0.1)),
    "rescaling": layer(lambda: layers.Rescaling(2.0, 1.0)),
    "normalization": layer(lambda: adapted(False)),
    "normalization, inverse": layer(lambda: adapted(True)),
    "batch norm": layer(layers.BatchNormalization, (3, 2)),
    "layer norm": layer(layers.LayerNormalization, (3, 2)),
    "layer norm, axes": layer(lambda: layers.LayerNormalization(axis=(1, 2)), (3, 2)),
    "group norm": layer(lambda: layers.GroupNormalization(2, epsilon=2**-10), (3, 4)),
    "unit norm": layer(layers.UnitNormalization),
    "rms norm": layer(layers.RMSNormalization),
    "softmax layer": layer(layers.Softmax),
    "prelu": layer(layers.PReLU),
    "custom": layer(Scaled),
    "on the left": layer(Left),
    "attention": row(lambda x: layers.Attention()([x, ops.sin(x)]), (3, 2)),
    "dot_product_attention": row(
        lambda x: ops.dot_product_attention(x, ops.sin(x), x * x, is_causal=True), (3, 2, 4)
    ),
    "multi head": layer(lambda: Self(layers.MultiHeadAttention(2, 4)), (3, 4)),
    "merge": row(lambda x: layers.Average()([layers.Add()([x, x * x]),
                                             layers.Multiply()([x, ops.exp(x)])])),
    "merge, more": row(lambda x: layers.Concatenate()([layers.Subtract()([x, x * x]),
                                                       layers.Maximum()([x, x * x])])),
    "dot layer": row(lambda x: layers.Dot(axes=1)([x, ops.exp(x)])),
    "nested": layer(lambda: keras.Sequential([layers.Dense(3, "tanh"), layers.Dense(2)])),
}  # fmt: skip


if keras.backend.backend() == "jax":
    del ROWS["solve for vectors"]  # it takes vectors of three rows for a matrix
if keras.backend.backend() == "torch":
    del ROWS["rms_normalization, scale that varies"]  # it takes one scale for all rows
    del ROWS["cross"]  # it takes the first axis of three entries, here that of the batch
    del ROWS["on the left"]  # its tensors are no factors of arrays
    NOT_RULES.add(knp.Cross)


def attention(query, key, value):
    """Causal attention by softmax and products; JAX rounds that of its own to single precision."""
    scores = ops.einsum("btnh,bsnh->bnts", query, key) * constant(query.shape[-1] ** -0.5)
    later = np.triu(np.full(scores.shape[-2:], 1e9), 1)
    return ops.einsum("bnts,bsnh->btnh", ops.softmax(ops.subtract(scores, later)), value)


class Self(layers.Layer):
    """Attention of a sequence to itself."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def call(self, x):
        return self.attention(x, x)


PLAIN = {  # what a function is made of, where it rounds on one of the frameworks
    "dot_product_attention": lambda function: lambda x: attention(x, ops.sin(x), x * x),
    "multi head": lambda layer: lambda x: layer.attention(x, x, return_attention_scores=True)[0],
}

"""The layers of Keras: a small model around each, in which it is differentiated."""

import keras
import numpy as np
from keras import layers, ops
from precision import precision

import keras_derivs as kd

# classes that stand in no row, and why
LEFT_OUT = {
    "no layers of a model by themselves": (layers.Layer, layers.InputLayer, layers.Wrapper),
    "turn text or numbers into integers": (
        layers.CategoryEncoding, layers.Discretization, layers.HashedCrossing, layers.Hashing,
        layers.IntegerLookup, layers.StringLookup, layers.TextVectorization,
    ),
    "count how often a colour occurs": (
        layers.Equalization, layers.ContrastLimitedAdaptiveHistogramEqualization,
    ),
    "wrap what belongs to another framework": (
        layers.FlaxLayer, layers.JaxLayer, layers.TorchModuleWrapper, layers.TFSMLayer,
    ),
}  # fmt: skip


@keras.saving.register_keras_serializable(package="tests")
class LastIsPadding(layers.Layer):
    """Masks the last step of every sequence."""

    supports_masking = True

    def call(self, x):
        return x * 1.0

    def compute_mask(self, x, previous_mask=None):
        ones = ops.ones_like(x[:, :, 0])
        return ops.cumsum(ones, axis=1) < ops.sum(ones, axis=1, keepdims=True)


@keras.saving.register_keras_serializable(package="tests")
class PlusEmbedding(layers.Layer):
    """Adds the vectors of fixed words."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(4, 2)

    def build(self, shape):
        self.embedding.build()

    def call(self, x):
        return x * self.embedding(ops.convert_to_tensor([[2, 3]]))


class Windows(layers.Layer):
    """Pooling of volumes in any dtype; TensorFlow has none in float64."""

    def __init__(self, reduce, first, others):
        super().__init__()
        self.reduce, self.windows = reduce, (first, others, others)

    def call(self, x):
        for axis, windows in enumerate(self.windows, start=1):
            parts = [
                self.reduce(ops.take(x, range(*window), axis=axis), axis=axis) for window in windows
            ]
            x = ops.stack(parts, axis=axis)
        return x


class Mel(layers.MelSpectrogram):
    """The matrix of Keras, which is float32, in any dtype."""

    def linear_to_mel_weight_matrix(self, *args, **kwargs):
        return ops.cast(super().linear_to_mel_weight_matrix(*args, **kwargs), self.compute_dtype)


class Resampled(layers.Layer):
    """The matrix of a resampling, applied in any dtype; TensorFlow resamples in float32."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, shape):
        size = int(np.prod(shape[1:]))
        units = np.asarray(self.layer(np.eye(size, dtype="float32").reshape(size, *shape[1:])))
        self.shape, self.matrix = units.shape[1:], units.reshape(size, -1)

    def call(self, x):
        flat = ops.reshape(x, (-1, len(self.matrix)))
        return ops.reshape(ops.matmul(flat, ops.cast(self.matrix, x.dtype)), (-1, *self.shape))


@keras.saving.register_keras_serializable(package="tests")
class SubclassedLayer(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(3, "sigmoid")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return ops.square(self.inner(x)) * ops.exp(x)


def nested(x):
    z = keras.Input((3,))
    return keras.Model(z, layers.Dense(2, "tanh")(z) * 2)(x)


def two_inputs(x):
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    return keras.Model([a, b], layers.Dense(2, "tanh")(a * b))([x, ops.cos(x)])


def dictionary(x):
    z = keras.Input((3,), name="z")
    outputs = {"u": layers.Dense(2, "tanh")(z), "v": layers.Dense(2, "sigmoid")(z)}
    found = keras.Model({"z": z}, outputs)({"z": x})
    return found["u"] * found["v"]


def on_itself(layer, **kwargs):
    return lambda x: layer([x, x * 0.7], **kwargs)


def cells(make):
    return lambda x: layers.RNN(make())(x)


def derivative(kind, num_outputs, **options):
    """A derivative layer of a small network."""

    def call(x):
        stack = [layers.Dense(2, "tanh"), layers.Dense(num_outputs, "tanh")]
        return kind(keras.Sequential([keras.Input(x.shape[1:]), *stack]), **options)(x)

    return call


def padded(x):
    return LastIsPadding()(x)


def windowed(reduce, windows):
    return lambda x: Windows(reduce, windows[0], windows[-1])(x)


def resampled(name, *args, **options):
    """A layer, and the equivalent for the truth."""
    make = getattr(layers, name)
    return (
        lambda x: make(*args, **options)(x),
        lambda x: Resampled(make(*args, **options, dtype="float32"))(x),
    )


def attending(cls, *args):
    """A layer, and the equivalent for the truth where Keras calls JAX's softmax in float32."""
    yield lambda x: cls(*args)(x, x)
    if keras.backend.backend() == "jax":
        yield lambda x: cls(*args)(x, x, return_attention_scores=True)[0]


class _Later:
    """`later.Dense(4)` is a function that makes such a layer and calls it."""

    def __getattr__(self, name):
        def configure(*args, **options):
            def make_and_call(*inputs, **kwargs):
                made = [arg() if _is_recipe(arg) else arg for arg in args]
                return getattr(layers, name)(*made, **options)(*inputs, **kwargs)

            return make_and_call

        return configure


def _is_recipe(arg):
    """A function of nothing, which makes a layer inside of a layer."""
    return getattr(arg, "__name__", "") == "<lambda>" and not arg.__code__.co_argcount


later = _Later()


def of(*stack):
    """Calls layers one after the other."""

    def call(x):
        for layer in stack:
            x = layer(x)
        return x

    return call


ROW, SERIES, SEQUENCE = (3,), (2, 1), (2, 2)
LINE, IMAGE, VOLUME = (3, 2), (2, 2, 2), (2, 2, 2, 1)
# windows along an axis: of two, sliding with padding, two of three, one by one
BOTH, SLIDING, THREE, SINGLES = [(0, 2)], [(0, 2), (1, 2)], [(0, 2), (1, 3)], [(0, 1), (1, 2)]


def _groups():
    """group -> name -> (input shape, function of a tensor).

    A third entry is an equivalent for the truth, where the layer does not compute in float64.
    """
    dense = {}
    dense["Dense"] = ROW, later.Dense(4)
    dense["Dense, on a sequence"] = SEQUENCE, later.Dense(3)
    dense["EinsumDense"] = SEQUENCE, later.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")
    dense["Embedding before it"] = SEQUENCE, lambda x: PlusEmbedding()(x)
    dense["ReversibleEmbedding, reversed"] = (
        ROW,
        lambda x: later.ReversibleEmbedding(4, 3)(x, reverse=True),
    )
    dense["Lambda"] = ROW, later.Lambda(lambda x: x * ops.exp(x))
    dense["Identity"] = ROW, later.Identity()
    dense["Subclassed"] = ROW, lambda x: SubclassedLayer()(x)
    dense["Model in a model"] = ROW, nested
    dense["Model of two inputs"] = ROW, two_inputs
    dense["Model of dicts"] = ROW, dictionary

    conv = {}
    for name, options in {
        "": {}, ", strides": {"strides": 2, "padding": "same"},
        ", dilation": {"dilation_rate": 2, "padding": "same"}, ", groups": {"groups": 2},
        ", causal": {"padding": "causal"},
    }.items():  # fmt: skip
        conv[f"Conv1D{name}"] = LINE, later.Conv1D(2, 2, **options)
        if "causal" not in name:
            conv[f"Conv2D{name}"] = IMAGE, later.Conv2D(2, 2, **options)
    conv["Conv3D"] = VOLUME, later.Conv3D(2, 2, padding="same")
    conv["Conv3D, strides"] = VOLUME, later.Conv3D(2, 2, 2)
    for n, shape in ((1, LINE), (2, IMAGE)):
        for kind in ("SeparableConv", "DepthwiseConv"):
            filters = (2,) if kind == "SeparableConv" else ()
            cls = getattr(later, f"{kind}{n}D")
            conv[f"{kind}{n}D"] = shape, cls(*filters, 2)
            conv[f"{kind}{n}D, strides"] = shape, cls(*filters, 2, strides=2, padding="same")
    for n, shape in ((1, SEQUENCE), (2, (2, 2, 2)), (3, VOLUME)):
        cls = getattr(later, f"Conv{n}DTranspose")
        conv[f"Conv{n}DTranspose"] = shape, cls(2, 2)
        conv[f"Conv{n}DTranspose, strides"] = shape, cls(1, 2, strides=2, padding="same")

    pool = {}
    for n, shape in ((1, LINE), (2, IMAGE), (3, VOLUME)):
        for kind, reduce in (("Average", ops.mean), ("Max", ops.max)):
            cls, adaptive = (
                getattr(later, f"{name}{kind}Pooling{n}D") for name in ("", "Adaptive")
            )
            rows = {
                f"{kind}Pooling{n}D": (shape, cls(2), BOTH),
                f"{kind}Pooling{n}D, overlapping": (shape, cls(2, 1, "same"), SLIDING),
                f"Adaptive{kind}Pooling{n}D": ((*(3, 2, 2)[:n], 1), adaptive(2), THREE, SINGLES),
            }
            for name, (size, layer, *windows) in rows.items():
                twin = (windowed(reduce, windows),) if n == 3 else ()
                pool[name] = size, layer, *twin
            pool[f"Global{kind}Pooling{n}D"] = shape, getattr(later, f"Global{kind}Pooling{n}D")()

    recurrent = {}
    for name in ("LSTM", "GRU", "SimpleRNN"):
        cls, cell = getattr(later, name), getattr(layers, f"{name}Cell")
        recurrent[name] = SERIES, cls(2)
        recurrent[f"{name}, sequences"] = SERIES, cls(2, return_sequences=True)
        recurrent[f"{name}, unrolled"] = SERIES, cls(2, unroll=True)
        recurrent[f"{name}, masked"] = SERIES, of(padded, cls(2))
        recurrent[f"{name}, unknown length"] = (None, 1), cls(2)
        recurrent[f"{name}Cell"] = SERIES, cells(lambda cell=cell: [cell(2)])
    recurrent["GRU, reset before"] = SERIES, later.GRU(2, reset_after=False)
    recurrent["Bidirectional"] = SERIES, later.Bidirectional(lambda: layers.LSTM(2))
    recurrent["StackedRNNCells"] = (
        SERIES,
        cells(lambda: [layers.GRUCell(2), layers.SimpleRNNCell(2)]),
    )
    recurrent["TimeDistributed"] = SERIES, later.TimeDistributed(lambda: layers.Dense(2, "tanh"))
    recurrent["ConvLSTM1D"] = (2, 2, 1), later.ConvLSTM1D(1, 2)
    recurrent["ConvLSTM2D"] = (2, 2, 2, 1), later.ConvLSTM2D(1, 2)
    recurrent["ConvLSTM3D"] = (2, 2, 2, 2, 1), later.ConvLSTM3D(1, 2)

    norm = {}
    norm["BatchNormalization"] = ROW, later.BatchNormalization()
    norm["LayerNormalization"] = (4,), later.LayerNormalization()
    norm["LayerNormalization, two axes"] = SEQUENCE, later.LayerNormalization(axis=(1, 2))
    norm["GroupNormalization"] = (4,), later.GroupNormalization(2)
    norm["GroupNormalization, images"] = (2, 2, 2), later.GroupNormalization(2)
    norm["RMSNormalization"] = (4,), later.RMSNormalization()
    norm["UnitNormalization"] = (4,), later.UnitNormalization()
    norm["SpectralNormalization"] = (
        ROW,
        later.SpectralNormalization(lambda: layers.Dense(3, "tanh")),
    )
    norm["Normalization"] = ROW, later.Normalization(mean=0.2, variance=1.5)
    norm["Rescaling"] = ROW, later.Rescaling(0.7, 0.1)

    attention = {}
    attention["Attention"] = SEQUENCE, on_itself(later.Attention())
    attention["Attention, concat"] = SEQUENCE, on_itself(later.Attention(score_mode="concat"))
    attention["Attention, causal"] = SEQUENCE, on_itself(later.Attention(), use_causal_mask=True)
    attention["AdditiveAttention"] = SEQUENCE, on_itself(later.AdditiveAttention())
    attention["MultiHeadAttention"] = SEQUENCE, *attending(layers.MultiHeadAttention, 2, 2)
    attention["MultiHeadAttention, masked"] = (
        SEQUENCE,
        lambda x: of(LastIsPadding(), lambda z: later.MultiHeadAttention(1, 2)(z, z))(x),
    )
    attention["GroupQueryAttention"] = SEQUENCE, *attending(layers.GroupQueryAttention, 2, 2, 1)

    activation = {}
    for name in (
        "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
        "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6",
        "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus",
        "sparse_sigmoid", "sparsemax", "squareplus", "tanh", "tanh_shrink", "threshold",
    ):  # fmt: skip
        function = keras.activations.get(name) if name != "threshold" else None
        function = function or (lambda x: keras.activations.threshold(x, 0.1, 0.3))
        layer = later.Lambda if name == "glu" else later.Activation  # glu halves the width
        activation[f"Activation, {name}"] = (4,), layer(function)
    activation |= {
        "ELU": (ROW, later.ELU()), "LeakyReLU": (ROW, later.LeakyReLU(0.3)), "PReLU": (ROW, later.PReLU()),
        "ReLU": (ROW, later.ReLU(max_value=0.8, negative_slope=0.1)), "Softmax": (ROW, later.Softmax()),
    }  # fmt: skip

    merge = {name: (ROW, lambda x, name=name: getattr(later, name)()([x, ops.cos(x)])) for name in (
        "Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract",
    )}  # fmt: skip
    merge["Dot"] = SEQUENCE, lambda x: later.Dot(axes=(1, 1))([x, ops.cos(x)])
    merge["Dot, normalised"] = ROW, lambda x: later.Dot(axes=1, normalize=True)([x, ops.cos(x) + x])

    shape = {}
    shape["Flatten"] = SEQUENCE, later.Flatten()
    shape["Permute"] = SEQUENCE, later.Permute((2, 1))
    shape["RepeatVector"] = ROW, later.RepeatVector(2)
    shape["Reshape"] = SEQUENCE, later.Reshape((4, 1))
    for n, size in ((1, LINE), (2, IMAGE), (3, VOLUME)):
        shape[f"ZeroPadding{n}D"] = size, getattr(later, f"ZeroPadding{n}D")(1)
        shape[f"UpSampling{n}D"] = size, getattr(later, f"UpSampling{n}D")(2)
        crop = getattr(later, f"Cropping{n}D")
        shape[f"Cropping{n}D"] = size, crop(1 if n == 1 else ((1, 0), (0, 0), (0, 1))[:n])
    small = (2, 2, 1)
    for name in ("bilinear", "bicubic", "lanczos3", "lanczos5"):
        shape[f"UpSampling2D, {name}"] = small, *resampled("UpSampling2D", 2, interpolation=name)
    for name in ("nearest", "bilinear", "bicubic", "lanczos3", "area"):
        shape[f"Resizing, {name}"] = small, *resampled("Resizing", 3, 3, interpolation=name)
    shape["Resizing, antialias"] = IMAGE, *resampled("Resizing", 1, 2, antialias=True)
    shape["CenterCrop"] = (3, 2, 1), later.CenterCrop(1, 2)

    regular = {}
    regular["ActivityRegularization"] = ROW, later.ActivityRegularization(l2=0.1)
    regular["Masking"] = SEQUENCE, of(later.Masking(), later.LSTM(2, unroll=True))
    for name in ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise"):
        regular[name] = ROW, getattr(later, name)(0.5)
    for n, size in ((1, LINE), (2, IMAGE), (3, VOLUME)):
        regular[f"SpatialDropout{n}D"] = size, getattr(later, f"SpatialDropout{n}D")(0.5)

    signal = {}
    signal["STFTSpectrogram"] = (6, 1), later.STFTSpectrogram("log", 4, 2, 4)
    tones = dict(num_mel_bins=2, min_freq=0.5, top_db=1e3)
    signal["MelSpectrogram"] = (
        (8,),
        lambda x: layers.MelSpectrogram(4, 2, 4, "hann", 8, **tones)(x),
        lambda x: Mel(4, 2, 4, "hann", 8, ref_power=np.float64(1), **tones)(x),
    )

    augment = {}
    colours = (2, 1, 3)
    for name, arguments in {
        "AugMix": (), "AutoContrast": (),
        "CutMix": (), "MaxNumBoundingBoxes": (2,), "MixUp": (), "RandAugment": (), "RandomBrightness": (0.1,),
        "RandomColorDegeneration": (0.1,), "RandomColorJitter": (), "RandomContrast": (0.1,),
        "RandomCrop": (2, 1), "RandomElasticTransform": (), "RandomErasing": (), "RandomFlip": (),
        "RandomGaussianBlur": (), "RandomGrayscale": (), "RandomHue": (0.1,), "RandomInvert": (),
        "RandomPerspective": (), "RandomPosterization": (4,), "RandomRotation": (0.1,),
        "RandomSaturation": (0.1,), "RandomSharpness": (0.1,), "RandomShear": (),
        "RandomTranslation": (0.1, 0.1), "RandomZoom": (0.1,), "Solarization": (),
    }.items():  # fmt: skip
        augment[name] = colours, getattr(later, name)(*arguments)
    augment["Pipeline"] = (
        colours,
        later.Pipeline(lambda: [layers.RandomFlip(), layers.Rescaling(0.5)]),
    )

    derivatives = {
        "GradientPenalty": ((2,), derivative(kd.GradientPenalty, 1, target=1.0)),
        "JacobianPenalty": ((2,), derivative(kd.JacobianPenalty, 2)),
        "LogDeterminant": ((2,), derivative(kd.LogDeterminant, 2)),
        "Divergence": ((2,), derivative(kd.Divergence, 2)),
        "Gradient": ((2,), derivative(kd.Gradient, 1)),
        "Laplacian": ((2,), derivative(kd.Laplacian, 1)),
    }

    return {
        "Dense and the like": dense, "Convolution": conv, "Pooling": pool, "Recurrent": recurrent,
        "Normalisation": norm, "Attention": attention, "Activation": activation, "Merging": merge,
        "Reshaping": shape, "Regularisation": regular, "Signals": signal,
        "Augmentation, at inference": augment, "Derivatives": derivatives,
    }  # fmt: skip


GROUPS = _groups()
NAMES = {name: group for group, rows in GROUPS.items() for name in rows}


def covered():
    """The classes of `keras.layers` that stand in a row."""
    found = set()
    for name in NAMES:
        found |= {type(layer) for layer in build(name)._flatten_layers()}
    return found


def build(name, dtype="float64", equivalent=False):
    """x -> sin -> the layer -> a small network, with seeded weights."""
    keras.utils.set_random_seed(0)
    with precision(dtype):
        shape, *functions = GROUPS[NAMES[name]][name]
        x = keras.Input(shape)
        h = functions[-1 if equivalent else 0](ops.sin(x))
        masked = getattr(h, "_keras_mask", None) is not None
        flatten = layers.GlobalAveragePooling1D if None in h.shape[1:] or masked else layers.Flatten
        h = flatten()(h)
        num_outputs = 1 if NAMES[name] in ("Recurrent", "Attention") else 2  # one is faster
        head = layers.Dense(3, "tanh", name="head")(h)
        model = keras.Model(x, layers.Dense(num_outputs)(head))
    scatter(model)
    return model


def has_equivalent(name):
    return len(GROUPS[NAMES[name]][name]) > 2


def scatter(model):
    """Move all weights from where they start; zeros and ones would hide errors."""
    random = np.random.default_rng(1)
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(variable + random.uniform(0.1, 0.4, variable.shape))


def points(model, samples=2):
    """Distinct numbers, none near zero: away from kinks and ties."""
    shape = [2 if n is None else n for n in model.input_shape[1:]]
    count = samples * int(np.prod(shape))
    return (
        np.random.default_rng(2)
        .permutation(np.linspace(-1.3, 1.3, count + count % 2))[:count]
        .reshape(samples, *shape)
    )

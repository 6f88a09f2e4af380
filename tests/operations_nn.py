"""Rows of convolutions, pooling, attention, losses and images."""

import functools
import itertools

import numpy as np
from keras import ops
from mpmath import mp
from operation_row import Case, arrays, each, exactly, matrix_of


def linear(function, shape, **options):
    """A row of a linear function of one array; the truth is its matrix, from plain values."""
    return arrays(
        lambda x: function(x * x), lambda x: matrix_of(function, shape)(x * x), shape, **options
    )


def bilinear(function, left, right, orders=4):
    """A row of a function that is linear in each of two arrays; the second has no batch axis."""

    @functools.cache
    def tensor():
        units = [np.eye(int(np.prod(shape))).reshape(-1, *shape) for shape in (left, right)]
        return np.stack(
            [np.asarray(function(ops.convert_to_tensor(units[0]), unit)) for unit in units[1]]
        )

    def reference(x, y):
        t = exactly(tensor())
        t = np.tensordot(y.ravel(), t, 1)
        return np.tensordot(x.ravel(), t, 1)

    return arrays(
        lambda x, y: function(x[None], y)[0], reference, left, right, per_sample=True, orders=orders
    )


def softmax(x):
    e = each(mp.exp)(x)
    return e / sum(e)


def attention(q, k, v):
    """(T, N, H), as Keras orders the axes."""
    heads = []
    for n in range(q.shape[1]):
        scores = q[:, n] @ k[:, n].T / mp.sqrt(q.shape[2])
        heads.append(np.stack([softmax(row) for row in scores]) @ v[:, n])
    return np.stack(heads, 1)


def pooled(x, size, stride, combine):
    starts = range(0, len(x) - size + 1, stride)
    return np.stack(
        [np.array([combine(x[n : n + size, c]) for c in range(x.shape[1])]) for n in starts]
    )


def crossentropy(target, output):
    """Of probabilities that Keras divides by their sum first."""
    return -sum(target * each(mp.log)(output / sum(output)))


def crossentropy_of_logits(target, output):
    return -sum(target * (output - mp.log(sum(each(mp.exp)(output)))))


def binary(target, output):
    return -(target * each(mp.log)(output) + (1 - target) * each(mp.log)(1 - output))


def binary_of_logits(target, output):
    return np.array([(1 - t) * x + mp.log1p(mp.exp(-x)) for t, x in zip(target, output)])


def ctc(x, label=(1, 2)):
    """Minus the log of the probability of all alignments (Graves et al., 2006); 0 is blank."""
    p = np.stack([softmax(row) for row in x])
    total = 0
    for way in itertools.product(range(3), repeat=3):
        if tuple(n for n, _ in itertools.groupby(way) if n) == label:
            total = total + p[0, way[0]] * p[1, way[1]] * p[2, way[2]]
    return -mp.log(total)


def rgb_to_hsv(x):
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    out = np.empty(x.shape, dtype=object)
    for at in np.ndindex(r.shape):
        high, low = max(x[at]), min(x[at])
        c = high - low
        turn = (
            (g[at] - b[at]) / c
            if high == r[at]
            else 2 + (b[at] - r[at]) / c
            if high == g[at]
            else 4 + (r[at] - g[at]) / c
        )
        out[at] = [turn / 6 - mp.floor(turn / 6), c / high, high]
    return out


def hsv_to_rgb(x):
    out = np.empty(x.shape, dtype=object)
    for at in np.ndindex(x.shape[:-1]):
        h, s, v = x[at]
        k = [(n + 6 * h) % 6 for n in (5, 3, 1)]
        out[at] = [v - v * s * max(0 * h, min(q, 4 - q, 1 + 0 * h)) for q in k]
    return out


def interpolated(image, points):
    """Values between the pixels of an image, (N, 2) points, zero outside."""
    found = []
    for y, x in points:
        i, j = int(mp.floor(y)), int(mp.floor(x))
        found.append(sum(
            image[a, b] * (1 - abs(y - a)) * (1 - abs(x - b))
            for a in (i, i + 1) for b in (j, j + 1) if 0 <= a < image.shape[0] and 0 <= b < image.shape[1]
        ))  # fmt: skip
    return np.array(found)


def map_coordinates(image, coordinates):
    return interpolated(image, coordinates.T)


PIXELS = np.array(list(itertools.product(range(3), range(4))))


def affine(image, t):
    """Pixels of the result at (x, y) come from (a x + b y + c, d x + e y + f)."""
    points = [(t[3] * j + t[4] * i + t[5], t[0] * j + t[1] * i + t[2]) for i, j in PIXELS]
    return interpolated(image[..., 0], points).reshape(3, 4, 1)


def near_identity(t):
    """An affine map close to the identity from any six numbers; no pixel falls on another."""
    return t / 16 + np.array([1.0, 0.0, 0.1, 0.0, 1.0, 0.15])


def psnr(x, y):
    return 10 * mp.log10(4 / np.mean((x - y) ** 2))


POOL = np.array([[1.5, 0.5], [1.5, 0.5], [-0.25, 0.5], [0.75, 2.0]])
ROWS = {
    "conv": bilinear(lambda x, k: ops.conv(x, k), (5, 2), (2, 2, 3)),
    "conv, strides": bilinear(lambda x, k: ops.conv(x, k, 2, "same"), (5, 4, 2), (3, 2, 2, 2)),
    "conv, groups": bilinear(lambda x, k: ops.conv(x, k), (4, 4, 4), (2, 2, 2, 2), orders=2),
    "conv, dilation": bilinear(lambda x, k: ops.conv(x, k, dilation_rate=2), (5, 5, 1), (2, 2, 1, 2)),
    "conv, volumes": bilinear(lambda x, k: ops.conv(x, k), (3, 3, 3, 1), (2, 2, 2, 1, 1)),
    "conv_transpose": bilinear(lambda x, k: ops.conv_transpose(x, k, 2), (3, 3, 2), (2, 2, 2, 2)),
    "conv_transpose, volumes": bilinear(lambda x, k: ops.conv_transpose(x, k, 1), (2, 2, 2, 1), (2, 2, 2, 1, 1)),
    "depthwise_conv": bilinear(lambda x, k: ops.depthwise_conv(x, k), (4, 4, 2), (2, 2, 2, 2)),
    "separable_conv": bilinear(lambda x, k: ops.separable_conv(x, k, ops.ones((1, 1, 4, 2), x.dtype)), (4, 4, 2), (2, 2, 2, 2)),
    "average_pool": linear(lambda x: ops.average_pool(x, 2, 1, "same"), (4, 3, 2)),
    "max_pool": arrays(lambda x: ops.max_pool(x, 2, 2), lambda x: pooled(x, 2, 2, max), (4, 2),
                       ties=[Case((POOL,), lambda x: np.array([[x[0, 0], x[0, 1]], [x[3, 0], x[3, 1]]]))]),
    "max_pool, overlapping": arrays(lambda x: ops.max_pool(x, 3, 1), lambda x: pooled(x, 3, 1, max), (5, 2)),
    "adaptive_average_pool": linear(lambda x: ops.adaptive_average_pool(x, 2), (4, 2)),
    "adaptive_max_pool": arrays(lambda x: ops.adaptive_max_pool(x, 2), lambda x: pooled(x, 2, 2, max), (4, 2)),
    "depth_to_space": linear(lambda x: ops.depth_to_space(x, 2), (2, 2, 4)),
    "space_to_depth": linear(lambda x: ops.space_to_depth(x, 2), (2, 2, 4)),
    "unfold": linear(lambda x: ops.unfold(x, 2), (1, 3, 3)),
    "fold": linear(lambda x: ops.fold(x, (3, 3), 2), (4, 4), orders=1),
    "extract_sequences": linear(lambda x: ops.extract_sequences(x, 4, 2), (8,)),
    "glu": arrays(ops.glu, lambda x: x[:2] / (1 + each(mp.exp)(-x[2:])), (4,)),
    "sparsemax": arrays(ops.sparsemax, lambda x: sparsemax(x), (3,)),
    "dot_product_attention": arrays(lambda q, k, v: ops.dot_product_attention(q, k, v), attention, (2, 1, 2), (3, 1, 2), (3, 1, 2)),
    "binary_crossentropy": arrays(ops.binary_crossentropy, lambda t, x: binary(t, x), (3,), (3,), domain=(0.1, 0.9)),
    "binary_crossentropy of logits": arrays(lambda t, x: ops.binary_crossentropy(t, x, from_logits=True), binary_of_logits, (3,), (3,),
                                            zero=[(np.ones(3) * 0.5, np.zeros(3))], large=[(np.array([0.0, 1.0, 0.5]), np.array([50.0, -60.0, 1000.0]))]),
    "categorical_crossentropy": arrays(lambda t, x: ops.categorical_crossentropy(t, x), crossentropy, (3,), (3,), domain=(0.1, 0.9)),
    "categorical_crossentropy of logits": arrays(lambda t, x: ops.categorical_crossentropy(t, x, from_logits=True), crossentropy_of_logits, (3,), (3,),
                                                 large=[(np.array([0.25, 0.5, 0.25]), np.array([1e3, 999.0, 0.0]))]),
    "sparse_categorical_crossentropy": arrays(lambda x: ops.sparse_categorical_crossentropy(np.array([2, 0]), x), lambda x: np.array([crossentropy(np.eye(3)[n], row) for n, row in zip((2, 0), x)]),
                                              (2, 3), domain=(0.1, 0.9), per_sample=True),
    "sparse_categorical_crossentropy of logits": arrays(lambda x: ops.sparse_categorical_crossentropy(np.array([2, 0]), x, from_logits=True),
                                                        lambda x: np.array([crossentropy_of_logits(np.eye(3, dtype=int)[n], row) for n, row in zip((2, 0), x)]), (2, 3), per_sample=True),
    "ctc_loss": arrays(lambda x: ops.ctc_loss(np.array([[1, 2]]), x[None], np.array([2]), np.array([3]))[0], ctc, (3, 3), per_sample=True),
    "psnr": arrays(lambda x, y: ops.psnr(x, y, 2.0), psnr, (3, 2), (3, 2), per_sample=True),
    "image.resize, bilinear": linear(lambda x: ops.image.resize(x, (4, 3)), (2, 2, 1)),
    "image.resize, nearest": linear(lambda x: ops.image.resize(x, (4, 3), "nearest"), (2, 2, 1)),
    "image.resize, bicubic": linear(lambda x: ops.image.resize(x, (4, 3), "bicubic"), (3, 3, 1)),
    "image.resize, lanczos3": linear(lambda x: ops.image.resize(x, (4, 3), "lanczos3"), (3, 3, 1)),
    "image.resize, antialias": linear(lambda x: ops.image.resize(x, (2, 2), antialias=True), (4, 4, 1)),
    "image.resize, crop": linear(lambda x: ops.image.resize(x, (4, 3), crop_to_aspect_ratio=True), (3, 3, 1)),
    "image.crop_images": linear(lambda x: ops.image.crop_images(x, 1, 0, target_height=2, target_width=2), (3, 3, 1)),
    "image.pad_images": linear(lambda x: ops.image.pad_images(x, 1, 0, target_height=4, target_width=4), (2, 3, 1)),
    "image.extract_patches": linear(lambda x: ops.image.extract_patches(x, (2, 2)), (4, 4, 1)),
    "image.extract_patches_3d": linear(lambda x: ops.image.extract_patches_3d(x, (2, 2, 2)), (2, 2, 4, 1)),
    "image.gaussian_blur": linear(lambda x: ops.image.gaussian_blur(x, (3, 3), (1.0, 1.0)), (3, 3, 1)),
    "image.rgb_to_grayscale": linear(lambda x: ops.image.rgb_to_grayscale(x), (2, 2, 3)),
    "image.sobel_edges": linear(lambda x: ops.image.sobel_edges(x), (3, 3, 1)),
    "image.rgb_to_hsv": arrays(lambda x: ops.image.rgb_to_hsv(x), rgb_to_hsv, (2, 2, 3), domain=(0.1, 0.9)),
    "image.hsv_to_rgb": arrays(lambda x: ops.image.hsv_to_rgb(x), hsv_to_rgb, (2, 2, 3), domain=(0.15, 0.9)),
    "image.map_coordinates": arrays(lambda x, c: ops.image.map_coordinates(x, c, 1), map_coordinates, (3, 4), (2, 3), domain=(0.15, 1.9), per_sample=True),
    "image.affine_transform": arrays(lambda x, t: ops.image.affine_transform(x, ops.pad(near_identity(t), ((0, 0), (0, 2)))),
                                     lambda x, t: affine(x, near_identity(t)), (3, 4, 1), (6,)),
    "image.affine_transform, images": linear(lambda x: ops.image.affine_transform(x, ops.broadcast_to(np.array([1.0, 0.1, 0.2, -0.1, 1.0, 0.3, 0.0, 0.0], "float32"), (ops.shape(x)[0], 8))), (3, 4, 1)),
    "image.perspective_transform": linear(lambda x: ops.image.perspective_transform(x, *[ops.broadcast_to(np.array(p, "float32"), (ops.shape(x)[0], 4, 2)) for p in
                                          ([[0, 0], [0, 3], [3, 0], [3, 3]], [[0.2, 0.1], [0.1, 2.9], [3.1, 0.2], [2.8, 2.9]])]), (4, 4, 1)),
    "image.scale_and_translate": linear(lambda x: ops.image.scale_and_translate(x, (4, 4, 1), np.array([1.5, 1.2], "float32"), np.array([0.1, 0.2], "float32"), (0, 1), "linear"), (3, 3, 1), per_sample=True),
    "image.ssim": arrays(lambda x, y: ops.image.ssim(x, y, 1.0, filter_size=3), lambda x, y: ssim(x, y), (3, 3, 1), (3, 3, 1), domain=(0.1, 0.9)),
    "image.elastic_transform": linear(lambda x: ops.image.elastic_transform(x, alpha=1.0, sigma=1.0, seed=1), (4, 4, 1)),
}  # fmt: skip


def sparsemax(x):
    """The projection on the simplex (Martins and Astudillo, 2016)."""
    z = np.sort(x)[::-1]
    taken = max(k for k in range(1, len(z) + 1) if 1 + k * z[k - 1] > sum(z[:k]))
    shift = (sum(z[:taken]) - 1) / taken
    return np.array([value - shift if value > shift else 0 * value for value in x])


def ssim(x, y, size=3, sigma=1.5):
    """Of one window (Wang et al., 2004)."""
    g = np.array(
        [mp.exp(-(mp.mpf(n) ** 2) / (2 * sigma**2)) for n in range(-(size // 2), size // 2 + 1)]
    )
    w = np.multiply.outer(g, g)
    w = w / w.sum()
    x, y = x[..., 0], y[..., 0]
    a, b = (w * x).sum(), (w * y).sum()
    c1, c2 = mp.mpf("0.01") ** 2, mp.mpf("0.03") ** 2
    var = (w * (x * x + y * y)).sum() - a * a - b * b
    cov = (w * x * y).sum() - a * b
    return (2 * a * b + c1) * (2 * cov + c2) / ((a * a + b * b + c1) * (var + c2))

"""Rows of TensorFlow's own functions, which Keras does not have."""

import numpy as np
import tensorflow as tf
from mpmath import mp
from operation_row import arrays, elementwise

HALF, POINTS = mp.mpf("0.5"), [0.3, 0.8, 1.7, 2.6]


def special(function, reference, points=POINTS, **kinds):
    return elementwise(
        function, reference, generic=points, wide=False, whole={}, domain=(0.1, mp.inf), **kinds
    )


def like(x, number):
    """A constant of the shape of x."""
    return tf.broadcast_to(tf.constant(number, x.dtype), tf.shape(x))


def segments(function):
    return lambda x: tf.ensure_shape(function(x), (2,))


def bessel(order, scaled=False):
    return lambda x: mp.besseli(order, x) * (mp.exp(-abs(x)) if scaled else 1)


def dawson(x):
    return mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x)


def xlogy(x, y):
    return np.array([a * mp.log(b) for a, b in zip(x, y)])


def cumulative(x):
    return np.array([mp.log(sum(map(mp.exp, x[: n + 1]))) for n in range(len(x))])


def products(x):
    return np.array([x[0] * x[1], x[2] * x[3]])


def response(x):
    """Local response normalisation over the neighbouring channels."""
    near = [range(max(0, n - 1), min(len(x), n + 2)) for n in range(len(x))]
    return np.array([x[n] / mp.sqrt(1 + sum(x[k] ** 2 for k in ks)) for n, ks in enumerate(near)])


SEGMENTS = [0, 0, 1, 1]
PAIR = (np.array([0.0, 1.0, 0.0]), np.array([0.5, 2.0, 1.5]))
WINDOW = np.array([[[0.5], [0.0]], [[1.0], [0.25]]])
WITH_ZEROS = np.array([0.0, 1.5, 0.0, 0.0])
ROWS = {
    "tf.math.lgamma": special(tf.math.lgamma, mp.loggamma),
    "tf.math.digamma": special(tf.math.digamma, mp.digamma),
    "tf.math.polygamma": special(lambda x: tf.math.polygamma(like(x, 1.0), x), lambda x: mp.psi(1, x)),
    "tf.math.zeta": special(lambda x: tf.math.zeta(like(x, 3.0), x), lambda x: mp.psi(2, x) / -2),
    "tf.math.igamma": special(lambda x: tf.math.igamma(like(x, 1.5), x), lambda x: mp.gammainc(1.5, 0, x, regularized=True)),
    "tf.math.igammac": special(lambda x: tf.math.igammac(like(x, 1.5), x), lambda x: mp.gammainc(1.5, x, mp.inf, regularized=True)),
    "tf.math.betainc": special(lambda x: tf.math.betainc(like(x, 1.5), like(x, 2.0), x),
                               lambda x: x ** mp.mpf(1.5) * (mp.mpf(2.5) - mp.mpf(1.5) * x), [0.25, 0.5, 0.75]),
    "tf.math.ndtri": special(tf.math.ndtri, lambda x: mp.sqrt(2) * mp.erfinv(2 * x - 1), [0.25, 0.5, 0.75]),
    "tf.math.erfcinv": special(tf.math.erfcinv, lambda x: mp.erfinv(1 - x), [0.25, 0.75, 1.25]),
    "tf.math.bessel_i0": special(tf.math.bessel_i0, bessel(0)),
    "tf.math.bessel_i1": special(tf.math.bessel_i1, bessel(1), zero={0.0: (0, HALF, 0, HALF * 3 / 4, 0)}),
    "tf.math.bessel_i0e": special(tf.math.bessel_i0e, bessel(0, True)),
    "tf.math.bessel_i1e": special(tf.math.bessel_i1e, bessel(1, True)),
    "tf.math.special.bessel_j0": special(tf.math.special.bessel_j0, lambda x: mp.besselj(0, x)),
    "tf.math.special.bessel_j1": special(tf.math.special.bessel_j1, lambda x: mp.besselj(1, x), zero={0.0: (0, HALF, 0, -HALF * 3 / 4, 0)}),
    "tf.math.special.spence": special(tf.math.special.spence, lambda x: mp.polylog(2, 1 - x), [0.3, 0.8, 1.7]),
    "tf.math.special.expint": special(tf.math.special.expint, mp.ei),
    "tf.math.special.dawsn": special(tf.math.special.dawsn, dawson),
    "tf.math.special.fresnel_sin": special(tf.math.special.fresnel_sin, mp.fresnels),
    "tf.math.special.fresnel_cos": special(tf.math.special.fresnel_cos, mp.fresnelc),
    "tf.math.xlogy": arrays(tf.math.xlogy, xlogy, (3,), (3,), domain=(0.5, 2.0), zero=[PAIR]),
    "tf.math.xlog1py": arrays(tf.math.xlog1py, lambda x, y: xlogy(x, 1 + y), (3,), (3,), domain=(0.5, 2.0), zero=[PAIR]),
    "tf.math.xdivy": arrays(tf.math.xdivy, lambda x, y: x / y, (3,), (3,), domain=(0.5, 2.0), zero=[PAIR]),
    "tf.math.squared_difference": arrays(tf.math.squared_difference, lambda x, y: (x - y) ** 2, (3,), (3,)),
    "tf.math.cumulative_logsumexp": arrays(lambda x: tf.math.cumulative_logsumexp(x, axis=-1), cumulative, (4,), zero=[(np.zeros(4),)]),
    "tf.math.segment_prod": arrays(segments(lambda x: tf.math.segment_prod(x, SEGMENTS)), products, (4,), per_sample=True, zero=[(WITH_ZEROS,)]),
    "tf.math.segment_sum": arrays(segments(lambda x: tf.math.segment_sum(x * x, SEGMENTS)), lambda x: np.array([x[0] ** 2 + x[1] ** 2, x[2] ** 2 + x[3] ** 2]), (4,), per_sample=True),
    "tf.math.segment_mean": arrays(segments(lambda x: tf.math.segment_mean(x * x, SEGMENTS)), lambda x: np.array([x[0] ** 2 + x[1] ** 2, x[2] ** 2 + x[3] ** 2]) / 2, (4,), per_sample=True),
    "tf.math.reduce_euclidean_norm": arrays(lambda x: tf.math.reduce_euclidean_norm(x, -1), lambda x: mp.sqrt(sum(x * x)), (4,), zero=[(WITH_ZEROS,)]),
    "tf.nn.local_response_normalization": arrays(lambda x: tf.nn.local_response_normalization(x, 1, 1.0, 1.0, 0.5), lambda x: response(x[0, 0])[None, None], (1, 1, 4), dtypes=("float32",)),
    "tf.nn.dilation2d": arrays(lambda x: tf.nn.dilation2d(x, tf.constant(WINDOW, x.dtype), [1] * 4, "VALID", "NHWC", [1] * 4), lambda x: np.array([[[np.max(x + WINDOW)]]]), (2, 2, 1), orders=1),
    "tf.gather_nd": arrays(lambda x: tf.gather_nd(x * x, [[1], [0], [1]]), lambda x: (x * x)[[1, 0, 1]], (3,), per_sample=True),
    "tf.linalg.diag": arrays(lambda x: tf.linalg.diag(x * x), lambda x: np.diag(x * x), (3,)),
    "tf.linalg.trace": arrays(lambda x: tf.linalg.trace(x * x), lambda x: np.trace(x * x), (3, 3)),
    "tf.nn.elu": elementwise(tf.nn.elu, lambda x: x if x > 0 else mp.expm1(x), zero={0.0: (0, 1, 1, 1, 1)}),
    "tf.nn.crelu": arrays(tf.nn.crelu, lambda x: np.array([max(z, 0 * z) for z in [*x, *-x]]), (3,)),
    "tf.nn.l2_loss": arrays(lambda x: tf.nn.l2_loss(x), lambda x: sum(x * x) / 2, (3,), per_sample=True),
}  # fmt: skip

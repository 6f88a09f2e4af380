"""Rows of linear algebra and of transforms; the references are mpmath's algorithms."""

import mpmath
import numpy as np
from keras import ops
from mpmath import mp
from operation_row import Case, array, arrays, complex_of, matrix, pairs_of

S = np.array([[2.0, 0.5, -0.25], [0.5, 1.5, 0.75], [-0.25, 0.75, 3.0]])


def spd(x):
    """A positive definite matrix of a square one, a polynomial of it."""
    return x @ x.T + np.eye(len(x), dtype=int)


def spd_of(x):
    return ops.matmul(x, ops.swapaxes(x, -1, -2)) + ops.eye(x.shape[-1], dtype=x.dtype)


def symmetric(x):
    return x + x.T


def symmetric_of(x):
    return x + ops.swapaxes(x, -1, -2)


def of(function):
    """A function of mpmath's matrices, of an array."""
    return lambda x: function(matrix(x))


def det(x):
    """By expansion: right at singular matrices, too."""
    if len(x) == 1:
        return x[0, 0]
    minors = (np.delete(np.delete(x, 0, 0), n, 1) for n in range(len(x)))
    return sum((-1) ** n * x[0, n] * det(minor) for n, minor in enumerate(minors))


def logdet(x):
    return mp.log(abs(det(x)))


def inverse(x):
    return array(mpmath.inverse(matrix(x)))


def cholesky(x):
    return array(mpmath.cholesky(matrix(x)))


def eigenvalues(x):
    values = mpmath.eigsy(matrix(x), eigvals_only=True)
    return np.array([values[n] for n in range(len(values))], dtype=object)


def svdvals(x):
    values = mpmath.svd_r(matrix(x), compute_uv=False)
    return np.array([values[n] for n in range(len(values))], dtype=object)


def squares_of(values):
    return lambda x: sum(values(x) ** 2)


def frobenius(x):
    return np.sum(x * x)


def qr(x):
    q, r = mpmath.qr(matrix(x), mode="skinny")
    signs = np.array([mp.sign(r[n, n]) for n in range(r.cols)])
    return array(q) * signs, array(r) * signs[:, None]


def signed_qr(x):
    """Q and R with a positive diagonal, as the factors are unique then."""
    q, r = ops.qr(x)
    signs = ops.sign(ops.diagonal(r, axis1=-2, axis2=-1))
    return q * signs[:, None], r * signs[:, :, None]


def projector(x):
    """v v^T of the eigenvector of the least eigenvalue, unlike v of a unique sign."""
    _, vectors = mpmath.eigsy(matrix(x))
    v = array(vectors)[:, 0]
    return np.multiply.outer(v, v)


def projector_of(x):
    v = ops.eigh(x)[1][..., 0]
    return v[:, :, None] * v[:, None]


def solve(a, b):
    return inverse(a) @ b


def pinv(x):
    return inverse(x.T @ x) @ x.T


def dft(pairs):
    """The discrete Fourier transform of the last axis of pairs (real, imaginary)."""
    z = complex_of(pairs)
    n = z.shape[-1]
    w = np.array([[mp.expjpi(mp.mpf(-2 * i * k) / n) for k in range(n)] for i in range(n)])
    return pairs_of(z @ w)


def fft(x):
    real, imaginary = ops.fft((x[..., 0], x[..., 1]))
    return ops.stack([real, imaginary], -1)


def real_pairs(x):
    return np.stack([x, 0 * x], -1)


ONE = np.eye(3)
SINGULAR = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.5, -1.0, 0.25]])
SQUARE = (3, 3)
TRIANGLE = np.tril(S)
ROWS = {
    "det": arrays(ops.det, det, SQUARE, singular=[(SINGULAR,), (np.zeros(SQUARE),), (np.ones(SQUARE),)], identity=[(ONE,)]),
    "logdet": arrays(lambda x: ops.logdet(spd_of(x)), lambda x: logdet(spd(x)), SQUARE, zero=[(np.zeros(SQUARE),)], identity=[(ONE,)]),
    "slogdet": arrays(lambda x: ops.slogdet(x)[1], logdet, SQUARE, identity=[(ONE,), (-ONE,)]),
    "inv": arrays(ops.inv, inverse, SQUARE, identity=[(ONE,)], small=[(1e-10 * ONE,)]),
    "cholesky": arrays(lambda x: ops.cholesky(spd_of(x)), lambda x: cholesky(spd(x)), SQUARE, zero=[(np.zeros(SQUARE),)], identity=[(ONE,)]),
    "cholesky_inverse": arrays(lambda x: ops.cholesky_inverse(ops.cholesky(spd_of(x))), lambda x: inverse(spd(x)), SQUARE, zero=[(np.zeros(SQUARE),)]),
    "solve": arrays(ops.solve, solve, SQUARE, (3, 2), identity=[(ONE, np.zeros((3, 2)))]),
    "solve_triangular": arrays(lambda a, b: ops.solve_triangular(ops.tril(a), b, lower=True), lambda a, b: solve(np.tril(a), b), SQUARE, (3, 2), identity=[(ONE, np.zeros((3, 2)))]),
    "lstsq": arrays(ops.lstsq, lambda a, b: pinv(a) @ b, (4, 2), (4, 1), per_sample=True),
    "pinv": arrays(ops.pinv, pinv, (4, 2), orthogonal=[(np.eye(4, 2),)]),
    "qr": arrays(signed_qr, qr, (4, 3), square=[(S,), (ONE,)]),
    "eigh, values": arrays(lambda x: ops.eigh(symmetric_of(x))[0], lambda x: eigenvalues(symmetric(x)), SQUARE),
    "eigh, sum of squares": arrays(lambda x: ops.sum(ops.square(ops.eigh(symmetric_of(x))[0]), -1), lambda x: frobenius(symmetric(x)), SQUARE,
                                   equal=[(ONE,), (np.zeros(SQUARE),), (np.diag([1.0, 1.0, 2.0]),)]),
    "eigh, vectors": arrays(lambda x: projector_of(symmetric_of(x)), lambda x: projector(symmetric(x)), SQUARE, equal=[(np.diag([0.5, 2.0, 2.0]),)]),
    "svd, values": arrays(lambda x: ops.svd(x, compute_uv=False), svdvals, SQUARE),
    "svd, sum of squares": arrays(lambda x: ops.sum(ops.square(ops.svd(x, compute_uv=False)), -1), frobenius, SQUARE,
                                  equal=[(ONE,), (-2 * ONE,)], zero=[(np.zeros(SQUARE),), (np.diag([1.0, 2.0, 0.0]),)]),
    "svd, wide": arrays(lambda x: ops.svd(x, compute_uv=False), lambda x: svdvals(x), (2, 3)),
    "svd, product": arrays(lambda x: svd_product(x), lambda x: x * 1, SQUARE, equal=[(ONE,)]),
    "norm, nuclear": arrays(lambda x: ops.norm(x, "nuc", (-2, -1)), lambda x: sum(svdvals(x)), SQUARE, identity=[(ONE,)]),
    "norm, order 2 of matrices": arrays(lambda x: ops.norm(x, 2, (-2, -1)), lambda x: max(svdvals(x)), SQUARE),
    "lu_factor": arrays(lambda x: ops.lu_factor(spd_of(x))[0], lambda x: lu(spd(x)), SQUARE),
    "eig": arrays(lambda x: ops.sum(ops.real(ops.eig(symmetric_of(x))[0]) ** 2, -1), lambda x: frobenius(symmetric(x)), SQUARE),
    "matrix_rank": arrays(lambda x: x * ops.cast(ops.matrix_rank(x), x.dtype)[:, None, None], lambda x: 2 * x, (2, 2)),
    "cdist": arrays(lambda x, y: ops.cdist(x, y), lambda x, y: np.array([[mp.sqrt(sum((a - b) ** 2)) for b in y] for a in x]), (2, 3), (3, 3),
                    ties=[Case((np.ones((1, 3)), np.ones((1, 3))), lambda x, y: 0 * x[:, :1])]),
    "fft": arrays(fft, dft, (5, 2), zero=[(np.zeros((5, 2)),)]),
    "rfft": arrays(lambda x: ops.stack(ops.rfft(x * x), -1), lambda x: dft(real_pairs(x * x))[:3], (4,)),
    "irfft": arrays(lambda x: ops.irfft(ops.rfft(x * x)), lambda x: x * x, (4,)),
    "fft2": arrays(lambda x: ops.stack(ops.fft2((x * x, x)), -1), lambda x: fft2(x * x, x), (2, 3)),
    "ifft2": arrays(lambda x: ops.stack(ops.ifft2(ops.fft2((x * x, x))), -1), lambda x: np.stack([x * x, x], -1), (2, 3)),
    "stft": arrays(lambda x: ops.istft(ops.stft(x * x, 4, 2, 4), 4, 2, 4), lambda x: x * x, (8,)),
}  # fmt: skip


def fft2(real, imaginary):
    once = dft(np.stack([real, imaginary], -1))
    return np.swapaxes(dft(np.swapaxes(once, 0, 1)), 0, 1)


def lu(x):
    """L below the diagonal and U, without pivots: as it comes for these matrices."""
    x = x.copy()
    for n in range(len(x)):
        x[n + 1 :, n] = x[n + 1 :, n] / x[n, n]
        x[n + 1 :, n + 1 :] = x[n + 1 :, n + 1 :] - np.multiply.outer(x[n + 1 :, n], x[n, n + 1 :])
    return x


def svd_product(x):
    u, s, v = ops.svd(x, full_matrices=False)
    return ops.matmul(u * s[:, None], v)

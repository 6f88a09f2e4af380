"""Functions of singular values where these are equal or zero: a number that is right, or none."""

import keras
import numpy as np
import pytest
from framework import BACKEND
from keras import layers, ops
from truth import DIFFERENCES, EXACT, close, jacobian, numpy, predict

import keras_derivs as kd

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*Decompositions")


def values(a):
    return ops.svd(a, compute_uv=False)


def beside_vectors(a):
    full = BACKEND != "jax"  # which has no derivative of full matrices
    return ops.svd(a, full_matrices=full)[1]


def recomposed(a):
    left, singular, right = ops.svd(a, full_matrices=False)
    return ops.reshape(ops.matmul(left * singular[:, None], right), (-1, a.shape[1] * a.shape[2]))


# each sums up to the sum of the squares of the entries, of the Hessian 2 I
FUNCTIONS = [values, beside_vectors, recomposed]
NONE = {
    "zero": np.zeros((2, 2)),
    "equal": np.eye(2),
    "rank one": np.diag([1.0, 0.0, 0.0]),
    "wide, zero": np.array([[1.0, 0, 0], [0, 0, 0]]),
    "row of zeros": np.zeros((1, 2)),
}
SOME = {
    "apart": np.array([[1.0, 2], [3, 5]]),
    "zero in a square": np.diag([1.0, 0.0]),
    "high": np.array([[1.0, 0], [0, 2], [0, 0]]),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", [*NONE, *SOME])
def test_sums_of_squares(name, function, float64):
    matrix = (NONE | SOME)[name]
    x = keras.Input((matrix.size,), dtype="float64")
    matrices = layers.Reshape(matrix.shape)(x)
    y = layers.Lambda(lambda a: ops.sum(function(a) ** 2, axis=1, keepdims=True))(matrices)
    hessian = numpy(kd.Hessian(keras.Model(x, y))(matrix.reshape(1, -1)))[0]
    if name in SOME:
        close(hessian, 2 * np.eye(matrix.size), EXACT["float64"])
    else:
        assert np.all(np.isnan(np.diag(hessian)))


OF_TRIANGLES = {
    "cholesky": ops.cholesky,
    "upper cholesky": lambda x: ops.cholesky(x, upper=True),
    "eigenvalues": lambda x: ops.eigh(x)[0],
    "eigenvectors": lambda x: ops.square(ops.eigh(x)[1]),
    "inverse": ops.cholesky_inverse,
    "solution": lambda x: ops.solve_triangular(ops.cholesky(x), x[..., :1], lower=True),
}
if BACKEND == "jax":  # on which Keras has no symbols of it
    del OF_TRIANGLES["inverse"]


@pytest.mark.filterwarnings("ignore:(?s).*(Decompositions|Not verified|not audited|not finite)")
@pytest.mark.parametrize("name", OF_TRIANGLES)
def test_each_entry_of_a_matrix_of_which_one_triangle_is_read(name, all_float64, double):
    """The slope by one entry alone: as the function reads it, not as of a symmetric matrix."""
    at = np.array([[[4, 0.7, -0.3], [0.5, 3, 0.4], [-0.2, 0.6, 2]]])
    x = keras.Input((3, 3), dtype="float64")
    size = int(np.prod(numpy(OF_TRIANGLES[name](ops.convert_to_tensor(at))).shape))
    model = keras.Model(x, ops.reshape(OF_TRIANGLES[name](x), (-1, size)))
    found = kd.Jacobian(model, strategy="reverse")(at)
    close(found, jacobian(predict(model), at), DIFFERENCES[1])


SIDES = [1, 2, 3, 4, *([5, 8] if BACKEND != "tensorflow" else [])]


@pytest.mark.filterwarnings("ignore:(?s).*Not verified")
@pytest.mark.parametrize("rank", ["none", "one", "all but one", "all"])
@pytest.mark.parametrize("side", SIDES)
def test_determinants(side, rank, float64):
    """Polynomials of the entries, whose derivatives are sums of minors."""
    rows = np.random.default_rng(0).normal(size=(side, side))
    rows = {"none": 0 * rows, "one": rows[:1] + 0 * rows, "all": rows}.get(rank, rows)
    rows[-1] = rows[0] if rank == "all but one" else rows[-1]
    x = keras.Input((side, side), dtype="float64")
    model = keras.Model(x, layers.Reshape((1,))(layers.Lambda(ops.det)(x)))
    at = rows[None]
    close(kd.Gradient(model, strategy="reverse")(at)[0], minors(rows, 1), EXACT["float64"])
    close(kd.Hessian(model, strategy="reverse")(at)[0], minors(rows, 2), EXACT["float64"])


@pytest.mark.filterwarnings("ignore:(?s).*Not verified")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("regular", [True, False] if BACKEND == "torch" else [True])
def test_determinants_of_many_rows(regular, dtype, request):
    """Their slopes are adjugates, here by singular values, which lose nothing."""
    if dtype == "float64":
        request.getfixturevalue("float64")
    rows = np.random.default_rng(0).normal(size=(30, 30)) / 5
    rows[-1] = rows[-1] if regular else rows[0] - rows[1]
    left, values, right = np.linalg.svd(rows)
    others = [np.prod(np.delete(values, n)) for n in range(30)]
    sign = np.linalg.det(left) * np.linalg.det(right)
    x = keras.Input((30, 30), dtype=dtype)
    model = keras.Model(x, layers.Reshape((1,))(layers.Lambda(ops.det)(x)))
    found = kd.Gradient(model, strategy="reverse")(ops.convert_to_tensor(rows[None], dtype))
    close(found[0], sign * left * others @ right, 10 * EXACT[dtype])


def minors(matrix, order):
    """The derivatives by one entry, or two: the determinants where these are ones alone."""
    side = len(matrix)
    found = np.zeros((side, side) * order)
    for index in np.ndindex(found.shape):
        pairs = [index[n : n + 2] for n in range(0, 2 * order, 2)]
        if len({row for row, _ in pairs}) < order or len({column for _, column in pairs}) < order:
            continue
        changed = np.array(matrix)
        for row, column in pairs:
            changed[row], changed[row, column] = 0, 1
        found[index] = np.linalg.det(changed)
    return found

"""Powers of norms and absolute values at zero, where the power has derivatives and the root none."""

import keras
import numpy as np
import pytest
from keras import ops
from truth import DIFFERENCES, EXACT, close, hessian, jacobian, predict

import keras_derivs as kd

TENSORFLOW = keras.backend.backend() == "tensorflow"
BIAS = np.array([1.0, 2.0])
STRATEGIES = ["taylor", *(["reverse"] if TENSORFLOW else [])]


def size(x, **options):
    return ops.norm(x, axis=1, keepdims=True, **options)


def root_of_squares(x):
    return ops.sqrt(ops.sum(x * x, axis=1, keepdims=True))


def twice(r):
    return r * r


def scaled(x):
    return ops.square(ops.reshape(-2 * size(x) / 3, (-1,)))[:, None] * 1.5


def to_points(x):
    differences = ops.subtract(ops.expand_dims(x, 1), np.array([[[0.0, 0.0], [1.0, 2.0]]]))
    return ops.sum(ops.exp(-(ops.norm(differences, axis=-1) ** 2)), axis=1, keepdims=True)


POWERS = {
    "norm": lambda x: size(x) ** 2,
    "square of a norm": lambda x: ops.square(ops.norm(x, axis=1))[:, None],
    "of TensorFlow's order": lambda x: size(x, ord=2) ** 2,
    "sum of squares": lambda x: ops.sum(ops.square(size(x)), axis=1, keepdims=True),
    "product": lambda x: twice(size(x)),
    "fourth power": lambda x: size(x + 0.0) ** 4 + size(x) ** 2,
    "root": lambda x: root_of_squares(x) ** 2,
    "root, twice": lambda x: twice(root_of_squares(x)),
    "power": lambda x: ops.square(ops.sum(x * x, axis=1, keepdims=True) ** 0.5),
    "absolute": lambda x: ops.sum(ops.abs(x) ** 2, axis=1, keepdims=True),
    "hypot": lambda x: ops.hypot(x[:, :1], x[:, 1:]) ** 2,
    "std": lambda x: ops.std(x, axis=1, keepdims=True) ** 2,
    "scaled": scaled,
    "weighted": lambda x: ops.square(size(x) * (1 + x[:, :1])),
    "bell": lambda x: ops.exp(-(size(x) ** 2)),
    "distances": to_points,
    "maximum": lambda x: ops.sum(ops.maximum(x, -x) ** 2, axis=1, keepdims=True),
    "minimum": lambda x: ops.sum(twice(ops.minimum(x, -x)), axis=1, keepdims=True),
    "pieces": lambda x: ops.sum(ops.where(x > 0, x, -x) ** 2, axis=1, keepdims=True),
    "largest": lambda x: ops.sum(ops.max(ops.stack([x, -x]), axis=0) ** 2, axis=1, keepdims=True),
    "smallest": lambda x: ops.sum(ops.min(ops.stack([x, -x]), axis=0) ** 4, axis=1, keepdims=True),
    "infinite order": lambda x: ops.norm(x[:, :1], np.inf, axis=1, keepdims=True) ** 2,
    "fourth order": lambda x: size(x, ord=4) ** 4,
    "cube root": lambda x: ops.sum(ops.cbrt(x) ** 3 * x, axis=1, keepdims=True),
    "negative": lambda x: (-size(x)) ** 2,
    "cosine": lambda x: ops.cos(2 * size(x)),
    "hyperbolic cosine": lambda x: ops.log(ops.cosh(size(x))),
    "sinc": lambda x: ops.sinc(size(x)),
    "cosine of the larger": lambda x: ops.sum(ops.cos(ops.maximum(x, -x)), axis=1, keepdims=True),
}  # fmt: skip
# |x| times an odd function of it has a second derivative at 0, and is not recognised
ODD = [
    size,
    lambda x: size(x) * ops.tanh(size(x)),
    lambda x: ops.abs(x[:, :1]),
    lambda x: ops.maximum(x[:, :1], -x[:, :1]),
]
ON_THE_TAPE = {
    "complex": lambda x: ops.square(ops.abs(ops.view_as_complex(x)))[:, None],
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", [*POWERS, *(ON_THE_TAPE if TENSORFLOW else [])])
def test_at_zero(name, strategy, float64):
    if strategy == "taylor" and name in ON_THE_TAPE:
        pytest.skip("not by polynomials")
    x, y = keras.Input((2,), dtype="float64"), (POWERS | ON_THE_TAPE)[name]
    model = keras.Model(x, keras.layers.Lambda(y)(x))
    at = np.zeros((1, 2))
    true = hessian(predict(model), at).reshape(1, 2, 2)
    close(kd.Hessian(model, strategy=strategy)(at), true, DIFFERENCES[2])
    close(kd.Laplacian(model, strategy=strategy)(at)[:, 0], np.trace(true[0])[None], DIFFERENCES[2])


SHIFTED = {
    "plus": lambda x: (size(x) + 1) ** 2,
    "minus": lambda x: ops.square(1 - size(x)) + (size(x) - 2) ** 4,
    "sum": lambda x: ops.square(size(x) + x[:, :1]),
    "difference": lambda x: ops.square(size(x) - 2 * size(x + 1)),
    "absolute": lambda x: ops.sum((ops.abs(x) + 1) ** 2, axis=1, keepdims=True),
    "root": lambda x: (root_of_squares(x) - 1) ** 2,
    "hypot": lambda x: ops.square(ops.hypot(x[:, :1], x[:, 1:]) + 1),
    "bias": lambda x: ops.sum(ops.square(ops.add(ops.abs(x), BIAS)), axis=1, keepdims=True),
    "range": lambda x: ops.square(
        ops.max(x, axis=1, keepdims=True) - ops.min(x, axis=1, keepdims=True)
    ),
}


@pytest.mark.parametrize("strategy", ["taylor", "reverse"])
@pytest.mark.parametrize("name", SHIFTED)
def test_powers_of_more_than_a_root(name, strategy, float64):
    """A quotient by a sum is none by what is added."""
    x = keras.Input((2,), dtype="float64")
    model = keras.Model(x, keras.layers.Lambda(SHIFTED[name])(x))
    at = np.array([[0.3, -0.4], [1.0, 2.0]])
    true = jacobian(predict(model), at)
    close(kd.Jacobian(model, strategy=strategy)(at), true, DIFFERENCES[1])


@pytest.mark.skipif(not TENSORFLOW, reason="other frameworks have no number at zero")
@pytest.mark.parametrize("y", ODD)
def test_what_has_no_second_derivative_is_told(y, float64):
    x = keras.Input((2,), dtype="float64")
    model = keras.Model(x, keras.layers.Lambda(y, name="radial")(x))
    kd.Gradient(model)(np.zeros((1, 2)))  # 0, without a word
    with pytest.warns(UserWarning, match="(?s)No second derivative.*at zero' in 'radial'"):
        kd.Hessian(model)


@pytest.mark.skipif(not TENSORFLOW, reason="compiled by XLA")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_training(strategy, jit_compile):
    """w^2 |x|^2 at 0 has the Laplacian 4 w^2, of the slope 8 w."""
    x = keras.Input((2,))
    dense = keras.layers.Dense(2, use_bias=False, kernel_initializer=keras.initializers.Identity())
    model = keras.Model(x, keras.layers.Lambda(lambda x: size(x) ** 2)(dense(x)))
    trained = keras.Sequential([keras.Input((2,)), kd.Laplacian(model, strategy=strategy)])
    trained.compile(keras.optimizers.SGD(0.1), "mean_absolute_error", jit_compile=jit_compile)
    trained.fit(np.zeros((4, 2)), np.zeros((4, 1)), epochs=1, verbose=0)
    close(dense.kernel.numpy(), np.eye(2) * (1 - 0.1 * 4), EXACT["float32"])

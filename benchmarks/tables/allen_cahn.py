"""Allen-Cahn with a two-body solution in the unit ball, as in STDE (arXiv 2412.00088).

Δu + u - u^3 = g with u = 0 on the sphere, where u = (1 - |x|²) Σ c_i sin(x_i + cos(x_{i+1}) +
x_{i+1} cos(x_i)). Network, points and training are those of the authors' repository.
"""

import keras
import numpy as np
from common import SEED, by_adam, relative_error
from keras import ops

import keras_derivs as kd

BATCH, TEST = 100, 2000


def solution(x, c, xp=np):
    """u and g at points in the ball, in closed form; c is a column."""
    sine, cosine = xp.sin(x), xp.cos(x)
    a, b, cos_a, cos_b = x[:, :-1], x[:, 1:], cosine[:, :-1], cosine[:, 1:]
    inner = a + cos_b + b * cos_a
    slope_a, slope_b = 1 - b * sine[:, :-1], cos_a - sine[:, 1:]  # of inner
    s, k = xp.sin(inner), xp.cos(inner)
    f = xp.matmul(s, c)
    slope = xp.matmul(k * (a * slope_a + b * slope_b), c)  # x · ∇f
    curvature = -xp.matmul(k * (b * cos_a + cos_b) + s * (slope_a**2 + slope_b**2), c)
    rest = 1 - xp.sum(x * x, axis=1, keepdims=True)
    u = rest * f
    return u, rest * curvature - 4 * slope - 2 * x.shape[1] * f + u - u**3


def points(random, count, dimensions):
    """Uniform in direction and in radius."""
    x = random.standard_normal((count, dimensions), "float32")
    radius = random.uniform(0, 1, (count, 1)).astype("float32")
    return x * (radius / np.linalg.norm(x, axis=1, keepdims=True))


def network():
    """Three hidden layers of 128, weights and biases as PyTorch starts them."""
    start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    hidden = [keras.layers.Dense(128, "tanh", kernel_initializer=start) for _ in range(3)]
    return keras.Sequential([*hidden, keras.layers.Dense(1, kernel_initializer=start)])


def run(dimensions, num_samples=None, steps=10_000):
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    c = random.standard_normal((dimensions - 1, 1)).astype("float32")
    x = keras.Input((dimensions,), name="x")
    u = (1 - ops.sum(x * x, axis=1, keepdims=True)) * network()(x)
    options = {"num_samples": num_samples, "sampling": "coordinates"} if num_samples else {}
    model = keras.Model(x, kd.laplacian(u, x, **options) + u - u**3 - solution(x, c, ops)[1])
    zeros, rate = np.zeros((BATCH, 1)), keras.optimizers.schedules.PolynomialDecay(1e-3, steps, 0.0)
    figures = by_adam(f"Allen-Cahn, {dimensions}", model,
                      lambda: (points(random, BATCH, dimensions), zeros), steps, rate)  # fmt: skip
    test = points(random, TEST, dimensions)
    found = keras.Model(x, u).predict(test, batch_size=200, verbose=0)
    return figures | {"error": relative_error(found, solution(test, c)[0])}

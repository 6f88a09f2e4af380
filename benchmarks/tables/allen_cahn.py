"""Allen-Cahn with a two-body solution in the unit ball, as in STDE (arXiv 2412.00088).

Δu + u - u^3 = g with u = 0 on the sphere, where u = (1 - |x|²) Σ c_i sin(x_i + cos(x_{i+1}) +
x_{i+1} cos(x_i)). Network, points and training are those of the authors' repository.
"""

import keras
import numpy as np
from common import SEED, by_adam, relative_error

import keras_derivs as kd

BATCH, TEST = 100, 2000


def solution(x, c):
    """(u, g) at points in the ball, in closed form."""
    a, b = x[:, :-1], x[:, 1:]
    inner = a + np.cos(b) + b * np.cos(a)
    s, k = np.sin(inner), np.cos(inner)
    by_a, by_b = 1 - b * np.sin(a), np.cos(a) - np.sin(b)
    f = s @ c
    slope = (k * (a * by_a + b * by_b)) @ c  # x · ∇f
    curvature = (k * (-b * np.cos(a) - np.cos(b)) - s * (by_a**2 + by_b**2)) @ c
    rest = 1 - np.sum(x * x, axis=1)
    u = rest * f
    g = rest * curvature - 4 * slope - 2 * x.shape[1] * f + u - u**3
    return u[:, None], g[:, None]


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
    c = random.standard_normal(dimensions - 1)
    x = keras.Input((dimensions,), name="x")
    u = (1 - keras.ops.sum(x * x, axis=1, keepdims=True)) * network()(x)
    options = {"num_samples": num_samples, "sampling": "coordinates"} if num_samples else {}
    model = keras.Model(x, kd.laplacian(u, x, **options) + u - u**3)

    def batch():
        given = points(random, BATCH, dimensions)
        return given, solution(given, c.astype("float32"))[1]

    rate = keras.optimizers.schedules.PolynomialDecay(1e-3, steps, 0.0)
    figures = by_adam(f"Allen-Cahn, {dimensions}", model, batch, steps, rate)
    test = points(random, TEST, dimensions)
    found = keras.Model(x, u).predict(test, batch_size=200, verbose=0)
    return figures | {"error": relative_error(found, solution(test, c)[0])}

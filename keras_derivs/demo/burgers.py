"""A physics-informed network for Burgers' equation, from its residual to a picture."""

import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

import keras_derivs as kd
from keras_derivs.demo import picture

VISCOSITY = 0.01 / np.pi
TIMES = (0.25, 0.5, 0.75)  # before, at and after the front at x = 0 is steepest
FULL = {"steps": 20_000, "batch_size": 1400}
QUICK = {"steps": 3000, "batch_size": 500}


def run(output=".", quick=False, seed=1):
    """Train, compare with the exact solution, save, reload, and draw.

    Args:
        output: The folder for `burgers.keras` and `burgers.png`.
        quick: Train for some seconds only.
        seed: The seed of the weights and of the collocation points.
    """
    start = time.perf_counter()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    print(
        "Burgers' equation  u_t + u u_x = 0.01/pi u_xx,  u(0, x) = -sin(pi x),  u(t, -1 or 1) = 0"
    )
    if quick:
        print("A quick look: a short training, good to a few per cent. Without --quick: below 1 %.")
    keras.utils.set_random_seed(seed)
    pinn = build()
    train(pinn, seed, **(QUICK if quick else FULL))
    field = np.meshgrid(np.linspace(0, 1, 101), np.linspace(-1, 1, 401), indexing="ij")
    found, error = compare(pinn, field)
    reload(pinn, folder / "burgers.keras", field, found)
    draw(pinn, folder / "burgers.png", field, found, error)
    print(f"Done in {time.perf_counter() - start:.0f} s.")


def build():
    """A model of (t, x) whose outputs are u, two derivatives of it, and what it does wrong.

    u_t + u u_x = VISCOSITY u_xx with u(0, x) = -sin(pi x) and u(t, -1) = u(t, 1) = 0. Initial and
    boundary values hold for any weights, by the form of u; the loss is the residual alone.
    """
    tx = keras.Input((2,), name="tx")
    t, x = tx[:, 0:1], tx[:, 1:2]
    net = keras.Sequential([*(layers.Dense(32, "tanh") for _ in range(4)), layers.Dense(1)])
    u = -ops.sin(np.pi * x) + t * (1 - x * x) * net(tx)
    u_t, u_x, u_xx = kd.partials(u, (t,), (x,), (x, x))
    residual = u_t + u * u_x - VISCOSITY * u_xx
    # In the front |u_x| reaches 150, and so do the terms that should cancel: count them less.
    weight = 1 / (1 + 0.1 * ops.stop_gradient(ops.abs(u_x)))
    return keras.Model(tx, {"u": u, "u_x": u_x, "u_xx": u_xx, "residual": weight * residual})


def train(pinn, seed, steps, batch_size, steps_per_epoch=50):
    """Compile and fit: at random points, the residual is to be zero."""
    count = steps_per_epoch * batch_size
    points = np.random.default_rng(seed).uniform([0, -1], [1, 1], (count, 2)).astype("float32")
    schedule = keras.optimizers.schedules.CosineDecay(0.005, steps, alpha=1e-3)
    backend = keras.backend.backend()
    pinn.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss={"residual": "mse"},
        jit_compile=backend != "torch",  # which cannot compile derivatives
        steps_per_execution=steps_per_epoch if backend == "tensorflow" else 1,  # JAX unrolls them
    )
    pinn.fit(
        points,
        {"residual": np.zeros((count, 1), "float32")},
        batch_size=batch_size,
        epochs=steps // steps_per_epoch,
        callbacks=[ProgressBar()],
        verbose=0,
    )


class ProgressBar(keras.callbacks.Callback):
    """One line for the whole training."""

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        done = (epoch + 1) / self.params["epochs"]
        seconds = time.perf_counter() - self.start
        bar = "█" * round(30 * done) + "░" * (30 - round(30 * done))
        line = f"  {bar} {done:4.0%}  loss {logs['loss']:.1e}  {seconds:3.0f} s"
        if sys.stdout.isatty() or done == 1:
            print(f"\r{line}", end="\n" if done == 1 else "", flush=True)


def exact(t, x, nodes=100):
    """u, u_x and u_xx by the Cole-Hopf formula, with Gauss-Hermite quadrature.

    u = -<sin y>, where <.> is the mean over y = pi (x - z sqrt(4 VISCOSITY t)) with the weights
    exp(-z^2 - cos(y) / (2 pi VISCOSITY)): E. Hopf, Comm. Pure Appl. Math. 3 (1950) 201. By x,
    d<g> = pi <dg/dy> + k (<g sin y> - <g> <sin y>), with k = 1 / (2 VISCOSITY).
    """
    z, weights = np.polynomial.hermite.hermgauss(nodes)
    y = np.pi * (x[..., None] - np.sqrt(4 * VISCOSITY * t)[..., None] * z)
    exponent = np.log(weights) - np.cos(y) / (2 * np.pi * VISCOSITY)
    density = np.exp(exponent - exponent.max(axis=-1, keepdims=True))  # no overflow
    density /= density.sum(axis=-1, keepdims=True)
    s, c = np.sin(y), np.cos(y)
    mean_s, mean_c, mean_ss, mean_sc, mean_sss = (
        (density * moment).sum(axis=-1) for moment in (s, c, s * s, s * c, s**3)
    )
    k = 1 / (2 * VISCOSITY)
    slope_s = np.pi * mean_c + k * (mean_ss - mean_s**2)
    slope_c = -np.pi * mean_s + k * (mean_sc - mean_c * mean_s)
    slope_ss = 2 * np.pi * mean_sc + k * (mean_sss - mean_ss * mean_s)
    curvature_s = np.pi * slope_c + k * (slope_ss - 2 * mean_s * slope_s)
    return {"u": -mean_s, "u_x": -slope_s, "u_xx": -curvature_s}


def compare(pinn, field):
    """What the network finds on the grid, and its relative L2 error."""
    found, true = predict(pinn, *field), exact(*field)
    errors = {name: relative_error(found[name], true[name]) for name in true}
    print("\nRelative L2 error against the exact solution (Cole-Hopf), on 101 x 401 points")
    for name, error in errors.items():
        print(f"  {name:5}{error:.1e}")
    return found, errors["u"]


def relative_error(found, true):
    """|found - true| / |true|."""
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def predict(pinn, t, x):
    """The outputs of the model at the points (t, x), arranged like them."""
    points = np.stack([t.ravel(), x.ravel()], axis=-1).astype("float32")
    outputs = pinn.predict(points, batch_size=len(points), verbose=0)
    return {name: values.reshape(t.shape) for name, values in outputs.items()}


def reload(pinn, path, field, found):
    """Save the model with its derivatives, load it, and show that nothing was lost."""
    pinn.save(path)
    again = predict(keras.models.load_model(path), *field)
    print(f"\nSaved {path} and loaded it again; largest difference of the outputs")
    for name in ("u", "u_x", "u_xx"):
        print(f"  {name:5}{np.max(np.abs(again[name] - found[name])):.1e}")


def draw(pinn, path, field, found, error):
    """The field, and slices of it beside the exact solution."""
    t, x = np.meshgrid(TIMES, np.linspace(-1, 1, 2001), indexing="ij")
    try:
        picture.burgers(path, (*field, found["u"]), (t, x, predict(pinn, t, x)), exact(t, x), error)
    except ImportError:
        print("\nNo picture: it needs matplotlib. Run: pip install keras_derivs[plots]")
    else:
        print(f"\nPicture: {path}")

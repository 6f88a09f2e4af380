"""Draws the pictures of this folder: `python docs/pictures/draw.py`, some seconds."""

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

import keras_derivs as kd

HERE = Path(__file__).parent
INPUTS = {"area": "m²", "age": "a", "rooms": "", "distance": "km", "noise": "dB"}


def network(features, *widths, activation="tanh"):
    hidden = [layers.Dense(width, activation) for width in widths[:-1]]
    return keras.Sequential([keras.Input((features,)), *hidden, layers.Dense(widths[-1])])


def fitted(model, x, y, epochs=200):
    model.compile("adam", "mse")
    model.fit(x, y, epochs=epochs, verbose=0)
    return model


def houses(random):
    """A price of five properties, with an interaction and a curvature."""
    x = random.normal(size=(300, 5))
    price = 3 * x[:, 0] - x[:, 1] + x[:, 0] * x[:, 2] - 0.5 * x[:, 3] ** 2
    rent = 0.8 * x[:, 0] + 0.3 * x[:, 2] - 0.7 * x[:, 3] - 0.4 * x[:, 4]
    return x, np.stack([price, rent], axis=1)


def hills():
    """Two bells over the plane."""

    def height(z):
        one = ops.exp(-4 * ((z[:, :1] - 0.5) ** 2 + z[:, 1:] ** 2))
        return one + 0.5 * ops.exp(-8 * ((z[:, :1] + 0.6) ** 2 + (z[:, 1:] - 0.4) ** 2))

    return keras.Sequential([keras.Input((2,)), layers.Lambda(height)])


def oscillator():
    """A network for u'' + u = 0 on one period, trained on its residual and its start."""
    t = keras.Input((1,), name="t")
    u = 1 - t * t * network(1, 24, 24, 1)(t)  # u(0) = 1, u'(0) = 0
    residual = kd.diff(u, t, t) + u
    model = keras.Model(t, {"u": u, "residual": residual})
    points = np.linspace(0, 6, 200)[:, None]
    model.compile(keras.optimizers.Adam(3e-3), loss={"residual": "mse"})
    zeros = {"residual": np.zeros((200, 1))}
    model.fit(points, zeros, epochs=400, verbose=0)  # pyright: ignore[reportArgumentType]
    return model


def wave(random):
    """A sequence, and a network that measures its largest value."""
    x = np.cumsum(random.normal(size=(400, 60, 1)), axis=1) / 5
    model = keras.Sequential([keras.Input((60, 1)), layers.Conv1D(8, 5, activation="tanh")])
    model.add(layers.GlobalMaxPooling1D())
    model.add(layers.Dense(1))
    return fitted(model, x, x.max(axis=1), epochs=60), x[3]


def save(ax, name):
    ax.figure.savefig(HERE / f"{name}.png", dpi=80)


def main():
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    x, y = houses(random)
    model = fitted(network(5, 32, 32, 2), x, y)
    plotting, units = kd.plotting, {"price": "k€", "rent": "€"}
    price = kd.SubJacobian(model, outputs=[0])
    save(
        plotting.sensitivity(price, x, inputs=INPUTS, outputs={"price": "k€"}, standardise=True),
        "sensitivity",
    )
    save(plotting.sensitivity(model, x, inputs=INPUTS, outputs=units), "sensitivities")
    save(plotting.profile(model, x[:15], "distance", inputs=INPUTS, outputs=units), "profile")
    plane = {"x": "m", "y": "m"}
    save(plotting.field(hills(), [(-1, 1), (-1, 1)], inputs=plane, outputs={"T": "K"}), "field")
    save(plotting.residual(oscillator(), [(0, 6)], inputs={"t": "s"}), "residual")
    save(plotting.saliency(*wave(random), name="current [A]"), "saliency")
    save(plotting.spectrum(kd.Hessian(model, component=0), x), "spectrum")


if __name__ == "__main__":
    main()

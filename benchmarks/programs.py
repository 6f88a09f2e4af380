"""The programs that `clients.py` times: each by the package, and by tapes as one writes them.

A side is a function of the inputs that returns the tensors of a loss; the loss is the sum of
their mean squares. All sides of a program share one network.
"""

import keras
import numpy as np
import tensorflow as tf
from by_tapes import Tape, rows, slopes
from equations import beam, burgers, elasticity, flow, maxwell
from keras import layers, ops
from program import OURS, Program, net, random, uniform

import keras_derivs as kd


def hamiltonian():
    network, make = net(8, width=200, depth=2), uniform(200, 8)

    def field(slope):
        return [slope[:, 4:], -slope[:, :4]]

    def tapes(x):
        with Tape(x) as tape:
            energy = network(x)
        return field(tape.gradient(energy, x))

    layer = kd.Gradient(network)
    sides = {OURS: lambda x: field(layer(x)), "a tape": tapes}
    return Program(network.trainable_variables, make, sides)


def twin():
    """Values and sensitivities of an option on ten assets."""
    network = net(10, activation="softplus")

    def tapes(x):
        with Tape(x) as tape:
            y = network(x)
        return [y, tape.gradient(y, x)]

    layer = kd.Gradient(network, return_value=True)
    sides = {OURS: lambda x: list(layer(x)), "a tape": tapes}
    return Program(network.trainable_variables, uniform(1024, 10), sides)


def molecule(atoms=8, width=32, blocks=2):
    """An energy of positions as SchNet has it: filters of distances, summed over neighbours."""
    positions = keras.Input((atoms, 3))
    apart = ops.expand_dims(positions, 2) - ops.expand_dims(positions, 1)
    squares = ops.sum(ops.square(apart), axis=-1, keepdims=True) + np.eye(atoms)[None, :, :, None]
    centres = np.linspace(0, 4, 16).astype("float32")
    basis = ops.exp(-4 * ops.square(ops.sqrt(squares) - centres))
    others = (1 - np.eye(atoms))[None, :, :, None].astype("float32")
    features = layers.Dense(width)(ops.sum(basis * others, axis=2))
    for _ in range(blocks):
        filters = layers.Dense(width)(layers.Dense(width, "softplus")(basis)) * others
        gathered = ops.sum(filters * ops.expand_dims(layers.Dense(width)(features), 1), axis=2)
        features = features + layers.Dense(width)(layers.Dense(width, "softplus")(gathered))
    energy = ops.sum(layers.Dense(1)(layers.Dense(width, "softplus")(features)), axis=1)
    return keras.Model(positions, energy)


def places(samples, atoms):
    def make():
        grid = np.stack(np.meshgrid(*[np.arange(2.0)] * 3), -1).reshape(-1, 3)[:atoms]
        return (tf.constant(grid + random.normal(0, 0.1, (samples, atoms, 3)), "float32"),)

    return make


def forces():
    model = molecule()

    def tapes(x):
        with Tape(x) as tape:
            energy = model(x)
        return [energy, -tape.gradient(energy, x)]

    layer = kd.Gradient(model, return_value=True)

    def ours(x):
        energy, slope = layer(x)
        return [energy, -slope]

    return Program(model.trainable_variables, places(32, 8), {OURS: ours, "a tape": tapes})


def by_hand_hessians(model):
    def jacobian(x):
        with Tape(x) as outer:
            with Tape(x) as inner:
                y = model(x)
            slope = inner.gradient(y, x)
        return [outer.batch_jacobian(slope, x)]

    def one_by_one(x):
        with Tape(x, persistent=True) as outer:
            with Tape(x) as inner:
                y = model(x)
            slope = inner.gradient(y, x)
            parts = tf.unstack(tf.reshape(slope, (x.shape[0], -1)), axis=1)
        found = tf.stack([outer.gradient(part, x) for part in parts], axis=1)
        return [tf.reshape(found, (*x.shape, *x.shape[1:]))]

    return {"batch_jacobian": jacobian, "row by row": one_by_one}


def vibrations():
    model = molecule()
    layer = kd.Hessian(model)
    sides = {OURS: lambda x: [layer(x)], **by_hand_hessians(model)}
    return Program(model.trainable_variables, places(8, 8), sides, ("batch_jacobian",))


def hessian(inputs, samples):
    model = net(inputs)
    layer = kd.Hessian(model)
    sides = {OURS: lambda x: [layer(x)], **by_hand_hessians(model)}
    return Program(model.trainable_variables, uniform(samples, inputs), sides, ("batch_jacobian",))


def critic():
    image = keras.Input((28, 28, 1))
    h = layers.Conv2D(16, 5, 2, "same", activation="swish")(image)
    h = layers.Conv2D(32, 5, 2, "same", activation="swish")(h)
    return keras.Model(image, layers.Dense(1)(layers.Flatten()(h)))


def gan():
    model = critic()

    def tapes(x):
        with Tape(x) as tape:
            y = model(x)
        squares = tf.reduce_sum(tf.square(tape.gradient(y, x)), axis=[1, 2, 3])
        return [tf.square(tf.sqrt(squares) - 1)[:, None]]

    layer = kd.GradientPenalty(model, target=1.0)
    sides = {OURS: lambda x: [layer(x)], "a tape": tapes}
    return Program(model.trainable_variables, uniform(64, 28, 28, 1), sides)


def contractive():
    """‖J‖² of an encoder."""
    model = keras.Sequential([keras.Input((64,)), layers.Dense(128, "sigmoid"), layers.Dense(16)])
    layer = kd.JacobianPenalty(model)

    def norm(table):
        return [tf.reduce_sum(tf.square(table), axis=[1, 2])[:, None]]

    def jacobian(x):
        with Tape(x) as tape:
            y = model(x)
        return norm(tape.batch_jacobian(y, x))

    sides = {OURS: lambda x: [layer(x)], "batch_jacobian": jacobian,
             "row by row": lambda x: norm(rows(model, x))}  # fmt: skip
    return Program(model.trainable_variables, uniform(256, 64), sides, ("batch_jacobian",))


def score(dimensions=4):
    """Score matching: the divergence of a score, and the score."""
    model = net(dimensions, dimensions, activation="softplus")
    layer = kd.Divergence(model, return_value=True)

    def tapes(x):
        y, found = slopes(model, x)
        return [y, sum(slope[:, n : n + 1] for n, slope in enumerate(found))]

    def jacobian(x):
        with Tape(x) as tape:
            y = model(x)
        return [y, tf.linalg.trace(tape.batch_jacobian(y, x))[:, None]]

    sides = {OURS: lambda x: list(layer(x)), "a tape": tapes, "batch_jacobian": jacobian}
    return Program(model.trainable_variables, uniform(2000, dimensions), sides, ("batch_jacobian",))


def operator(functions=32, points=64, sensors=50, width=40):
    """A DeepONet: the slopes of many functions at places of their own."""
    given, place = keras.Input((sensors,)), keras.Input((points, 2))
    branch = net(sensors, width, depth=2)(given)
    trunk = place
    for _ in range(3):
        trunk = layers.Dense(width, "tanh")(trunk)
    y = ops.sum(trunk * ops.expand_dims(branch, 1), axis=-1)
    model = keras.Model([given, place], y)
    layer = kd.Gradient(model, wrt=1, batch_dims=2, return_value=True)

    def tapes(given, place):
        with Tape(place) as tape:
            y = model([given, place])
        return [y, tape.gradient(y, place)]

    def make():
        return (*uniform(functions, sensors)(), *uniform(functions, points, 2)())

    sides = {OURS: lambda *x: list(layer(list(x))), "a tape": tapes}
    return Program(model.trainable_variables, make, sides)


def saliency():
    """The slope of the largest class score by the image."""
    image = keras.Input((28, 28, 1))
    h = layers.Conv2D(16, 5, 2, "same", activation="swish")(image)
    h = layers.Conv2D(32, 5, 2, "same", activation="swish")(h)
    model = keras.Model(image, layers.Dense(10)(layers.Flatten()(h)))
    layer = kd.Gradient(model, component="argmax")

    def tapes(x):
        with Tape(x) as tape:
            largest = tf.reduce_max(model(x), axis=1)
        return [tape.gradient(largest, x)]

    sides = {OURS: lambda x: [layer(x)], "a tape": tapes}
    return Program(model.trainable_variables, uniform(64, 28, 28, 1), sides)


PROGRAMS = {
    "Burgers": burgers,
    "beam, fourth order": beam,
    "Navier-Stokes 2-D": lambda: flow(2, 2000),
    "Navier-Stokes 3-D": lambda: flow(3, 1000),
    "elasticity 3-D": elasticity,
    "Maxwell": maxwell,
    "Hamiltonian network": hamiltonian,
    "values and Greeks": twin,
    "energy and forces": forces,
    "vibrations, 24 inputs": vibrations,
    "Hessian, 16 inputs": lambda: hessian(16, 256),
    "Hessian, 64 inputs": lambda: hessian(64, 64),
    "gradient penalty of a GAN": gan,
    "contractive encoder": contractive,
    "score matching": score,
    "operator network": operator,
    "saliency": saliency,
}

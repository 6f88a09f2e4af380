"""Differential equations as programs: residuals from partial derivatives of a network."""

import keras
import numpy as np
import tensorflow as tf
from by_tapes import Tape, seconds, slopes
from keras import ops
from program import OURS, Program, columns, net, uniform

import keras_derivs as kd


def pde(network, points, terms, residuals, by_hand):
    """Partial derivatives `terms` of all outputs, and residuals made of them."""
    x = keras.Input((network.inputs[0].shape[1],))
    coordinates = columns(x)
    keys = {name: tuple(coordinates[n] for n in term) for name, term in terms.items()}
    ours = keras.Model(x, residuals(kd.partials(network(x), keys), x))
    sides = {OURS: ours}
    for name, derive in by_hand.items():
        sides[name] = lambda x, derive=derive: residuals(derive(network, x), x)
    return Program(network.trainable_variables, uniform(points, x.shape[1]), sides)


def burgers():
    terms = {"u": (), "u_t": (0,), "u_x": (1,), "u_xx": (1, 1)}

    def residuals(d, x):
        return [d["u_t"] + d["u"] * d["u_x"] - 0.01 / np.pi * d["u_xx"], d["u"]]

    def tapes(network, x):
        with Tape(x) as second:
            with Tape(x) as first:
                u = network(x)
            u_t, u_x = columns(first.gradient(u, x))
        return {"u": u, "u_t": u_t, "u_x": u_x, "u_xx": second.gradient(u_x, x)[:, 1:]}

    return pde(net(2), 5000, terms, residuals, {"nested tapes": tapes})


def beam():
    terms = {"w": (), "w_xx": (0,) * 2, "w_xxx": (0,) * 3, "w_xxxx": (0,) * 4}

    def residuals(d, x):
        return [d["w_xxxx"] - ops.sin(np.pi * x), d["w_xx"], d["w_xxx"], d["w"]]

    def tapes(network, x):
        def derivatives(order):
            if order == 0:
                return [network(x)]
            with Tape(x) as tape:
                lower = derivatives(order - 1)
            return [*lower, tape.gradient(lower[-1], x)]

        w, _, *higher = derivatives(4)
        return {"w": w, **dict(zip(("w_xx", "w_xxx", "w_xxxx"), higher))}

    return pde(net(1, width=32, depth=3), 2000, terms, residuals, {"nested tapes": tapes})


def flow(dimensions, points):
    """Navier-Stokes: momentum and continuity of (u, v[, w], p) over (t, x, y[, z])."""
    space = range(1, dimensions + 1)
    terms = {"value": (), "t": (0,), **{f"{n}": (n,) for n in space}}
    terms |= {f"{n}{n}": (n, n) for n in space}

    def residuals(d, x):
        speeds = columns(d["value"])[:-1]
        found = [sum(d[f"{n}"][:, n - 1 : n] for n in space)]
        for i in range(dimensions):
            part = {name: z[:, i : i + 1] for name, z in d.items()}
            carried = sum(speed * part[f"{n}"] for n, speed in zip(space, speeds))
            pressure = d[f"{i + 1}"][:, dimensions:]
            viscous = sum(part[f"{n}{n}"] for n in space)
            found.append(part["t"] + carried + pressure - 0.01 * viscous)
        return found

    def tapes(network, x):
        """The second derivatives of the pressure are not asked for."""
        value, first, second = seconds(network, x, dimensions, [(n, n) for n in space])
        nothing = tf.zeros_like(value[:, :1])
        found = {"value": value, "t": first[0], **{f"{n}": first[n] for n in space}}
        for n in space:
            found[f"{n}{n}"] = tf.concat([*second[n, n], nothing], axis=1)
        return found

    network = net(1 + dimensions, dimensions + 1)
    return pde(network, points, terms, residuals, {"nested tapes": tapes})


def elasticity():
    """Navier's equations of a displacement in 3-D: (λ + μ) ∇ div u + μ Δu = 0."""
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    terms = {f"{i}{j}": (i, j) for i, j in pairs}

    def residuals(d, x):
        def second(of, i, j):
            return d[f"{min(i, j)}{max(i, j)}"][:, of : of + 1]

        return [
            sum(1.7 * second(j, j, i) + 0.6 * second(i, j, j) for j in range(3)) for i in range(3)
        ]

    def tapes(network, x):
        _, _, second = seconds(network, x, 3, pairs)
        return {f"{i}{j}": tf.concat(second[i, j], axis=1) for i, j in pairs}

    return pde(net(3, 3), 1000, terms, residuals, {"nested tapes": tapes})


def maxwell():
    """Curls and divergences of (E, B) over (t, x, y, z) in vacuum."""
    terms = {f"{n}": (n,) for n in range(4)}

    def residuals(d, x):
        def of(field, n, axis):
            return d[f"{axis + 1}"][:, 3 * field + n : 3 * field + n + 1]

        found = []
        for field, sign in ((0, -1.0), (1, 1.0)):
            for n in range(3):
                j, k = (n + 1) % 3, (n + 2) % 3
                curl = of(1 - field, k, j) - of(1 - field, j, k)
                found.append(d["0"][:, 3 * field + n : 3 * field + n + 1] + sign * curl)
            found.append(sum(of(field, n, n) for n in range(3)))
        return found

    def tapes(network, x):
        _, found = slopes(network, x)
        table = tf.stack(found, axis=2)
        return {f"{n}": table[:, n, :] for n in range(4)}

    def jacobian(network, x):
        with Tape(x) as tape:
            y = network(x)
        table = tape.batch_jacobian(y, x)
        return {f"{n}": table[:, :, n] for n in range(4)}

    by_hand = {"a tape": tapes, "batch_jacobian": jacobian}
    program = pde(net(4, 6), 2000, terms, residuals, by_hand)
    program.without_xla = ("batch_jacobian",)
    return program

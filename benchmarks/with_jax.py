"""JAX: nested grad, forward mode (over reverse where that is cheaper), jet, and folx."""

import folx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.jet import jet

tensor = jnp.asarray


def device():
    return jax.devices()[0].platform


def network(weights, x):
    *hidden, kernel, bias = weights
    for n in range(0, len(hidden), 2):
        x = jnp.tanh(x @ hidden[n] + hidden[n + 1])
    return x @ kernel + bias


def gradient(f):
    """Value and gradient of a function of one output, row by row."""

    def derived(x):
        y, back = jax.vjp(f, x)
        return y, back(jnp.ones_like(y))[0]

    return derived


def unit(x, n):
    return jnp.zeros_like(x).at[:, n].set(1.0)


def nested_grad(f, work):
    if work.kind == "line":
        return lambda x: nested_line(f, x, work.order)
    if work.kind == "burgers":
        return lambda x: nested_burgers(f, x)
    once = nested_laplacian(f)
    if work.kind == "laplacian":
        return lambda x: (f(x), once(x))
    return lambda x: (f(x), nested_laplacian(once)(x))


def nested_line(f, x, order):
    if order == 0:
        return [f(x)]

    def lower(z):
        found = nested_line(f, z, order - 1)
        return found[-1].sum(), found

    slope, found = jax.grad(lower, has_aux=True)(x)
    return [*found, slope]


def nested_burgers(f, x):
    def lower(z):
        u, slopes = gradient(f)(z)
        return slopes[:, 1].sum(), (u, slopes)

    second, (u, slopes) = jax.grad(lower, has_aux=True)(x)
    return u, slopes[:, :1], slopes[:, 1:], second[:, 1:]


def nested_laplacian(f):
    def derived(x):
        def second(n):
            return jax.grad(lambda z: gradient(f)(z)[1][:, n].sum())(x)[:, n : n + 1]

        return sum(second(n) for n in range(x.shape[1]))

    return derived


def forward(f, work):
    """Forward over reverse for few outputs of many inputs, forward over forward on lines."""
    if work.kind == "line":
        return lambda x: forward_line(f, x, work.order)
    if work.kind == "burgers":
        return lambda x: forward_burgers(f, x)
    if work.kind == "laplacian":
        return lambda x: (f(x), forward_laplacian(f)(x))
    return lambda x: (f(x), tangent_laplacian(tangent_laplacian(f))(x))


def forward_line(f, x, order):
    if order == 0:
        return [f(x)]

    def lower(z):
        return forward_line(f, z, order - 1)

    found, slopes = jax.jvp(lower, (x,), (jnp.ones_like(x),))
    return [*found, slopes[-1]]


def forward_burgers(f, x):
    (u, slopes), (_, second) = jax.jvp(gradient(f), (x,), (unit(x, 1),))
    return u, slopes[:, :1], slopes[:, 1:], second[:, 1:]


def forward_laplacian(f):
    def derived(x):
        def second(direction):
            move = jnp.broadcast_to(direction, x.shape)
            slopes = jax.jvp(lambda z: gradient(f)(z)[1], (x,), (move,))[1]
            return (slopes * direction).sum(axis=1, keepdims=True)

        return jax.vmap(second)(jnp.eye(x.shape[1])).sum(axis=0)

    return derived


def tangent_laplacian(f):
    """Forward over forward: cheaper where it is nested in itself."""

    def derived(x):
        def second(direction):
            move = jnp.broadcast_to(direction, x.shape)

            def first(z):
                return jax.jvp(f, (z,), (move,))[1]

            return jax.jvp(first, (x,), (move,))[1]

        return jax.vmap(second)(jnp.eye(x.shape[1])).sum(axis=0)

    return derived


def by_jet(f, work):
    if work.kind == "line":
        return lambda x: along(f, x, jnp.ones_like(x), work.order)
    if work.kind == "burgers":
        return lambda x: jet_burgers(f, x)
    angles = np.arange(3) * np.pi / 3
    directions = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], 1), "float32")

    def biharmonic(x):
        """8/9 of the sum of the fourth derivatives along three directions, 60 degrees apart."""

        def fourth(v):
            return along(f, x, jnp.broadcast_to(v, x.shape), 4)[-1]

        return f(x), 8 / 9 * jax.vmap(fourth)(directions).sum(axis=0)

    return biharmonic


def along(f, x, direction, order):
    """u and its derivatives along a direction."""
    series = [direction, *[jnp.zeros_like(x)] * (order - 1)]
    u, found = jet(f, (x,), (series,))
    return [u, *found]


def jet_burgers(f, x):
    u, u_x, u_xx = along(f, x, unit(x, 1), 2)
    return u, jax.jvp(f, (x,), (unit(x, 0),))[1], u_x, u_xx


def by_folx(f, work):
    one = folx.forward_laplacian(lambda point: f(point[None])[0, 0])

    def derived(x):
        found = jax.vmap(one)(x)
        return found.x[:, None], found.laplacian[:, None]

    return derived


PEERS = {
    "JAX nested grad": nested_grad,
    "JAX forward mode": forward,
    "JAX jet": by_jet,
    "folx": by_folx,
}


def build(peer, work, mode):
    """(derivatives of x, training step at x, the weights now)."""
    state = [[jnp.asarray(w) for w in work.weights()]]

    def derive(weights, x):
        return PEERS[peer](lambda z: network(weights, z), work)(x)

    def loss(weights, x):
        return sum(jnp.mean(jnp.square(term)) for term in derive(weights, x))

    @jax.jit
    def moved(weights, x):
        value, slopes = jax.value_and_grad(loss)(weights, x)
        return value, [w - work.rate * slope for w, slope in zip(weights, slopes)]

    def step(x):
        value, state[0] = jax.block_until_ready(moved(state[0], x))
        return value

    def values(x):
        return [np.asarray(term) for term in jax.jit(derive)(state[0], x)]

    return values, step, lambda: [np.asarray(w) for w in state[0]]

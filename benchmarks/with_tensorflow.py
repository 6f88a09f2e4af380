"""The Taylor engine, and nested tapes as a skilled person would write them by hand."""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from by_tapes import Tape
from ours import network, taylor


def device():
    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def nested(net, work):
    """Every derivative on a tape around the lower ones, each of which is computed once."""
    if work.kind == "line":
        return lambda x: line(net, x, work.order)
    return {"burgers": burgers, "laplacian": laplacian, "biharmonic": twice_laplacian}[work.kind](
        net
    )


def line(net, x, order):
    if order == 0:
        return [net(x)]
    with Tape(x) as tape:
        lower = line(net, x, order - 1)
    return [*lower, tape.gradient(lower[-1], x)]


def burgers(net):
    def derive(x):
        with Tape(x) as second:
            with Tape(x) as first:
                u = net(x)
            slopes = first.gradient(u, x)
            u_x = slopes[:, 1:2]
        return u, slopes[:, :1], u_x, second.gradient(u_x, x)[:, 1:2]

    return derive


def laplacian(function):
    """One backward pass through the gradient for each direction."""

    def derive(x):
        with Tape(x, persistent=True) as second:
            with Tape(x) as first:
                u = function(x)
            slopes = tf.unstack(first.gradient(u, x), axis=1)
        curvatures = [second.gradient(slope, x)[:, n : n + 1] for n, slope in enumerate(slopes)]
        return u, sum(curvatures)

    return derive


def riding_laplacian(net, work):
    """All directions in the batch axis of one pair of tapes."""

    def derive(x):
        batch, features = x.shape
        copies = tf.repeat(x, features, axis=0)
        chosen = tf.tile(tf.eye(features, dtype=x.dtype), [batch, 1])
        with Tape(copies) as second:
            with Tape(copies) as first:
                u = net(copies)
            along = tf.reduce_sum(first.gradient(u, copies) * chosen, axis=1)
        diagonal = tf.reduce_sum(second.gradient(along, copies) * chosen, axis=1)
        total = tf.reduce_sum(tf.reshape(diagonal, (batch, features)), axis=1, keepdims=True)
        return u[::features], total

    return derive


def twice_laplacian(net):
    """The Laplacian of the Laplacian: six backward passes."""

    def derive(x):
        found = []

        def inner(x):
            u, lower = laplacian(net)(x)
            found.append(u)
            return lower

        _, result = laplacian(inner)(x)
        return found[0], result

    return derive


def term_by_term(net, work):
    """u_xxxx, u_xxyy and u_yyyy, eight backward passes."""

    def derive(x):
        with Tape(x, persistent=True) as fourth:
            with Tape(x, persistent=True) as third:
                with Tape(x, persistent=True) as second:
                    with Tape(x) as first:
                        u = net(x)
                    u_x, u_y = tf.unstack(first.gradient(u, x), axis=1)
                u_xx, u_yy = second.gradient(u_x, x)[:, 0], second.gradient(u_y, x)[:, 1]
            u_xxx, u_yyx_yyy = third.gradient(u_xx, x)[:, 0], third.gradient(u_yy, x)
            u_yyx, u_yyy = u_yyx_yyy[:, 0], u_yyx_yyy[:, 1]
        u_xxxx, u_yyxx = fourth.gradient(u_xxx, x)[:, :1], fourth.gradient(u_yyx, x)[:, :1]
        return u, u_xxxx + 2 * u_yyxx + fourth.gradient(u_yyy, x)[:, 1:2]

    return derive


PEERS = {
    "Taylor": taylor,
    "nested tapes": nested,
    "nested tapes, all directions in the batch": riding_laplacian,
    "nested tapes, term by term": term_by_term,
}
tensor = tf.constant


def build(peer, work, mode):
    """(derivatives of x, training step at x, the weights now)."""
    net = network(work.weights(), work.features)
    derive = PEERS[peer](net, work)
    variables = net.trainable_variables

    @tf.function(jit_compile=mode == "XLA")
    def step(x):
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_mean(tf.square(term)) for term in derive(x))
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            if gradient is not None:
                variable.assign_sub(work.rate * gradient)
        return loss

    def values(x):
        return [term.numpy() for term in derive(x)]

    return values, step, net.get_weights


def products(work, mode):
    """(FLOPs, seconds alone) of the matrix products between hidden layers in a Taylor step.

    Each coefficient goes through every layer once forward (x k) and twice backward (g k', x' g).
    """
    coefficients = {"burgers": [1] * 4, "line": [1] * (work.order + 1), "biharmonic": [1] * 11}
    riding = coefficients.get(work.kind, [1, work.features, 1])  # along the batch axis
    rows = [times * work.points for times in riding]
    (width,) = set(work.widths)
    alone = {number: product_seconds(number, width, mode) for number in set(rows)}
    layers = len(work.widths) - 1
    flops = 3 * 2 * width**2 * sum(rows) * layers
    return flops, sum(alone[number] for number in rows) * layers


def product_seconds(rows, width, mode):
    """Of x k and g k' in a chain, and of x' g, each several times in one call."""

    def chain(xs, k, gs):
        x = xs[0]
        for _ in range(4):
            x = tf.matmul(x @ k, k, transpose_b=True)
        return x

    def weights(xs, k, gs):
        return sum(tf.matmul(x, g, transpose_a=True) for x in xs for g in gs)

    def median(function):
        compiled, times = tf.function(function, jit_compile=mode == "XLA"), []
        for _ in range(15):
            xs, gs = ([tf.random.normal((rows, width)) for _ in range(3)] for _ in range(2))
            start = time.perf_counter()
            compiled(xs, tf.random.normal((width, width)), gs)
            times.append(time.perf_counter() - start)
        return statistics.median(times[3:])

    return median(weights) / 9 + median(chain) / 4

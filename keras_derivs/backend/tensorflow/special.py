"""Quotients that are smooth where numerator and denominator vanish.

Near that point each is an integral of a smooth function, summed by a quadrature that is exact to
rounding, as all its derivatives are. Elsewhere it is the quotient.
"""

import functools

import numpy as np
import tensorflow as tf

from keras_derivs.backend.tensorflow import quotients, unselected

NUM_NODES, NUM_QUOTIENTS = 16, 4


@functools.cache
def _gauss():
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(NUM_NODES)
    return (nodes + 1) / 2, weights / 2


@functools.cache
def _circle():
    """cos t, and sin(t)^2 as a weight, for a mean over the half circle."""
    angles = np.pi * (np.arange(NUM_NODES) + 0.5) / NUM_NODES
    return np.cos(angles), np.sin(angles) ** 2 / NUM_NODES


def _near(x, at, radius, rule, integrand, quotient):
    near = tf.abs(x - at) < radius
    nodes, weights = (tf.constant(values, x.dtype) for values in rule)
    inner = tf.where(near, x, tf.constant(at, x.dtype))
    far = _away(x, near, tf.constant(at + 1, x.dtype))
    integral = tf.reduce_sum(weights * integrand(nodes, inner[..., None]), axis=-1)
    return tf.where(near, integral, quotient(far))


def _away(x, near, other):
    """`x`, and another number near the point, where no gradient passes, nor a quotient of it."""

    @tf.custom_gradient
    def found(x):
        y = tf.where(near, other, x)

        def gradient_of(gradient):
            passed = tf.where(near, tf.zeros_like(gradient), gradient)
            parts = [lambda k=k: passed / found(x) ** k for k in range(1, NUM_QUOTIENTS + 1)]
            passed = quotients.attach(tf.identity(passed), parts)
            return unselected.alike(gradient, passed, lambda: near)

        return y, gradient_of

    return found(x)


def sine_ratio(x):
    """sin(x) / x, the mean of cos(t x) for t from 0 to 1."""
    return _near(x, 0.0, 1.0, _gauss(), lambda t, x: tf.cos(t * x), lambda x: tf.sin(x) / x)


def hyperbolic_sine_ratio(x):
    """sinh(x) / x, the mean of cosh(t x) for t from 0 to 1."""
    return _near(x, 0.0, 1.0, _gauss(), lambda t, x: tf.cosh(t * x), lambda x: tf.sinh(x) / x)


def logarithm_ratio(x):
    """log(x) / (x - 1), the mean of 1 / (1 + t (x - 1)) for t from 0 to 1."""

    def quotient(x):
        return tf.math.log(x) / (x - 1)

    return _near(x, 1.0, 0.5, _gauss(), lambda t, x: 1 / (1 + t * (x - 1)), quotient)


def bessel_i1_ratio(x):
    """I1(x) / x, the mean of sin(t)^2 cosh(x cos t) (Abramowitz and Stegun, 9.6.18)."""
    return _near(
        x, 0.0, 1.0, _circle(), lambda t, x: tf.cosh(t * x), lambda x: tf.math.bessel_i1(x) / x
    )


def bessel_j1_ratio(x):
    """J1(x) / x, the mean of sin(t)^2 cos(x cos t) (Abramowitz and Stegun, 9.1.20)."""
    j1 = tf.math.special.bessel_j1
    return _near(x, 0.0, 1.0, _circle(), lambda t, x: tf.cos(t * x), lambda x: j1(x) / x)

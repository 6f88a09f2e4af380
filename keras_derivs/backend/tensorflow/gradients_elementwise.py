"""Gradients of element-wise operations: at zeros and ties, and of large numbers."""

import math

import tensorflow as tf

from keras_derivs.backend.tensorflow import quotients, special
from keras_derivs.backend.tensorflow.gradients import gradient_of, is_needed, unbroadcast

FAR = 30.0  # exp(-FAR^2) is 0
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. (2017)


@gradient_of("RealDiv")
def _quotient(op, gradient, plain):
    """Step by step: the square of a large divisor is infinite, and its inverse 0."""
    x, y = (tf.math.conj(z) for z in op.inputs)
    by_x = gradient / y
    by_y = -(by_x * x) / y if is_needed(op, 1) else None
    return unbroadcast(by_x, x), None if by_y is None else unbroadcast(by_y, y)


@gradient_of("Reciprocal", "Inv")
def _reciprocal(op, gradient, plain):
    y = tf.math.conj(op.outputs[0])
    return -(gradient * y) * y


@gradient_of("Rsqrt")
def _rsqrt(op, gradient, plain):
    y = tf.math.conj(op.outputs[0])
    return gradient * y * y * (-0.5 * y)


@gradient_of("Log")
def _log(op, gradient, plain):
    return gradient / tf.math.conj(op.inputs[0])


@gradient_of("Log1p")
def _log1p(op, gradient, plain):
    return gradient / (1 + tf.math.conj(op.inputs[0]))


@gradient_of("Erf")
def _erf(op, gradient, plain):
    return gradient * _bell(op.inputs[0])


@gradient_of("Erfc")
def _erfc(op, gradient, plain):
    return -gradient * _bell(op.inputs[0])


def _bell(x):
    """2 exp(-x^2) / sqrt(pi), a constant where it is 0 in every precision."""
    x = tf.where(tf.abs(x) < FAR, x, tf.constant(FAR, x.dtype))
    return tf.constant(2 / math.sqrt(math.pi), x.dtype) * tf.exp(-tf.square(x))


@gradient_of("Softsign")
def _softsign(op, gradient, plain):
    return gradient * tf.square(1 / (1 + tf.abs(op.inputs[0])))


@gradient_of("Square")
def _square(op, gradient, plain):
    return quotients.attach(plain(gradient), [lambda: 2 * gradient])


@gradient_of("Sqrt")
def _sqrt(op, gradient, plain):
    """No number at 0 where the gradient is 0: TensorFlow has 0, but sqrt(x)^2 is x."""
    quotient = quotients.of_root(gradient, 0.5)
    if quotient is not None:
        return quotient
    return gradient / (2 * tf.math.conj(op.outputs[0]))


@gradient_of("Abs")
def _abs(op, gradient, plain):
    quotient = quotients.quotient(gradient)
    if quotient is not None:
        return quotient * op.inputs[0]
    quotients.missed("Abs", op.inputs[0])
    return plain(gradient)


@gradient_of("ComplexAbs")
def _complex_abs(op, gradient, plain):
    """Part by part: a quotient of complex numbers divides by a square, which may be 0."""
    z, size, quotient = op.inputs[0], op.outputs[0], quotients.quotient(gradient)
    parts = tf.math.real(z), tf.math.imag(z)
    if quotient is not None:
        return tf.complex(*[quotient * part for part in parts])
    quotients.missed("ComplexAbs", z)
    return tf.complex(*[gradient * tf.math.divide_no_nan(part, size) for part in parts])


@gradient_of("Cos")
def _cos(op, gradient, plain):
    """A multiple of x, as of every even function."""
    ratio = lambda: -gradient * special.sine_ratio(op.inputs[0])  # noqa: E731
    return quotients.attach(plain(gradient), [ratio] if gradient.dtype.is_floating else [])


@gradient_of("Cosh")
def _cosh(op, gradient, plain):
    ratio = lambda: gradient * special.hyperbolic_sine_ratio(op.inputs[0])  # noqa: E731
    return quotients.attach(plain(gradient), [ratio] if gradient.dtype.is_floating else [])


@gradient_of("Softplus")
def _softplus(op, gradient, plain):
    """TensorFlow's divides infinity by infinity from the third order on."""
    return gradient * tf.sigmoid(op.inputs[0])


@gradient_of("Elu")
def _elu(op, gradient, plain):
    (y,) = op.outputs
    return gradient * tf.where(y > 0, tf.ones_like(y), y + 1)


@gradient_of("Selu")
def _selu(op, gradient, plain):
    (y,) = op.outputs
    above = tf.fill(tf.shape(y), tf.constant(SELU_SCALE, y.dtype))
    return gradient * tf.where(y > 0, above, y + SELU_SCALE * SELU_ALPHA)


@gradient_of("Xlogy")
def _xlogy(op, gradient, plain):
    """log(y) at x = 0, too, where TensorFlow has 0."""
    x, y = op.inputs
    by_x, by_y = gradient * tf.math.log(y), gradient * tf.math.divide_no_nan(x, y)
    return unbroadcast(by_x, x), unbroadcast(by_y, y)


@gradient_of("Xlog1py")
def _xlog1py(op, gradient, plain):
    x, y = op.inputs
    by_x = gradient * tf.math.log1p(y)
    by_y = gradient * tf.math.divide_no_nan(x, 1 + y)
    return unbroadcast(by_x, x), unbroadcast(by_y, y)


@gradient_of("Xdivy")
def _xdivy(op, gradient, plain):
    x, y = op.inputs
    by_x, by_y = gradient / y, -gradient * tf.math.xdivy(x, tf.square(y))
    return unbroadcast(by_x, x), unbroadcast(by_y, y)


@gradient_of("Atan2")
def _atan2(op, gradient, plain):
    """Relative to the larger argument: squares of large and small numbers are not finite or 0."""
    y, x = op.inputs
    scale = tf.stop_gradient(tf.maximum(tf.abs(x), tf.abs(y)))
    b, a = y / scale, x / scale
    part = gradient / (a * a + b * b) / scale
    return unbroadcast(a * part, y), unbroadcast(-b * part, x)


@gradient_of("BesselI1")
def _bessel_i1(op, gradient, plain):
    (x,) = op.inputs
    return gradient * (tf.math.bessel_i0(x) - special.bessel_i1_ratio(x))


@gradient_of("BesselI1e")
def _bessel_i1e(op, gradient, plain):
    """exp(-|x|) I1(x), which has a kink of second order at 0."""
    (x,) = op.inputs
    ratio = tf.exp(-tf.abs(x)) * special.bessel_i1_ratio(x)
    return gradient * (tf.math.bessel_i0e(x) - tf.sign(x) * op.outputs[0] - ratio)


@gradient_of("BesselJ1")
def _bessel_j1(op, gradient, plain):
    (x,) = op.inputs
    return gradient * (tf.math.special.bessel_j0(x) - special.bessel_j1_ratio(x))


@gradient_of("Spence")
def _spence(op, gradient, plain):
    """-log(x) / (x - 1), at x = 1 too."""
    return -gradient * special.logarithm_ratio(op.inputs[0])

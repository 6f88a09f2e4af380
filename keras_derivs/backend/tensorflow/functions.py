"""Functions of Keras and TensorFlow that are made of pieces, by formulas exact at every order.

They take the place of the originals while a derivative is computed. The pieces, maxima and
absolute values for example, have kinks where the function has none, or the other way round.
"""

import inspect
import math

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import function_context

from keras_derivs.backend import formulas
from keras_derivs.backend.override import plain, switched
from keras_derivs.backend.tensorflow import bounds, norms, operands, projection, special
from keras_derivs.backend.tensorflow.exporting import exporting
from keras_derivs.graph.private import activations, of_backend, recurrent
from keras_derivs.graph.private import math as operations

knp, nn, kmath, linalg = of_backend.numpy, of_backend.nn, of_backend.math, of_backend.linalg


def install():
    for name, exact, *owners in TABLE:
        for owner in owners:
            function = switched(getattr(owner, name), exact)
            static = isinstance(inspect.getattr_static(owner, name), staticmethod)
            setattr(owner, name, staticmethod(function) if static else function)


def logaddexp(x1, x2, rate=1.0):
    """The smaller number enters by a softplus of the difference, on either side of a tie."""
    both = tf.equal(x1, x2) & tf.math.is_inf(x1)
    d = tf.where(both, tf.zeros_like(x1), x1 - x2) * rate
    return tf.where(d > 0, x1 + tf.math.softplus(-d) / rate, x2 + tf.math.softplus(d) / rate)


def _logaddexp(x1, x2):
    return logaddexp(*operands.promoted("logaddexp", x1, x2))


def _logaddexp2(x1, x2):
    return logaddexp(*operands.promoted("logaddexp2", x1, x2), rate=math.log(2))


def _sinc(x):
    (x,) = operands.promoted("sinc", x)
    return special.sine_ratio(x * tf.constant(math.pi, x.dtype))


def _ldexp(x1, x2):
    x1, exponent = operands.promoted("ldexp", x1, x2)
    factor = tf.pow(tf.constant(2.0, x1.dtype), exponent)
    return tf.where(tf.math.is_inf(x1), x1, tf.math.multiply_no_nan(factor, x1))


def _clip(x, x_min, x_max):
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating:
        return plain(knp.clip)(x, x_min, x_max)
    low, high = (operands.number(bound, x.dtype) for bound in (x_min, x_max))
    x = tf.where(x > high, high, x)
    return tf.where(x < low, low, x)


def _hard_tanh(x):
    return _clip(x, -1.0, 1.0)


def _relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    """The lower side at the threshold, and none of the slope at the maximum."""
    if threshold == 0 and max_value in (None, 6):
        return plain(activations.ReLU.static_call)(x, negative_slope, max_value, threshold)
    above = x
    if max_value is not None:
        above = tf.where(x < max_value, tf.nn.relu(x), operands.number(max_value, x.dtype))
    return tf.where(x > threshold, above, negative_slope * (x - threshold))


def _gelu(x, approximate=True):
    """Far out the tangent is one, and a cube of large numbers infinite."""
    x = tf.convert_to_tensor(x)
    if not approximate or not x.dtype.is_floating:
        return plain(nn.gelu)(x, approximate)
    far = tf.abs(x) > 64
    near = tf.where(far, tf.zeros_like(x), x)
    ends = tf.where(x > 0, x, tf.zeros_like(x))
    return tf.where(far, ends, plain(nn.gelu)(near, approximate))


def _fmod(x1, x2):
    """x1 - q x2 for a whole number q, which does not vary."""
    value = plain(knp.fmod)(x1, x2)
    x1, x2 = (tf.cast(x, value.dtype) for x in (x1, x2))
    found = x1 - operands.held(tf.round((x1 - value) / x2)) * x2
    return found + operands.held(value - found)


def _ones_like(input, dtype=None, name=None, **options):
    return _like(1, tf.ones_like, input, dtype, name, options)


def _zeros_like(input, dtype=None, name=None, **options):
    return _like(0, tf.zeros_like, input, dtype, name, options)


def _like(number, function, x, dtype, name, options):
    """Made of the shape alone, so that no gradient is looked for."""
    if options or not isinstance(x, tf.Tensor) or not (x.dtype.is_floating or x.dtype.is_complex):
        return plain(function)(x, dtype=dtype, name=name, **options)
    return tf.fill(tf.shape(x), tf.cast(number, dtype or x.dtype), name=name)


def _reduce_logsumexp(input_tensor, axis=None, keepdims=False, name=None):
    x = tf.convert_to_tensor(input_tensor)
    largest = tf.reduce_max(x, axis, keepdims=True)
    shift = operands.held(tf.where(tf.math.is_finite(largest), largest, tf.zeros_like(largest)))
    total = tf.math.log(tf.reduce_sum(tf.exp(x - shift), axis, keepdims=True)) + shift
    if keepdims:
        return total
    return tf.squeeze(total, axis) if axis is not None else tf.reshape(total, [])


def _moments(x, axes, shift=None, keepdims=False, name=None):
    """TensorFlow's stops the gradient at the mean, and the second derivatives are wrong."""
    x = tf.convert_to_tensor(x)
    z = tf.cast(x, "float32") if x.dtype == "float16" else x  # as TensorFlow does
    mean = tf.reduce_mean(z, axis=axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(z, mean), axis=axes, keepdims=keepdims)
    mean = mean if keepdims else tf.squeeze(mean, axis=axes)
    return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def _project(**options):
    return projection.project(plain(tf.raw_ops.ImageProjectiveTransformV3), **options)


def _function_context(scope_type=None):
    """A `tf.function` keeps the gradient that it was first asked for: trace it for us alone."""
    original = plain(function_context.make_function_context)
    return original(("keras_derivs", exporting.on, scope_type))


def _reshape(x, newshape):
    """One length that only a run tells is left to the others: empty batches pass in every file."""
    lengths = list(newshape) if isinstance(newshape, (list, tuple)) else []
    known = [n for n in lengths if isinstance(n, int)]
    if len(known) + 1 == len(lengths) and min(known, default=1) > 0:
        newshape = [n if isinstance(n, int) else -1 for n in lengths]
    return plain(knp.reshape)(x, newshape)


def _cudnn_ok(*args, **kwargs):
    """The recurrent layers of cuDNN have a first derivative only: run the loop instead."""
    return False


TABLE = [
    ("scan", bounds.scan, of_backend.core),
    ("fori_loop", bounds.fori_loop, of_backend.core),
    ("while_loop", bounds.while_loop, tf),
    ("reshape", _reshape, knp),
    ("cudnn_ok", _cudnn_ok, recurrent()),
    ("make_function_context", _function_context, function_context),
    ("logaddexp", _logaddexp, knp),
    ("logaddexp2", _logaddexp2, knp),
    ("hypot", norms.hypot, knp),
    ("sinc", _sinc, knp),
    ("ldexp", _ldexp, knp),
    ("clip", _clip, knp),
    ("hard_tanh", _hard_tanh, nn),
    ("gelu", _gelu, nn),
    ("fmod", _fmod, knp),
    ("ones_like", _ones_like, tf),
    ("zeros_like", _zeros_like, tf),
    ("cbrt", formulas.cbrt, knp),
    ("static_call", _relu, activations.ReLU),
    ("elu", formulas.elu, nn),
    ("celu", formulas.celu, nn),
    ("std", norms.std, knp),
    ("norm", norms.norm, linalg),
    ("norm", norms.tf_norm, tf, tf.linalg),
    ("cdist", norms.cdist, kmath),
    ("call", lambda self, x, y: norms.cdist(x, y), operations.CDist),
    ("reduce_logsumexp", _reduce_logsumexp, tf, tf.math),
    ("moments", _moments, tf.nn),
    ("ImageProjectiveTransformV3", _project, tf.raw_ops),
]

"""While a model is exported, what no file format has is replaced by what all have.

Keras traces a model for every format with its `ExportArchive`. In that trace gradients take the
rules of `portable_*.py`, and recurrent layers of known length are unrolled inside derivatives; for
LiteRT, which has no lists of tensors, everywhere.
"""

import contextlib
import functools
import math
import threading

import tensorflow as tf
from tensorflow.python.ops import gen_math_ops, math_ops

from keras_derivs.backend.override import exactly, plain, switched
from keras_derivs.backend.switch import Switch
from keras_derivs.graph.private import archive, of_backend

_local = threading.local()
# on where a model is traced for a file; kept when this module is loaded again
exporting = globals().get("exporting") or Switch()


@contextlib.contextmanager
def for_format(name):
    """Trace for that format, `None` if it is not known."""
    outer, _local.format = getattr(_local, "format", None), name
    try:
        with exporting():
            yield
    finally:
        _local.format = outer


def export_format():
    """The format a model is traced for; `None` if it is not known, or for no file at all."""
    return getattr(_local, "format", None) if exporting.on else None


def install():
    """Let every endpoint of an archive be traced for a file."""
    owner = archive()
    original = plain(owner._backend_add_endpoint)

    @functools.wraps(original)
    def add_endpoint(self, name, fn, input_signature, **kwargs):
        format = export_format()

        @functools.wraps(fn)
        def traced(*args, **options):
            with for_format(format):
                return fn(*args, **options)

        return original(self, name, traced, input_signature, **kwargs)

    add_endpoint._keras_derivs_plain = original
    owner._backend_add_endpoint = add_endpoint
    for name, portable in (("erf", _erf), ("erfc", _erfc)):
        function = switched(getattr(math_ops, name), portable, exporting)
        for owner in (math_ops, gen_math_ops, tf.math):
            setattr(owner, name, function)
    of_backend.rnn = switched(of_backend.rnn, _rnn, exporting)


def _rnn(step_function, inputs, initial_states, *args, unroll=False, time_major=False, **kwargs):
    """No file format has the gradient of a loop: a sequence of known length is unrolled."""
    known = tf.nest.flatten(inputs)[0].shape[0 if time_major else 1] is not None
    unroll = unroll or (known and (exactly.on or export_format() == "litert"))
    return plain(of_backend.rnn)(
        step_function, inputs, initial_states, *args, unroll=unroll, time_major=time_major, **kwargs
    )


def _erfc(x, name=None):
    return 1 - _erf(x)


def _erf(x, name=None):
    """LiteRT has no error function: a formula with an error of 1.5e-7."""
    x = tf.convert_to_tensor(x)
    return _by_exponential(x) if export_format() == "litert" else plain(math_ops.erf)(x)


@tf.custom_gradient
def _by_exponential(x):
    """Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 7.1.26."""
    size = tf.abs(x)
    t = 1 / (1 + 0.3275911 * size)
    factors = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    total = tf.zeros_like(x)
    for factor in reversed(factors):
        total = (total + factor) * t

    def gradient(upstream):
        return upstream * (2 / math.sqrt(math.pi)) * tf.exp(-x * x)

    return tf.sign(x) * (1 - total * tf.exp(-x * x)), gradient

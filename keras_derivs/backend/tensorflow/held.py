"""Random numbers of TensorFlow that are the same in every pass.

The random numbers of Keras are functions of seeds, which a stateless scope holds. Those of
`tf.random` are not: while a scope of this module is open, in the thread that opened it, they are
drawn by TensorFlow's stateless operations, with seeds that count the draws of each pass.
"""

import contextlib
import functools
import threading

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.ops import gen_random_ops

_local = threading.local()


@contextlib.contextmanager
def held(seed=0):
    """Every pass inside draws the same numbers."""
    outer = getattr(_local, "draws", None)
    _local.draws = [seed, 0]
    try:
        with _seeds_kept():
            yield
    finally:
        _local.draws = outer


@contextlib.contextmanager
def _seeds_kept():
    """TensorFlow takes a seed for each operation that is drawn eagerly after `set_seed`."""
    seeds = getattr(context.context(), "_rng", None)
    before = seeds and seeds.getstate()
    try:
        yield
    finally:
        if seeds:
            seeds.setstate(before)


def again():
    """A pass begins: draw from the start."""
    if getattr(_local, "draws", None):
        _local.draws[1] = 0


def drawn():
    """Whether numbers were drawn since the last start."""
    draws = getattr(_local, "draws", None)
    return bool(draws and draws[1])


def _seed():
    _local.draws[1] += 1
    return tf.stack([tf.cast(part, "int32") for part in _local.draws])


def _normal(shape, dtype, seed=0, seed2=0, name=None):
    return tf.random.stateless_normal(shape, _seed(), dtype=dtype)


def _truncated(shape, dtype, seed=0, seed2=0, name=None):
    return tf.random.stateless_truncated_normal(shape, _seed(), dtype=dtype)


def _uniform(shape, dtype, seed=0, seed2=0, name=None):
    return tf.random.stateless_uniform(shape, _seed(), dtype=dtype)


def _integers(shape, minval, maxval, seed=0, seed2=0, name=None):
    minval = tf.convert_to_tensor(minval)
    return tf.random.stateless_uniform(shape, _seed(), minval, maxval, dtype=minval.dtype)


def _shuffled(value, seed=0, seed2=0, name=None):
    value = tf.convert_to_tensor(value)
    return tf.gather(value, tf.argsort(tf.random.stateless_uniform(tf.shape(value)[:1], _seed())))


def _categorical(logits, num_samples, seed=0, seed2=0, output_dtype=tf.int64, name=None):
    return tf.random.stateless_categorical(logits, num_samples, _seed(), dtype=output_dtype)


def _gamma(shape, alpha, seed=0, seed2=0, name=None):
    alpha = tf.convert_to_tensor(alpha)
    shape = tf.concat([shape, tf.shape(alpha)], axis=0)
    return tf.random.stateless_gamma(shape, _seed(), alpha, dtype=alpha.dtype)


def _poisson(shape, rate, seed=0, seed2=0, dtype=tf.int64, name=None):
    shape = tf.concat([shape, tf.shape(rate)], axis=0)
    return tf.random.stateless_poisson(shape, _seed(), rate, dtype=dtype)


def _switched(plain, stateless):
    plain = getattr(plain, "_plain", plain)  # so that the module may be loaded again

    @functools.wraps(plain)
    def draw(*args, **kwargs):
        return (stateless if getattr(_local, "draws", None) else plain)(*args, **kwargs)

    draw._plain = plain
    return draw


STATELESS = {
    "random_standard_normal": _normal,
    "truncated_normal": _truncated,
    "random_uniform": _uniform,
    "random_uniform_int": _integers,
    "random_shuffle": _shuffled,
    "multinomial": _categorical,
    "random_gamma": _gamma,
    "random_poisson_v2": _poisson,
}
for _name, _function in STATELESS.items():
    setattr(gen_random_ops, _name, _switched(getattr(gen_random_ops, _name), _function))

"""Gradients of element-wise operations, made of operations that every file format has."""

import tensorflow as tf

from keras_derivs.backend.tensorflow.gradients import is_needed, portable, unbroadcast


def _both(op, by_x, by_y):
    """The gradients by two arguments, each summed over the axes along which it was repeated."""
    return [
        unbroadcast(by(), x) if is_needed(op, n) else None
        for n, (x, by) in enumerate(zip(op.inputs, (by_x, by_y)))
    ]


def _is_clear(op):
    """Whether the shapes tell along which axes either argument was repeated."""
    shapes = [x.shape for x in op.inputs[:2]]
    if any(shape.rank is None for shape in shapes):
        return False
    pairs = zip(*(reversed(shape.as_list()) for shape in shapes))
    return all(None not in pair or pair == (None, None) or 1 in pair for pair in pairs)


def _binary(*names):
    """Register the gradient of an operation on two arguments, where their shapes are clear."""

    def register(rule):
        @portable(*names)
        def gradient_where_clear(op, gradient, plain):
            if not _is_clear(op):
                return plain(gradient)
            return _both(op, *rule(gradient, *op.inputs))

        return rule

    return register


@_binary("Add", "AddV2")
def _add(g, x, y):
    return lambda: g, lambda: g


@_binary("Sub")
def _sub(g, x, y):
    return lambda: g, lambda: -g


@_binary("Mul")
def _mul(g, x, y):
    return lambda: g * tf.math.conj(y), lambda: g * tf.math.conj(x)


@_binary("RealDiv", "Div")
def _div(g, x, y):
    return lambda: g / tf.math.conj(y), lambda: -g * tf.math.conj(x / y / y)


@_binary("SquaredDifference")
def _squared_difference(g, x, y):
    return lambda: 2 * g * (x - y), lambda: -2 * g * (x - y)


@_binary("FloorMod")
def _floor_mod(g, x, y):
    return lambda: g, lambda: -g * tf.floor(x / y)


@portable("Tanh")
def _tanh(op, gradient, plain):
    (y,) = op.outputs
    return gradient * (1 - y * y)


@portable("Sigmoid")
def _sigmoid(op, gradient, plain):
    (y,) = op.outputs
    return gradient * (y * (1 - y))


@portable("Rsqrt")
def _rsqrt(op, gradient, plain):
    (y,) = op.outputs
    return gradient * (-0.5 * y * y * y)


@portable("Inv", "Reciprocal")
def _reciprocal(op, gradient, plain):
    (y,) = op.outputs
    return -gradient * y * y


@portable("Relu")
def _relu(op, gradient, plain):
    return _where(op.outputs[0] > 0, gradient)


@portable("Relu6")
def _relu6(op, gradient, plain):
    (y,) = op.outputs
    return _where((y > 0) & (y < 6), gradient)


@portable("LeakyRelu")
def _leaky_relu(op, gradient, plain):
    slope = tf.constant(op.get_attr("alpha"), gradient.dtype)
    return tf.where(op.inputs[0] > 0, gradient, slope * gradient)


@portable("BiasAdd")
def _bias_add(op, gradient, plain):
    channels_first = op.get_attr("data_format") in (b"NCHW", "NCHW")
    channel = 1 if channels_first else gradient.shape.rank - 1
    axes = [n for n in range(gradient.shape.rank) if n != channel]
    return gradient, tf.reduce_sum(gradient, axes)


@portable("SelectV2")
def _select(op, gradient, plain):
    condition, x, y = op.inputs
    nothing = tf.zeros_like(gradient)
    by_x = tf.where(condition, gradient, nothing)
    by_y = tf.where(condition, nothing, gradient)
    return [
        None,
        unbroadcast(by_x, x) if is_needed(op, 1) else None,
        unbroadcast(by_y, y) if is_needed(op, 2) else None,
    ]


def _where(condition, gradient):
    return tf.where(condition, gradient, tf.zeros_like(gradient))

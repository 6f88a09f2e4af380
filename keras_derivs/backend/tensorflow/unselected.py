"""What is not selected, by `tf.where` for example, takes no part in a derivative.

There the gradient that arrives is zero, and TensorFlow multiplies it by a slope that may be
infinite or no number: x log x at 0 is NaN although the other branch was taken. So a gradient
carries along where it is zero because nothing was selected (not by its value: sqrt(x)^2 has a
gradient of zero at 0, and a derivative of 1). Element-wise operations are differentiated there
at a harmless point.
"""

import functools

import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import backprop

from keras_derivs.backend.override import plain
from keras_derivs.backend.tensorflow import outer, regular

MARK = "_keras_derivs_unselected"  # attribute: a function that returns where a gradient is so
HARMLESS = 0.5  # in the domain of every function below
NONLINEAR = {
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atan2", "Atanh", "BesselI0", "BesselI0e", "BesselI1",
    "BesselI1e", "BesselJ0", "BesselJ1", "Cos", "Cosh", "Digamma", "Div", "DivNoNan", "Elu", "Erf",
    "Erfc", "Erfinv", "Exp", "Expint", "Expm1", "Inv", "InvGrad", "Lgamma", "Log", "Log1p", 
    "Ndtri", "Pow", "RealDiv", "Reciprocal", "ReciprocalGrad", "Rsqrt", "RsqrtGrad",
    "Selu", "Sigmoid", "SigmoidGrad", "Sin", "Sinh", "Softplus", "SoftplusGrad", "Softsign",
    "Spence", "Sqrt", "SqrtGrad", "Square", "SquaredDifference", "Tan", "Tanh", "TanhGrad", "Xdivy",
    "Xlog1py", "Xlogy",
}  # fmt: skip
PICKING = {  # entries of one tensor
    "AvgPool", "AvgPool3D", "DepthToSpace", "DiagPart", "GatherNd", "GatherV2", "MatrixDiagPart",
    "MatrixDiagPartV2", "MatrixDiagPartV3", "Max", "MaxPool", "MaxPool3D", "MaxPoolV2", "Min",
    "Slice", "StridedSlice", "StridedSliceGrad", "TopKV2",
}  # fmt: skip
LINEAR = PICKING | {  # without negative coefficients, or without positive ones
    "Add", "AddV2", "BatchToSpaceND", "BiasAdd", "BroadcastTo", "Cast", "ConcatV2", "Cumsum",
    "EnsureShape", "ExpandDims", "Identity", "MatrixDiag", "MatrixDiagV3", "Mean", "MirrorPad",
    "Neg", "Pack", "Pad", "PadV2", "Reshape", "ReverseV2", "Roll", "SegmentSum",
    "SpaceToBatchND", "SpaceToDepth", "Split", "SplitV", "Squeeze", "Sub", "Sum", "Tile",
    "Transpose", "Unpack", "UnsortedSegmentSum",
}  # fmt: skip


def mark(gradient, where):
    """Say where a gradient is zero because nothing was selected; `where()` is a mask."""
    if isinstance(gradient, (tf.Tensor, tf.IndexedSlices)):
        setattr(gradient, MARK, functools.cache(where))
    return gradient


def marked(gradient):
    return getattr(gradient, MARK, None)


def alike(gradient, found, also=None):
    """What an element-wise function made of a gradient, marked as that is, and by `also()`."""
    marks = [where for where in (marked(gradient), also) if where is not None]
    if marks:
        mark(found, lambda: functools.reduce(tf.logical_or, [where() for where in marks]))
    return outer.hand_on(gradient, found)


def following(name, call):
    """`call(operation, *gradients)`, a gradient, made to follow the marks."""
    if name in SELECTORS:
        return functools.partial(_selected, call, SELECTORS[name])
    if name in LINEAR:
        return functools.partial(_passed_on, call, name in PICKING)
    return functools.partial(_harmless, call) if name in NONLINEAR else call


def total(add, gradients):
    """`add(gradients)`, a sum, which follows the marks of what it adds."""
    found, marks = add(gradients), [marked(g) for g in gradients]
    if all(marks):
        mark(found, lambda: functools.reduce(tf.logical_and, [where() for where in marks]))
    return found


def install():
    """Let tapes mark the zeros of an output that nothing is computed from."""
    tape = backprop._default_vspace
    zeros, like = plain(tape.zeros_fn), plain(tape.zeros_like_fn)
    tape = tape._replace(zeros_fn=_absent(zeros), zeros_like_fn=_absent(like))
    backprop._default_vspace = tape
    pywrap_tfe.TFE_Py_RegisterVSpace(tape)


def _absent(zeros):
    @functools.wraps(zeros)
    def function(*args):
        found = zeros(*args)
        if isinstance(found, tf.Tensor):  # which may be one for all: nothing is kept with it
            setattr(found, MARK, lambda: tf.ones(tf.shape(found), tf.bool))
        return found

    function._keras_derivs_plain = zeros
    return function


class _Filled:
    """An operation as if it had been called on harmless numbers where nothing was selected."""

    def __init__(self, operation, where, shape):
        self._operation = operation
        self.inputs = [
            x if _is_number(operation, n) else _fill(x, where, shape)
            for n, x in enumerate(operation.inputs or ())
        ]
        self.outputs = [_fill(y, where, shape) for y in operation.outputs or ()]

    def __getattr__(self, name):
        return getattr(self._operation, name)


def _is_number(operation, position):
    """Whether an input is one number that does not vary, such as an exponent."""
    x = operation.inputs[position]
    return x is not None and x.shape.rank == 0 and not is_needed(operation, position)


def _fill(x, where, shape):
    if x is None or not x.dtype.is_floating:
        return x
    return harmless(tf.broadcast_to(x, shape), where)


def harmless(x, where):
    return tf.where(where, tf.constant(HARMLESS, x.dtype), x)


def _harmless(call, operation, gradient):
    where = marked(gradient)
    if where is None:
        return call(operation, gradient)
    gradient = tf.convert_to_tensor(gradient)
    found = call(_Filled(operation, where(), tf.shape(gradient)), gradient)
    if operation.inputs is None or isinstance(found, tf.Tensor):
        return tf.nest.map_structure(lambda g: mark(g, where), found)
    return [
        g if g is None or x is None else _narrowed(g, x, lambda: ~where())
        for g, x in zip(found, operation.inputs)
    ]


def _narrowed(gradient, x, alive):
    """A gradient of the shape of `x`, marked where none of what is added was selected."""
    gradient = unbroadcast(gradient, x)
    return mark(gradient, lambda: tf.equal(unbroadcast(tf.cast(alive(), gradient.dtype), x), 0))


def _passed_on(call, picks, operation, *gradients):
    """A linear map without negative entries, or without positive ones, maps what was selected."""
    found, marks = call(operation, *gradients), [marked(g) for g in gradients]
    if not picks and not any(marks):
        return found

    @functools.cache
    def alive():
        ones = [
            tf.ones_like(g) if where is None else tf.cast(~where(), g.dtype)
            for g, where in zip(gradients, marks)
        ]
        return tf.nest.flatten(call(operation, *ones))

    for n, g in enumerate(tf.nest.flatten(found)):
        mark(g, lambda n=n: tf.equal(alive()[n], 0))
    return found


def _selected(call, selector, operation, gradient):
    found, where = _harmless(call, operation, gradient), marked(gradient)
    parts = [found] if isinstance(found, tf.Tensor) else found
    for g, chosen in zip(parts, selector(operation)):
        if g is not None and chosen is not None:
            _narrowed(g, g, functools.partial(_chosen, chosen, gradient, where))
    return found


def _chosen(chosen, gradient, where):
    chosen = tf.broadcast_to(chosen(), tf.shape(gradient))
    return chosen if where is None else chosen & ~where()


def _where(operation):
    condition = operation.inputs[0]
    return None, lambda: condition, lambda: ~condition


def _maximum(operation):
    x, y = operation.inputs
    return lambda: x >= y, lambda: y >= x


def _minimum(operation):
    x, y = operation.inputs
    return lambda: x <= y, lambda: y <= x


def _relu(operation):
    return (lambda: operation.outputs[0] > 0,)


def _relu6(operation):
    return (lambda: (operation.outputs[0] > 0) & (operation.outputs[0] < 6),)


def _product(operation):
    """What is multiplied by a constant zero is not selected."""
    x, y = operation.inputs
    return [
        (lambda other=other: tf.not_equal(other, 0))
        if _may_select(operation, n, other) and not regular.always(z)
        else None
        for n, other, z in ((1, y, x), (0, x, y))
    ]


def _may_select(operation, position, factor):
    """Whether a factor is a constant other than a number that is not zero."""
    if is_needed(operation, position):
        return False
    return factor.shape.rank != 0 or tf.get_static_value(factor) in (None, 0)


SELECTORS = {
    "Maximum": _maximum, "Minimum": _minimum, "Mul": _product, "MulNoNan": _product, "Relu": _relu,
    "Relu6": _relu6, "SelectV2": _where,
}  # fmt: skip


def is_needed(operation, position):
    """Whether a gradient may be asked for by that input of an operation."""
    skipped = getattr(operation, "skip_input_indices", None) or ()
    dtype = operation.inputs[position].dtype
    return position not in skipped and (dtype.is_floating or dtype.is_complex)


def unbroadcast(gradient, x):
    """The sum of a gradient over the axes along which `x` was repeated."""
    wide, narrow = gradient.shape, x.shape
    if wide.rank is None or narrow.rank is None:  # as in functions of a user's own
        shapes = {"s0": tf.shape(x), "s1": tf.shape(gradient)}
        axes, _ = tf.raw_ops.BroadcastGradientArgs(**shapes)
        return tf.reshape(tf.reduce_sum(gradient, axes), shapes["s0"])
    lead = wide.rank - narrow.rank
    axes = [lead + n for n, size in enumerate(narrow) if size == 1 and wide[lead + n] != 1]
    gradient = tf.reduce_sum(gradient, axes, keepdims=True) if axes else gradient
    return tf.reduce_sum(gradient, list(range(lead))) if lead else gradient

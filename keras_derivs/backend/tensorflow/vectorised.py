"""Many pulls through one recorded pass at once, by TensorFlow's vectorisation of loops.

What does not depend on the number of the pull, such as the pass itself, is computed once. Only
graphs of the operations below are taken: of these a later gradient exists too. No file format has
all of them.

For XLA `tf.vectorized_map` puts the loop into a function of its own. A gradient through that
function hands shapes from one function to another, XLA takes for constants whatever they might
depend on, and compiles anew for every batch. So the loop is vectorised in the graph itself, and
not at all in a function inside of one that is compiled.
"""

import functools

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import InXlaContext
from tensorflow.python.ops.parallel_for.control_flow_ops import _pfor_impl
from tensorflow.python.ops.parallel_for.pfor import _pfor_converter_registry as converters

from keras_derivs.backend.override import plain
from keras_derivs.backend.switch import Switch
from keras_derivs.backend.tensorflow.exporting import exporting
from keras_derivs.backend.tensorflow.modes import compiling, tracing

KNOWN = {
    "Abs", "Add", "AddN", "AddV2", "BatchMatMulV2", "BiasAdd", "BiasAddGrad",
    "BroadcastGradientArgs", "BroadcastTo", "Cast", "ConcatOffset", "ConcatV2", "Const", "Cos",
    "DynamicStitch", "Einsum", "Elu", "EluGrad", "Equal", "Erf", "Erfc", "Exp", "ExpandDims",
    "Expm1", "Fill", "FloorDiv", "FloorMod", "GatherV2", "Greater", "GreaterEqual", "Identity",
    "InvertPermutation", "IsFinite", "Less", "LessEqual", "Log", "Log1p", "LogicalAnd",
    "LogicalNot", "LogicalOr", "MatMul", "Max", "Maximum", "Mean", "Minimum", "Mul", "MulNoNan",
    "Neg", "NoOp", "NotEqual", "OneHot", "OnesLike", "Pack", "Pad", "Placeholder",
    "PlaceholderWithDefault", "Pow", "Prod", "Range", "Rank", "ReadVariableOp", "RealDiv",
    "Reciprocal", "ReciprocalGrad", "Relu", "Relu6", "Relu6Grad", "ReluGrad", "Reshape", "Rsqrt",
    "RsqrtGrad", "Select", "SelectV2", "Selu", "SeluGrad", "Shape", "ShapeN", "Sigmoid",
    "SigmoidGrad", "Sign", "Sin", "Size", "Slice", "Softmax", "Softplus", "SoftplusGrad", "Split",
    "SplitV", "Sqrt", "SqrtGrad", "Square", "SquaredDifference", "Squeeze", "StopGradient",
    "StridedSlice", "StridedSliceGrad", "Sub", "Sum", "Tanh", "TanhGrad", "Tile", "Transpose",
    "Unpack", "ZerosLike",
}  # fmt: skip
# on where a loop is vectorised here; kept when this module is loaded again
vectorising = globals().get("vectorising") or Switch()


def at_each(function, columns):
    """See `keras_derivs.backend.at_each`."""
    graph = tf.compat.v1.get_default_graph()
    if not tracing() or exporting.on or (compiling() and not InXlaContext(graph.outer_graph)):
        return None
    before = len(graph.get_operations())
    constants = [tf.constant(column, "int32") for column in columns]
    found = None

    def call(number):
        nonlocal found
        beside, results = function(*(tf.gather(numbers, number) for numbers in constants))
        found = beside
        if not {op.type for op in graph.get_operations()[before:]} <= KNOWN:
            raise NotImplementedError
        return results

    try:
        with vectorising():
            results = _pfor_impl(call, len(columns[0]), fallback_to_while_loop=False)
    except (NotImplementedError, ValueError):  # such as an operation without a vectorised form
        return None
    return found, results


def install():
    """Let products of matrices keep their last axis where a batch is empty."""
    original = plain(converters["MatMul"])

    @functools.wraps(original)
    def convert(given):
        found = original(given)
        return _with_columns(found, given) if vectorising.on else found

    convert._keras_derivs_plain = original
    converters["MatMul"] = convert


def _with_columns(found, given):
    """TensorFlow infers the number of columns, which it cannot for no rows."""
    (_, left_varies, _), (right, right_varies, _) = given.input(0), given.input(1)
    if right_varies or not left_varies:
        return found
    axis = 0 if given.get_attr("transpose_b") else 1
    columns = right.shape[axis] or tf.shape(right)[axis]
    rows = [n if n is not None else tf.shape(found.t)[k] for k, n in enumerate(found.t.shape[:2])]
    return found._replace(t=tf.reshape(found.t, [*rows, columns]))


install()

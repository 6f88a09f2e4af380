"""Many pulls through one recorded pass at once, by TensorFlow's vectorisation of loops.

What does not depend on the number of the pull, such as the pass itself, is computed once. Only
graphs of the operations below are taken: of these a later gradient exists too. XLA would compile
such a program anew for every batch, and no file format has all of its operations.
"""

import tensorflow as tf

from keras_derivs.backend.tensorflow.exporting import exporting
from keras_derivs.backend.tensorflow.modes import compiling, tracing

KNOWN = {
    "Abs", "Add", "AddN", "AddV2", "BatchMatMulV2", "BiasAdd", "BiasAddGrad",
    "BroadcastGradientArgs", "BroadcastTo", "Cast", "ConcatOffset", "ConcatV2", "Const", "Cos",
    "DynamicStitch", "Einsum", "Equal", "Erf", "Exp", "ExpandDims", "Fill", "FloorDiv", "FloorMod",
    "GatherV2", "Greater", "GreaterEqual", "Identity", "InvertPermutation", "Less", "LessEqual",
    "Log", "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr", "MatMul", "Maximum", "Mean", "Minimum",
    "Mul", "Neg", "NoOp", "NotEqual", "OneHot", "OnesLike", "Pack", "Pad", "Placeholder",
    "PlaceholderWithDefault", "Pow", "Prod", "Range", "Rank", "ReadVariableOp", "RealDiv",
    "Reciprocal", "ReciprocalGrad", "Relu", "ReluGrad", "Reshape", "Rsqrt", "RsqrtGrad", "Select",
    "SelectV2", "Shape", "ShapeN", "Sigmoid", "SigmoidGrad", "Sin", "Size", "Slice", "Softplus",
    "SoftplusGrad", "Split", "Sqrt", "SqrtGrad", "Square", "SquaredDifference", "Squeeze",
    "StopGradient", "StridedSlice", "StridedSliceGrad", "Sub", "Sum", "Tanh", "TanhGrad", "Tile",
    "Transpose", "Unpack", "ZerosLike",
}  # fmt: skip


def at_each(function, columns):
    """See `keras_derivs.backend.at_each`."""
    if not tracing() or compiling() or exporting.on:
        return None
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    found = None

    def call(numbers):
        nonlocal found
        beside, results = function(*numbers)
        found = beside
        if not {op.type for op in graph.get_operations()[before:]} <= KNOWN:
            raise NotImplementedError
        return results

    try:
        columns = tuple(tf.constant(column, "int32") for column in columns)
        results = tf.vectorized_map(call, columns, fallback_to_while_loop=False)
    except (NotImplementedError, ValueError):  # such as an operation without a vectorised form
        return None
    return found, results

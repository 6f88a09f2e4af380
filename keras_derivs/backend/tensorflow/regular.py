"""Tensors of a graph whose derivatives are finite wherever they are: no root, no quotient.

Multiplied by zero, such a derivative is zero, and nothing has to be kept out of it.
"""

import tensorflow as tf

KNOWN = "_keras_derivs_regular"  # attribute of a graph: {name of an operation: whether it is so}
REGULAR = {
    "Add", "AddN", "AddV2", "AvgPool", "BatchMatMulV2", "BiasAdd", "BiasAddGrad", "BroadcastTo",
    "Cast", "ConcatV2", "Const", "Conv2D", "Conv2DBackpropInput", "Cos", "DepthwiseConv2dNative",
    "DepthwiseConv2dNativeBackpropInput", "Einsum", "Erf", "ExpandDims", "Fill", "GatherV2",
    "Identity", "MatMul", "Mean", "Mul", "Neg", "OneHot", "Pack", "Pad", "Placeholder", "Range",
    "ReadVariableOp", "Relu", "ReluGrad", "Reshape", "Shape", "Sigmoid", "SigmoidGrad", "Sin",
    "Slice", "Softplus", "Square", "SquaredDifference", "Squeeze", "StridedSlice", "Sub", "Sum",
    "Tanh", "TanhGrad", "Tile", "Transpose", "Unpack",
}  # fmt: skip


def always(x):
    """Whether a tensor is computed by such operations alone; eagerly that is not known."""
    if tf.executing_eagerly() or not hasattr(x, "op"):
        return False
    known = getattr(x.graph, KNOWN, None)
    if known is None:
        known = {}
        setattr(x.graph, KNOWN, known)
    waiting = [x.op]
    while waiting:
        operation = waiting[-1]
        sources = [] if operation.type not in REGULAR else [y.op for y in operation.inputs]
        unknown = [source for source in sources if source.name not in known]
        if not unknown:
            known[operation.name] = operation.type in REGULAR and all(
                known[source.name] for source in sources
            )
            waiting.pop()
        waiting.extend(unknown)
    return known[x.op.name]

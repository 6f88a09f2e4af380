"""Which operations lie on a way from the inputs to the outputs that never bends.

What passes through `relu` on such a way has no second derivative: it is zero on each side of the
kink. A function that is no polynomial of first degree before or after it, as in `relu(x)**2`, has.
"""

from keras_derivs.backend.kinks import COMPARISONS, STOPPED

# kinds of operations, in lower case, that bend, of one argument or more
CURVED = {
    "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctangent",
    "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e", "bessel_i1e",
    "besseli0", "besseli0e", "besseli1", "besseli1e", "cbrt", "celu", "cos", "cosh",
    "cumlogsumexp", "cumprod", "cumulativelogsumexp", "digamma", "elu", "erf", "erf_inv",
    "erfc", "erfinv", "exp", "exp2", "expm1", "expx", "gelu", "hypot", "i0", "integer_pow",
    "inv", "l2loss", "layer_norm", "lgamma", "log", "log10", "log1p", "log2", "log_sigmoid",
    "log_softmax", "logaddexp", "logaddexp2", "logistic", "logsoftmax", "logsumexp", "mish",
    "norm", "pow", "power", "prod", "reciprocal", "reduce_prod", "rsqrt", "selu", "sigmoid",
    "silu", "sin", "sinc", "sinh", "soft_sign", "softmax", "softplus", "softsign", "sqrt",
    "square", "squareddifference", "std", "tan", "tanh", "var", "xlogy",
}  # fmt: skip
# that bend where several of their arguments vary
PRODUCTS = {
    "addmm", "baddbmm", "batchmatmul", "batchmatmulv2", "batchmatmulv3", "bilinear", "bmm",
    "conv1d", "conv2d", "conv3d", "conv_general_dilated", "depthwiseconv2dnative", "dot",
    "dot_general", "einsum", "linear", "matmul", "mm", "mul", "mulnonan", "rmatmul",
    "scaled_dot_product_attention", "tensordot",
}  # fmt: skip
QUOTIENTS = {"div", "divnonan", "realdiv"}  # that bend where the second argument varies
NOT_VARYING = {*COMPARISONS, "Logical", STOPPED}


def straight(nodes, starts, ends):
    """The names of the nodes of `kinks` on a way without any that bends."""
    varies, reached, needed = set(starts), set(starts), set(ends)
    kept, found = [], set()
    for node in nodes:
        moved = [x in varies for x in node.inputs]
        if any(moved) and node.kind not in NOT_VARYING:
            varies.update(node.outputs)
            if not _bends(node.kind.lower(), moved) and not reached.isdisjoint(node.inputs):
                reached.update(node.outputs)
                kept.append(node)
    for node in reversed(kept):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            found.add(node.name)
    return found


def _bends(kind, moved):
    if kind in PRODUCTS:
        return sum(moved) > 1
    return kind in CURVED or (kind in QUOTIENTS and moved[-1])

"""What the traced graph of a model holds, on the way from its inputs to its output and beside it.

A plain tape says nothing where a part of a derivative is lost. An operation lies on the way if it
depends on an input and the output depends on it, other than through a stopped gradient.
"""

import tensorflow as tf

from keras_derivs.backend.step import Step
from keras_derivs.backend.tensorflow import comparisons, exact, functions, gradients

# No gradient, and no word of it: the derivative would lack what passes through them.
LOST = {
    "PyFunc", "PyFuncStateless", "HSVToRGB", "ExtractGlimpse", "DrawBoundingBoxes", "LinSpace",
    "RandomShuffle", "Range",
}  # fmt: skip
STOPPED = {"StopGradient"}
# Constant piece by piece: the derivative of what passes through them is zero.
FLAT = {
    "ArgMax", "ArgMin", "Bucketize", "CastToInteger", *gradients.FLAT, *comparisons.COMPARISONS
}  # fmt: skip
# The gradients of vectors, and second derivatives of values, need values that differ.
VECTORS = {"Svd", "SelfAdjointEigV2", "Eig"}
VALUES = {f"{name} (values)" for name in VECTORS}
KINKED = {"Relu", "Relu6", "LeakyRelu"}  # their second derivative is zero
# What they return does not vary with the values of what they get, or is no number.
ENDS = {
    "Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "Equal", "NotEqual", "Less",
    "LessEqual", "Greater", "GreaterEqual", "IsNan", "IsInf", "IsFinite", "Assert",
}  # fmt: skip
CALLS = ("f", "cond", "body", "then_branch", "else_branch")
CUSTOM = "_gradient_op_type"  # the attribute of a custom gradient


def steps(run, inputs, wrt, order):
    """Every `Step` of `run(inputs)`; `None` where it cannot be traced.

    From the second order on, what stops or loses the gradient inside of a custom gradient counts.
    """
    found = _trace(run, inputs, wrt)
    custom = [step for step in found or () if step.on_the_way and step.type == "CustomGradient"]
    if custom and order > 1:
        known = {step.name for step in found if step.on_the_way}
        found += [
            Step(step.type, f"{custom[0].name}/{step.name}")
            for step in _trace(_slopes(run, wrt), inputs, wrt) or ()
            if step.on_the_way and step.type in STOPPED | LOST and step.name not in known
        ]
    return found


def _slopes(run, wrt):
    def slopes(inputs):
        xs = [inputs[position] for position in wrt]
        with tf.GradientTape() as tape:
            tape.watch(xs)
            y = run(inputs)
        with exact.gradients():
            return tape.gradient(y, xs)

    return slopes


def _trace(run, inputs, wrt):
    signature = [tf.TensorSpec(x.shape, x.dtype, f"given_{n}") for n, x in enumerate(inputs)]
    try:
        function = tf.function(lambda *xs: run(list(xs)), autograph=False)
        concrete = function.get_concrete_function(*signature)
    except Exception:  # code that needs numbers: only eager calls of it are possible
        return None
    graph = concrete.graph.as_graph_def()
    library = {function.signature.name: function for function in graph.library.function}
    starts = {concrete.inputs[position].op.name for position in wrt}
    ends = {output.op.name for output in concrete.outputs}
    return _walk(graph.node, starts, ends, library, "")


def _walk(nodes, starts, ends, library, scope):
    reached = _forward(nodes, starts)
    needed = _backward(nodes, ends, reached)
    between = reached & needed - starts | comparisons.added(nodes, _sources, reached, needed)
    found = []
    for node in nodes:
        if node.op == "Placeholder":
            continue
        on_the_way = node.name in between
        found.append(Step(_type(node), scope + node.name, on_the_way))
        for key in set(CALLS) & set(node.attr):
            inner = library[node.attr[key].func.name]
            begins, finals = _inside(node, inner, key, reached) if on_the_way else (set(), set())
            found += _walk(inner.node_def, begins, finals, library, f"{scope}{node.name}/")
    return found


def _inside(node, inner, key, reached):
    """Where the way enters and leaves a function that a node calls."""
    given = node.input[1:] if key.endswith("_branch") else node.input
    begins = {
        argument.name
        for argument, source in zip(inner.signature.input_arg, given)
        if _source(source) in reached or node.op.endswith("While")
    }
    return begins, {_source(value) for value in inner.ret.values()}


def _forward(nodes, starts):
    """The names of what depends on `starts`."""
    uses = {}
    for node in nodes:
        for source in _sources(node):
            uses.setdefault(source, []).append(node)
    reached, waiting = set(starts), list(starts)
    while waiting:
        for node in uses.get(waiting.pop(), []):
            if node.name not in reached and node.op not in ENDS and not _is_logical(node):
                reached.add(node.name)
                waiting.append(node.name)
    return reached


def _backward(nodes, ends, reached):
    """The names of what `ends` depend on, other than through a stopped gradient."""
    by_name = {node.name: node for node in nodes}
    needed, waiting = set(ends), list(ends)
    while waiting:
        node = by_name.get(waiting.pop())
        if node is None or node.op == "StopGradient":
            continue
        sources = set(_sources(node))
        if CUSTOM in node.attr:  # it has results as inputs, too, which pass no gradient on
            sources = {s for s in sources if s in reached and not _on_others(nodes, s, sources)}
        waiting.extend(sources - needed)
        needed |= sources
    return needed


def _on_others(nodes, source, sources):
    return source in _forward(nodes, sources - {source})


def _sources(node):
    return [_source(text) for text in node.input if not text.startswith("^")]


def _source(text):
    return text.split(":")[0]


def _is_logical(node):
    return node.op == "Cast" and tf.dtypes.as_dtype(node.attr["DstT"].type) == tf.bool


def _type(node):
    if CUSTOM in node.attr:
        return "CustomGradient"
    if node.op == "Cast":
        kinds = [tf.dtypes.as_dtype(node.attr[key].type) for key in ("SrcT", "DstT")]
        return "CastToInteger" if kinds[0].is_floating and kinds[1].is_integer else "Cast"
    if node.op in VECTORS and not any(node.attr[key].b for key in ("compute_uv", "compute_v")):
        return f"{node.op} (values)"
    held = node.op == "StopGradient" and node.name.split("/")[-1].startswith(functions.HELD)
    return "Identity" if held else node.op  # held: what the result does not depend on

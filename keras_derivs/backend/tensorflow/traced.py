"""What the traced graph of a model holds, on the way from its inputs to its output and beside it.

A plain tape says nothing where a part of a derivative is lost. An operation lies on the way if it
depends on an input and the output depends on it, other than through a stopped gradient.
"""

import collections

import tensorflow as tf

from keras_derivs.backend.defaults import precise
from keras_derivs.backend.step import Step
from keras_derivs.backend.tensorflow import (
    across,
    bounds,
    comparisons,
    gradients,
    inlined,
    kinks,
    quotients,
    state,
)
from keras_derivs.backend.tensorflow.node_types import author, is_own, num_results, type_of

# No gradient, and no word of it: the derivative would lack what passes through them.
LOST = {
    "PyFunc", "PyFuncStateless", "HSVToRGB", "ExtractGlimpse", "DrawBoundingBoxes", "LinSpace",
    "RandomShuffle", "Range", *state.READS,
}  # fmt: skip
STOPPED = {"StopGradient"}
# Constant piece by piece: the derivative of what passes through them is zero.
FLAT = {
    "ArgMax", "ArgMin", "Bitcast", "Bucketize", "CastToInteger", "Multinomial",
    "StatelessMultinomial", *gradients.FLAT, *comparisons.COMPARISONS,
}  # fmt: skip
KEPT = {"EmptyTensorList", "TensorListPushBack", "TensorListPopBack"}
KINKED = {"Relu", "Relu6", "LeakyRelu"}  # their second derivative is zero
# They round, and their gradient takes that for the identity.
ESTIMATED = {
    "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel",
    "GradPassThrough", "QuantizeAndDequantize", "QuantizeAndDequantizeV2",
    "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4",
}  # fmt: skip
AT_POINTS, AT_ZERO = comparisons.AT_POINTS, quotients.MISSED  # they have none at zero
# What they return does not vary with the values of what they get, or is no number.
ENDS = {
    "Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "Equal", "NotEqual", "Less",
    "LessEqual", "Greater", "GreaterEqual", "IsNan", "IsInf", "IsFinite", "Assert",
}  # fmt: skip


def traced(run, inputs, wrt):
    """See `keras_derivs.backend`."""
    failed, at_zero, forward = [], [], []

    def function(*xs):
        chosen = [xs[position] for position in wrt]
        with tf.GradientTape() as tape:
            tape.watch(chosen)
            y = tf.identity(run(list(xs)))
        graph = tf.compat.v1.get_default_graph()
        definition = graph.as_graph_def(add_shapes=True)
        found = _on_the_way(definition, chosen, [y])
        names = [x.op.name for x in chosen], [y.op.name]
        steps = kinks.marked([step for _, step in found], inlined.inlined(definition), *names)
        forward[:] = steps, _num_bytes(graph.get_operations())
        if not any(step.on_the_way and _is_to_look_at(node) for node, step in found):
            return (y,)
        try:
            with precise(), quotients.recording() as missed:
                slopes = tape.gradient(y, chosen, unconnected_gradients="zero")
        except Exception as error:
            failed.append(error)
            return (y,)
        at_zero.extend(missed)
        return y, *slopes

    signature = [tf.TensorSpec(x.shape, x.dtype, f"given_{n}") for n, x in enumerate(inputs)]
    try:
        concrete = tf.function(function, autograph=False).get_concrete_function(*signature)
    except Exception:  # code that needs numbers: only eager calls of it are possible
        return None
    steps, num_bytes = forward
    inside = None if failed else [*_inside_custom(concrete, wrt, steps), *at_zero]
    return across.marked(steps, concrete.graph, inputs), inside, num_bytes


def _is_to_look_at(node):
    """Whether it is a root, or has a custom gradient other than those of the framework."""
    root = node.op in quotients.ROOTS | quotients.OPPOSITE
    return root or author(node) not in (None, "tensorflow", "keras")


def _inside_custom(concrete, wrt, steps):
    custom = [step for step in steps if step.on_the_way and step.own]
    slopes, known = concrete.outputs[1:], {step.name for step in steps if step.on_the_way}
    if not custom or not slopes:
        return []
    xs = [concrete.inputs[position] for position in wrt]
    found = _on_the_way(concrete.graph.as_graph_def(), xs, slopes)
    return [
        Step(step.type, f"{custom[0].name}/{step.name}")
        for _, step in found
        if step.on_the_way and step.type in STOPPED | LOST and step.name not in known
    ]


def _num_bytes(operations):
    kept = [op for op in operations if op.type not in ("Const", "ReadVariableOp")]
    tensors = [y for op in kept for y in op.outputs if y.shape.is_fully_defined()]
    return sum(y.shape.num_elements() * y.dtype.size for y in tensors)


def _on_the_way(graph, inputs, outputs):
    """Every node of a graph, with its step."""
    state.link(graph)
    library = {function.signature.name: function for function in graph.library.function}
    starts, ends = ({x.op.name for x in tensors} for tensors in (inputs, outputs))
    return _walk(graph.node, starts, ends, library, "")


def _walk(nodes, starts, ends, library, scope, nested=False):
    reached = _forward(nodes, starts)
    needed = _backward(nodes, ends)
    between = reached & needed - starts | comparisons.added(nodes, reached, needed)
    points = comparisons.at_points(nodes, reached)
    by_name, found = {node.name: node for node in nodes}, []
    for node in nodes:
        if node.op == "Placeholder" or node.op in KEPT:
            continue
        name, on_the_way = scope + node.name, node.name in between
        found.append((node, Step(type_of(node), name, on_the_way, is_own(node))))
        if node.name in points:
            found.append((node, Step(f"{node.op}, at single points", name, on_the_way)))
        for told in bounds.obstacles(node, by_name, nested):
            found.append((node, Step(f"{node.op}, {told}", name, on_the_way)))
        for body in inlined.bodies(node).values():
            inner = library[body]
            begins, finals = _inside(node, inner, reached) if on_the_way else (set(), set())
            within = nested or bounds.is_loop(node)
            found += _walk(inner.node_def, begins, finals, library, f"{name}/", within)
    return found


def _inside(node, inner, reached):
    """Where the way enters and leaves a function that a node calls."""
    loop = bounds.is_loop(node)
    begins = {
        argument.name
        for argument, source in zip(inner.signature.input_arg, inlined.given(node))
        if inlined.source(source) in reached or (loop and not state.is_state(argument))
    }
    return begins, {inlined.source(value) for value in inner.ret.values()}


def _forward(nodes, starts):
    """The names of what depends on `starts`."""
    uses = collections.defaultdict(list)
    for node in nodes:
        for source in inlined.sources(node):
            uses[source].append(node)
    reached, waiting = set(starts), list(starts)
    while waiting:
        for node in uses[waiting.pop()]:
            if node.name not in reached and node.op not in ENDS and not _is_logical(node):
                reached.add(node.name)
                waiting.append(node.name)
    return reached


def _backward(nodes, ends):
    """The names of what `ends` vary with, other than through a stopped gradient."""
    by_name = {node.name: node for node in nodes}
    needed, waiting = set(ends), list(ends)
    while waiting:
        node = by_name.get(waiting.pop())
        if node is None or node.op == "StopGradient" or node.op in ENDS or _is_logical(node):
            continue
        read = set(inlined.sources(node)[num_results(node) :])
        waiting.extend(read - needed)
        needed |= read
    return needed


def _is_logical(node):
    return node.op == "Cast" and tf.dtypes.as_dtype(node.attr["DstT"].type) == tf.bool

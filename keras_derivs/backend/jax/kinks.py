"""The operations of JAX's programs as `keras_derivs.backend.kinks` reads them."""

import itertools

import jax
import numpy as np
from jax.extend.core import Literal

from keras_derivs.backend import curves, kinks, points
from keras_derivs.backend.kinks import CONSTANT, JOINED, SAME, SELECT, SHAPED, STOPPED, Node

KINDS = {
    "abs": "Abs", "add": "Add", "add_any": "Add", "and": "Logical", "broadcast_in_dim": SHAPED,
    "concatenate": JOINED, "convert_element_type": SAME, "copy": SAME, "cos": "Cos",
    "cosh": "Cosh", "div": "Div", "eq": "Equal", "expand_dims": SHAPED, "ge": "GreaterEqual",
    "gt": "Greater",
    "le": "LessEqual", "lt": "Less", "max": "Maximum", "min": "Minimum", "mul": "Mul",
    "ne": "NotEqual", "neg": "Neg", "not": "Logical", "or": "Logical", "reduce_max": "Max",
    "reduce_min": "Min",
    "reduce_window_max": "MaxPool", "reshape": SHAPED, "select_n": SELECT, "shift": STOPPED,
    "sort": "TopK",
    "square": "Square", "squeeze": SHAPED, "stop_gradient": STOPPED, "sub": "Sub",
    "top_k": "TopK",
}  # fmt: skip
# functions of JAX that count as one operation
WHOLE = {
    "celu": "Elu", "clip": "Clip", "elu": "Elu", "leaky_relu": "LeakyRelu", "relu": "Relu",
    "relu6": "Relu6", "selu": "Selu",
}  # fmt: skip
LOOPS = {"cond", "scan", "while"}  # their programs are looked at alone
INLINED = {"jit", "pjit", "closed_call"}


def found(jaxpr, starts, type_of, replaced):
    """What `kinks.cancelling`, `in_even_functions`, `curves` and `points` find, by identity.

    `type_of` is how the audit calls an operation; what those called `replaced` are made of does
    not count.
    """
    reader = _Reader(type_of, replaced)
    keys = dict(zip(jaxpr.invars, reader.new(jaxpr.invars)))
    starts = [keys[x] for x in starts]
    keys = reader.read(jaxpr, keys)
    ends = {reader.known(y, keys) for y in jaxpr.outvars}
    cancels = kinks.cancelling(reader.nodes, kinks.on_the_way(reader.nodes, starts, ends))
    even = kinks.in_even_functions(reader.nodes, ends)
    bent = {node.name for node in reader.nodes} - curves.straight(reader.nodes, starts, ends)
    chosen = points.selections(reader.nodes, starts)
    for inner in reader.inside:
        more, others, _, inside = found(inner, inner.invars, type_of, replaced)
        cancels, even, chosen = cancels | more, even | others, chosen | inside
    return cancels, even, bent, chosen


class _Reader:
    """Numbers the tensors of a program, those of the programs that it calls anew at each call."""

    def __init__(self, type_of, replaced):
        self.nodes, self.inside, self.count = [], [], itertools.count()
        self.type_of, self.replaced = type_of, replaced

    def new(self, variables):
        return tuple(next(self.count) for _ in variables)

    def known(self, atom, keys):
        """The key of a variable, or of a number that stands in the program."""
        if not isinstance(atom, Literal):
            return keys[atom] if atom in keys else keys.setdefault(atom, *self.new([atom]))
        (key,) = self.new([atom])
        value = float(atom.val) if np.ndim(atom.val) == 0 and np.isrealobj(atom.val) else None
        self.nodes.append(Node(None, CONSTANT, (), (key,), value, value))
        return key

    def read(self, jaxpr, keys):
        """The keys of all that a program computes, for those of its inputs."""
        for equation in jaxpr.eqns:
            inputs = tuple(self.known(x, keys) for x in equation.invars)
            type = self.type_of(equation)
            if equation.primitive.name in INLINED and type not in self.replaced | WHOLE.keys():
                inner = equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"]
                within = self.read(inner.jaxpr, dict(zip(inner.jaxpr.invars, inputs)))
                outputs = [self.known(y, within) for y in inner.jaxpr.outvars]
            else:
                outputs = self.new(equation.outvars)
                if equation.primitive.name in LOOPS:
                    self.inside += _programs(equation)
                self.nodes.append(_node(equation, type, inputs, outputs))
            keys.update(zip(equation.outvars, outputs))
        return keys


def _node(equation, type, inputs, outputs):
    kind, length = WHOLE.get(type, KINDS.get(type, type)), None
    if type == "integer_pow" and equation.params["y"] % 2 == 0:
        kind = "Square"
    if kind in points.EQUALITY and not np.issubdtype(equation.invars[0].aval.dtype, np.floating):
        kind = type
    if kind in ("Max", "Min"):
        length = equation.invars[0].aval.size // max(1, equation.outvars[0].aval.size)
    options = tuple((key, _text(value)) for key, value in sorted(equation.params.items()))
    return Node(id(equation), kind, inputs, outputs, (type, *options), length=length)


def _programs(equation):
    parameters = [equation.params.get(name) for name in ("branches", "jaxpr", "body_jaxpr")]
    return [program.jaxpr for program in jax.tree.leaves(parameters) if program is not None]


def _text(value):
    """What tells a parameter from others; a program, only by itself."""
    return str(value) if isinstance(value, (int, float, str, tuple, np.dtype)) else id(value)

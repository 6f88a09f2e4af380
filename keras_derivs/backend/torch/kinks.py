"""Calls of PyTorch's functions as `keras_derivs.backend.kinks` reads them."""

import itertools

import torch

from keras_derivs.backend import curves, kinks, points
from keras_derivs.backend.kinks import CONSTANT, JOINED, SAME, SELECT, SHAPED, STOPPED, Node

KINDS = {
    "abs": "Abs", "absolute": "Abs", "add": "Add", "amax": "Max", "amin": "Min",
    "bitwise_and": "Logical", "bitwise_or": "Logical", "broadcast_to": SHAPED, "cat": JOINED,
    "clone": SAME, "concat": JOINED, "concatenate": JOINED, "contiguous": SAME, "cos": "Cos",
    "cosh": "Cosh", "detach": STOPPED, "div": "Div", "divide": "Div", "double": SAME, "elu": "Elu",
    "eq": "Equal", "expand": SHAPED, "expand_as": SHAPED, "float": SAME, "ge": "GreaterEqual",
    "greater": "Greater", "greater_equal": "GreaterEqual", "gt": "Greater", "invert": "Logical",
    "le": "LessEqual", "leaky_relu": "LeakyRelu", "less": "Less", "less_equal": "LessEqual",
    "logical_and": "Logical", "logical_not": "Logical", "logical_or": "Logical", "lt": "Less",
    "max": "Max", "max_pool1d": "MaxPool", "max_pool2d": "MaxPool", "max_pool3d": "MaxPool",
    "isinf": "Infinite", "isnan": "NotANumber", "ne": "NotEqual", "not_equal": "NotEqual",
    "maximum": "Maximum", "min": "Min", "minimum": "Minimum", "mul": "Mul", "multiply": "Mul",
    "neg": "Neg", "negative": "Neg", "no_grad": STOPPED, "radd": "Add", "relu": "Relu",
    "relu6": "Relu6", "reshape": SHAPED, "rmul": "Mul", "rsub": "Sub", "selu": "Selu",
    "sort": "TopK", "square": "Square", "squeeze": SHAPED, "stack": JOINED, "sub": "Sub",
    "subtract": "Sub", "to": SAME, "topk": "TopK", "true_divide": "Div", "truediv": "Div",
    "type": SAME, "unsqueeze": SHAPED, "view": SHAPED, "where": SELECT,
}  # fmt: skip
SWAPPED = {"rsub"}
# of two numbers, either of which may be one of Python
BINARY = {"Add", "Div", "Mul", "Sub", *kinks.COMPARISONS, *points.EQUALITY}
RANDOM = ("bernoulli", "dropout", "multinomial", "rand")


def found(calls, results, between, starts):
    """What `kinks.cancelling`, `in_even_functions`, `curves` and `points` find, by positions."""
    reader = _Reader()
    starts = [reader.started(x) for x in starts]
    for number, call in enumerate(calls):
        reader.add(number, call)
    ends = {reader.key(y) for y in results}
    found = kinks.cancelling(reader.nodes, between)
    inner = max((n for n, call in enumerate(calls) if call.type == "grad"), default=0)
    # what a gradient is taken of is differentiated once more
    orders = {n: max(1, order - 1) if n < inner else order for n, order in found.items()}
    bent = set(range(len(calls))) - curves.straight(reader.nodes, starts, ends)
    chosen = points.selections(reader.nodes, starts)
    return orders, kinks.in_even_functions(reader.nodes, ends), bent, chosen


class _Reader:
    """Numbers the tensors of the calls, those that a call changed anew."""

    def __init__(self):
        self.nodes, self.keys, self.count = [], {}, itertools.count()

    def started(self, identity):
        return self.keys.setdefault(identity, next(self.count))

    def key(self, x):
        """What a tensor, or a number, is known by."""
        if isinstance(x, torch.Tensor) and id(x) in self.keys:
            return self.keys[id(x)]
        key, value = next(self.count), _value(x)
        self.nodes.append(Node(None, CONSTANT, (), (key,), value, value))
        if isinstance(x, torch.Tensor):
            self.keys[id(x)] = key
        return key

    def add(self, number, call):
        kind, given = _kind(call), [x for x in call.given if isinstance(x, torch.Tensor)]
        if kind in BINARY:
            given = call.given[:2]
        inputs = [self.key(x) for x in given]
        if call.type in SWAPPED:
            inputs.reverse()
        outputs = tuple(next(self.count) for _ in call.results)
        self.keys.update({id(y): key for y, key in zip(call.results, outputs)})
        others = str([x for x in call.given if not isinstance(x, torch.Tensor)])
        options = None if call.type.startswith(RANDOM) else (call.type, others)
        length = None
        if kind in ("Max", "Min"):
            length = given[0].numel() // max(1, call.results[0].numel())
        self.nodes.append(Node(number, kind, tuple(inputs), outputs, options, length=length))


def _kind(call):
    if call.type in ("eq", "ne", "not_equal") and not call.sources[0].is_floating_point():
        return call.type
    kind, tensors = KINDS.get(call.stops or call.type, call.type), len(call.sources)
    if kind in ("Max", "Min") and tensors == 2:
        return f"{kind}imum"
    if call.type == "pow" and isinstance(call.given[-1], int) and call.given[-1] % 2 == 0:
        return "Square"
    return call.type if kind in BINARY and len(call.given) != 2 else kind


def _value(x):
    """A number, or that of a tensor which is no weight."""
    if not isinstance(x, torch.Tensor):
        return float(x) if isinstance(x, (int, float)) else None
    fixed = x.numel() == 1 and not (x.requires_grad or isinstance(x, torch.nn.Parameter))
    if not fixed or x.dtype == torch.bool or x.is_complex():
        return None
    try:
        return float(x.detach())
    except RuntimeError:  # one of many that are computed at once
        return None

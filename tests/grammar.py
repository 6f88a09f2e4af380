"""Random graphs of layers and operations, from descriptions that can be drawn, shrunk and read.

Every tensor has the shape (batch, width); every operation is smooth and takes each row on its
own. The same steps build the symbolic graph and compute plain numbers, so that the truth about
a derivative comes from differences of values alone.
"""

import itertools
from dataclasses import dataclass

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers, ops
from models import points
from truth import numpy

BATCH, MAX_WIDTH = 5, 4


def _tensor(x):
    """Arrays as tensors of their dtype: PyTorch does not compute with arrays."""
    return ops.convert_to_tensor(x, x.dtype) if isinstance(x, np.ndarray) else x


@dataclass(frozen=True)
class Step:
    """An operation on earlier tensors, counted back from the latest (0)."""

    operation: str
    of: tuple
    size: int


@dataclass(frozen=True)
class Recipe:
    """A graph: the widths of its inputs, and its steps. The last tensor is the output."""

    widths: tuple
    steps: tuple


class Graph:
    """The layers of a recipe; `run` applies its steps to symbolic tensors or to numbers."""

    def __init__(self, recipe):
        keras.utils.set_random_seed(3)
        self.recipe, self.layers = recipe, {}
        self.inputs = [keras.Input((width,)) for width in recipe.widths]
        self.tensors = self.run(self.inputs)
        self.y = self.tensors[-1]
        self.values = [
            points((BATCH, width), "float64", n) for n, width in enumerate(recipe.widths)
        ]

    def run(self, inputs, replaced=()):
        """All tensors from the inputs on; `replaced` gives some of them other values."""
        replaced = {number: _tensor(x) for number, x in dict(replaced).items()}
        tensors = [replaced.get(number, _tensor(x)) for number, x in enumerate(inputs)]
        for number, step in enumerate(self.recipe.steps):
            operands = [tensors[place] for place in self.operands(number)]
            value = OPERATIONS[step.operation](self, number, step.size, *operands)
            tensors.append(replaced.get(len(tensors), value))
        return tensors

    def layer(self, key, make, *args, **kwargs):
        if key not in self.layers:
            self.layers[key] = make(*args, **kwargs)
        return self.layers[key]

    def operands(self, number):
        """The tensors that a step is computed from."""
        step, latest = self.recipe.steps[number], len(self.recipe.widths) + number - 1
        places = [latest - back % (latest + 1) for back in step.of]
        return places if step.operation in BINARY else places[:1]

    def ancestors(self, place=None):
        """The tensors that a tensor (the output, if none is given) is computed from."""
        first = len(self.recipe.widths)
        found, waiting = set(), [len(self.tensors) - 1 if place is None else place]
        while waiting:
            number = waiting.pop() - first
            used = set(self.operands(number)) - found if number >= 0 else set()
            waiting.extend(used)
            found |= used
        return sorted(found)

    def evaluate(self, outputs):
        """What symbolic tensors (nested) are at the graph's values, as arrays."""
        flat = keras.tree.flatten(outputs)
        found = keras.Model(self.inputs, flat)(self.values)
        found = [numpy(value) for value in (found if len(flat) > 1 else [found])]
        return keras.tree.pack_sequence_as(outputs, found)

    def function(self, of=-1):
        """A tensor as a function of the values of others: {number: array} to array."""

        def evaluate(replaced):
            times = len(next(iter(replaced.values()))) // BATCH
            inputs = [np.tile(value, (times, 1)) for value in self.values]
            return numpy(self.run(inputs, replaced)[of])

        return evaluate


@dataclass(frozen=True)
class Wrt:
    """A tensor to differentiate by, and the entries of a tensor of the graph that it stands for."""

    tensor: keras.KerasTensor
    place: int
    columns: tuple

    @property
    def entries(self):
        return [(self.place, column) for column in self.columns]


def choose_wrt(graph, number, part=None, of=None):
    """An ancestor of the output, or a slice `part` (start, length) of it that nothing uses."""
    ancestors = graph.ancestors(of)
    place = ancestors[number % len(ancestors)]
    tensor = graph.tensors[place]
    place, columns = _whole(graph, place, range(tensor.shape[1]))
    if part is not None:
        start = part[0] % len(columns)
        tensor = tensor[:, start : start + part[1]]
        columns = columns[start : start + part[1]]
    return Wrt(tensor, place, tuple(columns))


def _whole(graph, place, columns):
    """A slice stands for its part of the tensor that it was taken from."""
    number = place - len(graph.recipe.widths)
    if number < 0 or graph.recipe.steps[number].operation != "slice":
        return place, list(columns)
    (parent,) = graph.operands(number)
    start = _start(graph.tensors[parent].shape[1], graph.recipe.steps[number].size)
    return _whole(graph, parent, [start + column for column in columns])


# Sixth-order central differences, all shifts in one batch.
STENCIL = {1: 45 / 60, -1: -45 / 60, 2: -9 / 60, -2: 9 / 60, 3: 1 / 60, -3: -1 / 60}


def difference(graph, term, of=-1):
    """The partial derivative of a tensor by entries (place, column), from values alone."""
    base, step = graph.run(graph.values), 0.004 * len(term)
    if not term:
        return numpy(base[of])
    shifts = list(itertools.product(STENCIL.items(), repeat=len(term)))
    replaced = {}
    for place in {place for place, _ in term}:
        moved = np.tile(numpy(base[place])[None], (len(shifts), 1, 1))
        for n, (at, column) in enumerate(term):
            if at == place:
                offsets = np.array([shift[n][0] for shift in shifts])
                moved[:, :, column] += step * offsets[:, None]
        replaced[place] = moved.reshape(-1, moved.shape[-1])
    weights = np.array([np.prod([w for _, w in shift]) for shift in shifts])
    found = graph.function(of)(replaced).reshape(len(shifts), BATCH, -1)
    return np.einsum("s,sbi->bi", weights, found) / step ** len(term)


def matrix(graph, wrt, order=1, of=-1):
    """All derivatives of one order by the entries of a `Wrt`: (B, out, *[in] * order)."""
    terms = itertools.product(wrt.entries, repeat=order)
    found = np.stack([difference(graph, term, of) for term in terms], axis=-1)
    return found.reshape(*found.shape[:2], *[len(wrt.columns)] * order)


def _start(width, size):
    return size % (width - 1) if width > 1 else 0


def _slice(graph, key, size, a):
    """Some of the columns, all of one."""
    start = _start(a.shape[1], size)
    return a[:, start : start + max(1, a.shape[1] - 1)]


def _fit(a, b):
    """`b`, or its first column as often as `a` has columns.

    Not left to broadcasting: Keras takes a second summand of shape (n, 1) for a bias where the
    first one has n columns, and adds it along the wrong axis.
    """
    return b if a.shape[1] == b.shape[1] else ops.repeat(b[:, :1], a.shape[1], axis=1)


def _dense(activation):
    def dense(graph, key, size, a):
        return graph.layer(key, layers.Dense, size, activation, bias_initializer="random_normal")(a)

    return dense


def _shared(graph, key, size, a):
    """One layer for all tensors of a width."""
    width = a.shape[1]
    return graph.layer(f"shared {width}", layers.Dense, width, "tanh")(a)


def _nested(graph, key, size, a):
    inner = [layers.Dense(3, "tanh"), layers.Dense(size)]
    return graph.layer(key, keras.Sequential, inner)(a)


def _normalised(graph, key, size, a):
    layer = graph.layer(key, layers.LayerNormalization, epsilon=0.1)
    return layer(ops.concatenate([a, a * a], axis=1)[:, :MAX_WIDTH])


def _attention(graph, key, size, a):
    layer = graph.layer(key, layers.MultiHeadAttention, 1, 2)
    tokens = ops.expand_dims(a, 2)
    return ops.squeeze(layer(tokens, tokens), axis=2)


def _convolution(graph, key, size, a):
    layer = graph.layer(key, layers.Conv1D, 2, 2, padding="same", activation="tanh")
    return ops.mean(layer(ops.expand_dims(a, 2)), axis=2)


def _outer(graph, key, size, a, b):
    products = ops.expand_dims(a, 2) * ops.expand_dims(b, 1)
    return ops.sum(products, axis=1) if size > 1 else ops.logsumexp(products, axis=2)


BINARY = {
    "add": lambda graph, key, size, a, b: a + _fit(a, b),
    "subtract": lambda graph, key, size, a, b: a - _fit(a, b),
    "multiply": lambda graph, key, size, a, b: a * _fit(a, b),
    "divide": lambda graph, key, size, a, b: a / (2 + _fit(a, b) ** 2),
    "concatenate": lambda graph, key, size, a, b: ops.concatenate([a, b], 1)[:, :MAX_WIDTH],
    "outer": _outer,
}
OPERATIONS = {
    "slice": _slice,
    "tanh": _dense("tanh"),
    "sigmoid": _dense("sigmoid"),
    "softplus": _dense("softplus"),
    "linear": _dense(None),
    "shared": _shared,
    "nested": _nested,
    "normalised": _normalised,
    "attention": _attention,
    "convolution": _convolution,
    "sine": lambda graph, key, size, a: ops.sin(size * a),
    "power": lambda graph, key, size, a: a**size,
    "root": lambda graph, key, size, a: ops.sqrt(1 + a * a),
    "logarithm": lambda graph, key, size, a: ops.log(2 + a * a),
    "softmax": lambda graph, key, size, a: ops.softmax(ops.concatenate([size * a, a], 1), 1),
    "flip": lambda graph, key, size, a: ops.exp(-(ops.flip(a, axis=1) ** 2)),
    "norm": lambda graph, key, size, a: ops.sqrt(1 + ops.sum(a * a, axis=1, keepdims=True)),
    **BINARY,
}
if keras.backend.backend() == "jax":  # which computes the weights of attention in float32
    del OPERATIONS["attention"]


def recipes(widths=None, max_inputs=2, max_steps=5, operations=None):
    pairs = st.tuples(st.integers(0, 4), st.integers(0, 4))
    names = st.sampled_from(list(operations or OPERATIONS))
    step = st.builds(Step, names, pairs, st.integers(1, 3))
    widths = (
        st.lists(st.integers(1, 3), min_size=1, max_size=max_inputs) if widths is None else widths
    )
    steps = st.lists(step, min_size=1, max_size=max_steps)
    return st.builds(Recipe, widths.map(tuple), steps.map(tuple))


numbers = st.integers(0, 5)
parts = st.none() | st.tuples(st.integers(0, 2), st.integers(1, 2))

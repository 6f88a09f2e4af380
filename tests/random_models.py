"""Models with derivatives in them, drawn at random: of each other, with arithmetic in between.

`draw(seed)` returns a `keras.Model` and values for its inputs; all tensors are smooth functions
of the inputs, row by row, and stay of order one.
"""

import keras
import numpy as np
from keras import layers, ops
from models import points

import keras_derivs as kd

MAX_ENTRIES, MAX_ORDER = 9, 4


class Drawing:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        keras.utils.set_random_seed(seed)
        widths = self.choose([(1,), (2,), (3,), (1, 1), (1, 2), (2, 1)])
        self.inputs = [keras.Input((width,), dtype="float64") for width in widths]
        self.pool = {id(y): (y, 0) for y in self.fields()}  # with their orders
        for _ in range(self.number(6, 12)):
            self.step()
        order = [tensor for tensor, _ in self.pool.values()]
        chosen = self.random.permutation(len(order))[: self.number(2, 6)]
        self.outputs = [order[n] for n in sorted({*chosen.tolist(), len(order) - 1})]

    def choose(self, options):
        return options[int(self.random.integers(len(options)))]

    def number(self, least, most):
        return int(self.random.integers(least, most + 1))

    def fields(self):
        """What is differentiated at first: a network, its columns, a product."""
        x = self.inputs[0] if len(self.inputs) == 1 else ops.concatenate(self.inputs, axis=1)
        width = self.number(1, 3)
        y = layers.Dense(width)(layers.Dense(4, self.choose(["tanh", "silu", "sigmoid"]))(x))
        columns = [y[:, n : n + 1] for n in range(width)] if width > 1 else []
        other = ops.sin(layers.Dense(1)(x)) * y[:, :1]
        return [y, *columns, other][: self.number(1, 4)]

    def step(self):
        before = self.pool.values()
        kind = self.choose([self.derivative] * 4 + [self.linear] * 2 + [self.nonlinear])
        y, order = self.choose(list(before)[-5:] + list(before)[:2])
        try:
            found, more = kind(y)
        except ValueError as error:
            if not any(words in str(error) for words in ("no path", "no gradient reaches")):
                raise
            return
        for tensor in keras.tree.flatten(found):
            entries = int(np.prod(tensor.shape[1:]))
            if entries <= MAX_ENTRIES and order + more <= MAX_ORDER:
                flat = tensor if self.number(0, 1) else ops.reshape(tensor, (-1, entries))
                self.pool[id(flat)] = flat, order + more

    # derivatives

    def wrt(self):
        x = self.choose(self.inputs)
        column = self.number(0, x.shape[1] - 1)
        return self.choose([x, x, x[:, column : column + 1], x[:, column], x[:, column:]])

    def coordinate(self):
        x = self.choose(self.inputs)
        column = self.number(0, x.shape[1] - 1)
        return x[:, column : column + 1]

    def entry(self, y):
        return tuple(self.number(0, n - 1) for n in y.shape[1:])

    def derivative(self, y):
        kind = self.choose(
            [self.gradient] * 3 + [self.diff] * 3
            + [self.partials, self.jacobian, self.hessian, self.diagonal, self.laplacian, self.field]
        )  # fmt: skip
        return kind(y)

    def gradient(self, y):
        x = self.choose([self.wrt(), self.wrt(), list(self.inputs)])
        return kd.gradient(
            y, x, component=self.entry(y), return_value=self.choose([False] * 4 + [True])
        ), 1

    def diff(self, y):
        along = [self.coordinate() for _ in range(self.number(1, 2))]
        return kd.diff(y, *along), len(along)

    def partials(self, y):
        a, b = self.coordinate(), self.coordinate()
        return kd.partials(y, *self.choose([[(a,), (b, b)], [(), (a, b)], [(a, a), (b,)]])), 2

    def jacobian(self, y):
        x, outputs = self.wrt(), self.entry(y)  # of a number: ()
        if self.number(0, 1):
            return kd.jacobian(y, x), 1
        inputs = slice(0, 1) if len(x.shape) > 1 else None
        return kd.sub_jacobian(y, x, outputs=outputs or None, inputs=inputs), 1

    def hessian(self, y):
        component = self.entry(y) if self.number(0, 1) else None
        return kd.hessian(y, self.choose([self.wrt(), list(self.inputs)]), component=component), 2

    def diagonal(self, y):
        return kd.hessian_diagonal(y, self.wrt(), component=self.choose([None, self.entry(y)])), 2

    def laplacian(self, y):
        x = self.choose(self.inputs)
        weights = self.choose([None, self.random.normal(size=x.shape[1]).round(1) + 0.05])
        return kd.laplacian(y, x, coefficients=weights), 2

    def field(self, y):
        """Divergence or curl of as many entries as the inputs have."""
        count = sum(x.shape[1] for x in self.inputs)
        if len(y.shape) != 2 or y.shape[1] != count:
            return self.gradient(y)
        return (kd.curl if count > 1 and self.number(0, 1) else kd.divergence)(y, self.inputs), 1

    # arithmetic

    def beside(self, y):
        """A tensor of the shape of `y`, and its order."""
        same = [other for other, _ in self.pool.values() if other.shape == y.shape]
        return self.choose(same)

    def linear(self, y):
        factor = float(self.choose([2.0, -3.0, 0.5, 1 / 3]))
        axes = tuple(range(1, len(y.shape)))
        found = self.choose(
            [
                lambda: -y,
                lambda: factor * y,
                lambda: y / factor,
                lambda: y + self.beside(y),
                lambda: y - self.beside(y),
                lambda: 2 * y + factor * self.beside(y),
                lambda: ops.sum(y, axis=axes[-1], keepdims=True) if axes else y + y,
                lambda: ops.flip(y, axis=axes[-1]) if axes else -y,
                lambda: ops.concatenate([y, self.beside(y)], axis=axes[-1]) if axes else y * 2,
                lambda: ops.stack([y, self.beside(y)], axis=-1),
                lambda: layers.Subtract()([y, self.beside(y)]),
                lambda: y[..., ::2] if axes else y,
                lambda: y * self.random.normal(size=(1, *y.shape[1:])).round(2),
                lambda: ops.reshape(y, (-1, *y.shape[1:][::-1])),
                lambda: y + 1.0,
            ]
        )()
        return found, 0

    def nonlinear(self, y):
        return self.choose(
            [lambda: y * self.beside(y), lambda: ops.tanh(y), lambda: ops.sin(y) * self.beside(y)]
        )(), 0


def draw(seed):
    drawn = Drawing(seed)
    model = keras.Model(drawn.inputs, drawn.outputs)
    return model, [points((3, x.shape[1]), "float64", seed) for x in drawn.inputs]

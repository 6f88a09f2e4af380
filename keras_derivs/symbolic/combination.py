"""Tensors of a graph as linear combinations of partial derivatives of one tensor.

`gradient(u, x)[:, 1:]`, `-diff(psi, x)` and `2 * u_x + 3 * u_y` are such combinations, with
coefficients that are constants. What is differentiated further is then a derivative of the
tensor that was there first.
"""

import itertools
import math
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops

from keras_derivs.engine import layout
from keras_derivs.engine.target import Target
from keras_derivs.graph import slices
from keras_derivs.graph.nodes import depends, operation_name, producer, variables
from keras_derivs.symbolic.between import Between

MAX_NUMBERS = 2**24  # of a matrix of coefficients: larger derivatives stay as they are
# Operations of Keras that may be linear; each is tried on numbers before it is believed.
LINEAR = slices.SLICES | slices.REARRANGES | slices.JOINS | {
    "Add", "Subtract", "Negative", "Multiply", "Divide", "TrueDivide", "Average", "Sum", "Mean",
    "Matmul", "Dot", "Tensordot", "Einsum", "Repeat", "Tile", "Trace", "Cumsum", "Diff",
}  # fmt: skip
KINDS = {
    "Gradient", "Jacobian", "SubJacobian", "Hessian", "HessianDiagonal", "Laplacian",
    "Divergence", "Curl", "Partials",
}  # fmt: skip
OPTIONS = {
    "component", "outputs", "inputs", "coefficients", "directions", "num_samples", "seed",
    "sampling", "terms", "strategy", "chunk_size", "return_value", "training", "audit", "name",
}  # fmt: skip


@dataclass(frozen=True)
class Combination:
    """One sample of a tensor: `sum_n matrix[n] * d^term base[row]` for `basis[n] = (row, term)`.

    A term is a sorted tuple of entries (id of a root, flat index); the matrix has the shape
    (basis, *shape of the tensor). `roots` are the tensors that terms may mention. Where it is
    `shifted`, a constant is added, which derivatives do not see.
    """

    base: keras.KerasTensor
    roots: list
    basis: tuple
    matrix: np.ndarray
    shifted: bool = False

    @property
    def terms(self):
        return list(dict.fromkeys(term for _, term in self.basis))

    def over(self, basis):
        """The matrix for a larger basis."""
        place = {element: n for n, element in enumerate(basis)}
        matrix = np.zeros((len(basis), *self.matrix.shape[1:]))
        matrix[[place[element] for element in self.basis]] = self.matrix
        return matrix

    def without_zeros(self):
        used = np.any(self.matrix, axis=tuple(range(1, self.matrix.ndim)))
        basis = tuple(itertools.compress(self.basis, used))
        return replace(self, basis=basis, matrix=self.matrix[used])

    def sums(self, place):
        """For each entry a list of [place of the term, row of the base, coefficient]."""
        coefficients = self.matrix.reshape(len(self.basis), -1).T.tolist()
        return [
            [[place[term], row, weight] for (row, term), weight in zip(self.basis, one) if weight]
            for one in coefficients
        ]

    def derivative(self, term):
        """What the combination is after it was differentiated by `term`."""
        basis = tuple((row, tuple(sorted(before + term))) for row, before in self.basis)
        return replace(self, basis=basis)


def settings(layer):
    """What two derivatives need to have in common to share a pass."""
    return layer.strategy, layer.chunk_size, layer.training, layer.audit


def roots_of(node):
    """The tensors that a derivative is taken with respect to."""
    layer = node.operation.derivative
    return [layer.model.inputs[position] for position in layer.plan.wrt]


def itself(tensor):
    """A tensor as the one thing that its combination is made of; `None` where it is too large."""
    shape = tuple(tensor.shape[1:])
    if None in shape or math.prod(shape) ** 2 > MAX_NUMBERS:
        return None
    size = math.prod(shape)
    matrix = np.eye(size).reshape(size, *shape)
    return Combination(tensor, [], tuple((row, ()) for row in range(size)), matrix)


class Expressions:
    """Tensors of one graph as combinations of what they are computed from linearly."""

    def __init__(self):
        self._found = {}

    def find(self, tensor, roots, needed):
        """A tensor in derivatives, by `roots` among others, of an earlier one, or of itself.

        `needed` are the settings of its derivatives; `None` if it is too large.
        """
        key = id(tensor), frozenset(map(id, roots)), needed
        if key not in self._found:
            found = self._earlier(tensor, roots, needed)
            lead = found is not None and found.basis and leads(roots, found.base)
            self._found[key] = found if lead else itself(tensor)
        return self._found[key]

    def of_derivative(self, node, roots=()):
        """The combination of each result of a derivative in the graph; `None` if it has none."""
        layer, roots = node.operation.derivative, unique([*roots_of(node), *roots])
        if not independent(roots):
            return None
        return differentiate(node, self.find(node.input_tensors[0], roots, settings(layer)), roots)

    def _earlier(self, tensor, roots, needed):
        node = producer(tensor)
        if node is None:
            return None
        place = [output is tensor for output in node.outputs].index(True)
        if isinstance(node.operation, Between):
            same = settings(node.operation.derivative) == needed
            found = self.of_derivative(node, roots) if same else None
            return found and found[place]
        if operation_name(node) not in LINEAR or variables(node):
            return None
        return _of_operation(node, place, [self.find(x, roots, needed) for x in node.input_tensors])


def leads(roots, base):
    """Whether the roots are where a cut of `base` would begin, were they asked for."""
    return all(
        root is not base and depends(base, root) and slices.source(root, base)[0] is root
        for root in roots
    )


def independent(roots):
    return not any(depends(a, b) for a, b in itertools.permutations(roots, 2))


def unique(tensors):
    return list({id(tensor): tensor for tensor in tensors}.values())


def differentiate(node, inner, roots):
    """The combinations of a derivative's results, from that of what it differentiates."""
    terms = _terms(node)
    too_many = terms is not None and len(terms) ** 2 > MAX_NUMBERS
    if terms is None or too_many or inner is None or not leads(roots, inner.base):
        return None
    return _results(node.operation.derivative, terms, roots_of(node), inner)


def _terms(node):
    """The partial derivatives that a derivative is made of; `None` if it is no list of those."""
    between, plan = node.operation, node.operation.derivative.plan
    known = between.kind in KINDS and set(between.options) <= OPTIONS
    if not known or isinstance(between.options.get("component"), str):
        return None
    return layout.terms(plan.request, plan.xs)


def _results(layer, terms, own, inner):
    """The results of a derivative of `inner`: the layer arranges matrices as it does values."""

    def differentiated(term):
        return inner.derivative(tuple((id(own[k]), index) for k, index in term))

    if inner.shifted and (layer.return_value or () in terms):
        return None
    parts = [differentiated(term) for term in ([()] if layer.return_value else []) + list(terms)]
    basis = tuple(dict.fromkeys(element for part in parts for element in part.basis))
    if len(basis) * math.prod(inner.matrix.shape[1:]) * len(parts) > 4 * MAX_NUMBERS:
        return None

    def find(term):
        return ops.convert_to_tensor(differentiated(term).over(basis))

    plan, value = layer.plan, np.zeros((len(basis), *inner.matrix.shape[1:]))
    target = Target(layer.model, None, dict(zip(plan.wrt, plan.xs)), plan.wrt)
    values = find(()) if layer.return_value else ops.convert_to_tensor(value)
    found = layer.arrange(plan, target, values, layout.assemble(plan.request, plan.xs, find))
    matrices = [ops.convert_to_numpy(result) for result in keras.tree.flatten(found)]
    roots = unique([*inner.roots, *own])
    return [Combination(inner.base, roots, basis, each).without_zeros() for each in matrices]


def _of_operation(node, place, parts):
    """What an operation makes of combinations of derivatives of one tensor, or `None`.

    It must be linear, but for a constant.
    """
    if any(part is None or part.base is not parts[0].base for part in parts):
        return None
    basis = tuple(dict.fromkeys(element for part in parts for element in part.basis))
    found, shifted = _affine(node, place, [part.over(basis) for part in parts])
    if found is None or found.size > MAX_NUMBERS:
        return None
    roots = unique(root for part in parts for root in part.roots)
    shifted = shifted or any(part.shifted for part in parts)
    found = Combination(parts[0].base, roots, basis, found.astype("float64"), shifted)
    return found.without_zeros()


def _affine(node, place, matrices):
    """(what an operation makes of matrices, apart from a constant; whether there is one).

    `(None, False)` if it is not linear but for a constant, or cannot be tried.
    """
    mix = np.random.default_rng(0).normal(size=(5, len(matrices[0])))
    nothing, mixtures = zip(*((0 * each[:1], np.tensordot(mix, each, 1)) for each in matrices))
    trials = nothing, matrices, mixtures
    try:
        constant, found, mixed = (_apply(node, place, trial) for trial in trials)
    except Exception:  # an operation that cannot run on a trial is left as it is
        return None, False
    whole = len(found) == len(matrices[0]) and len(mixed) == 5 and len(constant) == 1
    if not whole or not all(np.all(np.isfinite(each)) for each in (constant, found, mixed)):
        return None, False
    found, mixed = found - constant, mixed - constant
    expected = np.tensordot(mix, found, 1)
    scale = max(np.max(np.abs(part), initial=1e-30) for part in (expected, constant))
    linear = np.allclose(mixed, expected, rtol=0, atol=1e-5 * scale)
    return (found, bool(np.any(constant))) if linear else (None, False)


def _apply(node, place, matrices):
    """The result of an operation, with the basis in the batch axis."""
    values = zip(map(id, node.input_tensors), matrices)
    values = {tensor: ops.convert_to_tensor(matrix, "float64") for tensor, matrix in values}
    args, kwargs = node.arguments.fill_in(values)
    outputs = keras.tree.flatten(node.operation(*args, **kwargs))
    return ops.convert_to_numpy(outputs[place])

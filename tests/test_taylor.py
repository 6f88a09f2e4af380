"""Every Taylor rule to order 4, alone, against interpolation of the plain function."""

import math

import numpy as np
import pytest
import taylor_rows
import truth
from keras import ops

from keras_derivs.backend import constant
from keras_derivs.engine.taylor import propagate
from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.engine.taylor.rules import RULES
from keras_derivs.engine.taylor.shapes import spread
from keras_derivs.engine.taylor.space import Space
from keras_derivs.engine.terms import Sum

# by order, relative to the largest derivative: the truth is interpolated in float64
TOLERANCES = {0: 1e-12, 1: 1e-11, 2: 1e-10, 3: 1e-8, 4: 1e-7}
BATCH = 3


pytestmark = pytest.mark.usefixtures("all_float64", "double")


def point(shape, domain, seed=0):
    """A point away from the kinks of the rows, and two directions that all samples share."""
    random = np.random.default_rng(seed)
    x = random.uniform(*domain, (BATCH, *shape))
    if domain == taylor_rows.ANY:
        size = np.resize([0.85, 1.15, 1.38, 1.8], x[0].size)
        x = np.stack([random.permutation(size) for _ in x]).reshape(x.shape)
        x = x * random.choice([-1.0, 1.0], x.shape)
    return x, [random.uniform(-1, 1, (1, *shape)) for _ in range(2)]


def derivatives(function, x, v, orders=4):
    return truth.along(lambda z: function(ops.convert_to_tensor(z)), x, v, orders)


def along(function, x, moves, space):
    """The polynomial of f where x moves by `moves`, complete and in numpy."""
    moves = {term: ops.convert_to_tensor(move) for term, move in moves.items()}
    y = propagate.call(function, Polynomial(space, {(): ops.convert_to_tensor(x), **moves}))
    if not isinstance(y, Polynomial):
        y = Polynomial(space, {(): y})
    return {term: truth.numpy(c) for term, c in spread(y).table.items()}


def close(found, expected, order):
    found = np.zeros_like(expected) if found is None else found
    assert found.shape == expected.shape
    scale = max(1.0, np.max(np.abs(expected)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCES[order] * scale)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", taylor_rows.ROWS)
def test_rule(name, order, shared):
    shape, domain, make = taylor_rows.ROWS[name]
    function, (x, (v, _)) = make(), point(shape, domain)
    function(ops.convert_to_tensor(x))
    space = Space([(0,) * order])
    found = along(function, x, {(0,): v if shared else np.repeat(v, BATCH, 0)}, space)
    plain = taylor_rows.PLAIN.get(name, lambda function: function)(function)
    for n, expected in enumerate(derivatives(plain, x, v, order)):
        term = (0,) * n
        close(found.get(term), expected / math.factorial(n), n)


@pytest.mark.parametrize("name", taylor_rows.ROWS)
def test_directions(name):
    """Directions in an axis of their own, collapsed or not, agree with one direction each."""
    shape, domain, make = taylor_rows.ROWS[name]
    function, (x, directions) = make(), point(shape, domain)
    function(ops.convert_to_tensor(x))
    highest = (0, 0, 0)
    single = [along(function, x, {(0,): v}, Space([highest])) for v in directions]
    moves, zero = {(0,): np.stack(directions)}, np.zeros(single[0][()].shape)
    stacked = along(function, x, moves, Space([highest], directions=2))
    for term in [(0,), (0, 0), highest]:
        expected = np.stack([found.get(term, zero) for found in single])
        close(stacked.get(term), expected, 2)
    weights = (2.0, -1.0)
    whole = Sum((highest,), (weights,))
    summed = along(function, x, moves, Space(sums=[whole], directions=2))
    expected = sum(w * found.get(highest, zero) for w, found in zip(weights, single))
    close(summed.get(whole), expected, 2)


SOME = [
    pytest.param(name, marks=[pytest.mark.slow] * (number % 12 > 0))
    for number, name in enumerate(taylor_rows.ROWS)
]


@pytest.mark.parametrize("name", SOME)
def test_sums(name):
    """A sum of derivatives carried as one coefficient, of order 3 and 4, is that of the single."""
    shape, domain, make = taylor_rows.ROWS[name]
    function, (x, directions) = make(), point(shape, domain)
    function(ops.convert_to_tensor(x))
    terms, weights = ((0, 0, 0, 1), (0, 0, 1, 1), (0, 1, 1)), (1.0, -3.0, 0.5)
    moves, whole = {(n,): v for n, v in enumerate(directions)}, Sum(terms, weights)
    single = along(function, x, moves, Space(terms))
    parts = [w * single[term] for term, w in zip(terms, weights) if term in single]
    summed = along(function, x, moves, Space([(0, 1, 1)], sums=[whole]))
    close(summed.get(whole), sum(parts, start=np.zeros(single[()].shape)), 2)


def test_every_rule_has_a_row(monkeypatch):
    seen, find = set(), propagate.find
    monkeypatch.setattr(propagate, "find", lambda op: seen.add(type(op)) or find(op))
    for shape, domain, make in taylor_rows.ROWS.values():
        function, (x, (v, _)) = make(), point(shape, domain)
        function(ops.convert_to_tensor(x))
        along(function, x, {(0,): v}, Space([(0,)]))
    ours = {cls for cls in RULES if cls.__module__.startswith("keras.")}
    assert {cls.__name__ for cls in ours - seen - taylor_rows.NOT_RULES} == set()


def falling(a, n):
    return math.prod(a - k for k in range(n))


CLOSED = {
    "exp": (ops.exp, lambda x, n: np.exp(x)),
    "sin": (ops.sin, lambda x, n: np.sin(x + n * np.pi / 2)),
    "cos": (ops.cos, lambda x, n: np.cos(x + n * np.pi / 2)),
    "sinh": (ops.sinh, lambda x, n: np.cosh(x) if n % 2 else np.sinh(x)),
    "log": (ops.log, lambda x, n: (-1) ** (n - 1) * math.factorial(n - 1) / x**n),
    "reciprocal": (ops.reciprocal, lambda x, n: (-1) ** n * math.factorial(n) / x ** (n + 1)),
    "sqrt": (ops.sqrt, lambda x, n: falling(0.5, n) * x ** (0.5 - n)),
    "rsqrt": (ops.rsqrt, lambda x, n: falling(-0.5, n) * x ** (-0.5 - n)),
    "x^2.7": (lambda x: x**2.7, lambda x, n: falling(2.7, n) * x ** (2.7 - n)),
    "x^5": (lambda x: x**5, lambda x, n: falling(5, n) * x ** (5.0 - n)),
    "x^-3": (lambda x: x**-3.0, lambda x, n: falling(-3, n) * x ** (-3.0 - n)),
    "tanh": (ops.tanh, lambda x, n: polynomial_derivative([0, 1], [1, 0, -1], np.tanh(x), n)),
    "sigmoid": (
        ops.sigmoid,
        lambda x, n: polynomial_derivative([0, 1], [0, 1, -1], 1 / (1 + np.exp(-x)), n),
    ),
    "softsign": (ops.softsign, lambda x, n: -math.factorial(n) * (-1) ** n / (1 + x) ** (n + 1)),
}


def polynomial_derivative(p, slope, y, n):
    """d^n/dx^n of p(y(x)) where y' = slope(y): differentiate p n times along the solution."""
    for _ in range(n):
        p = np.polynomial.polynomial.polymul(np.polynomial.polynomial.polyder(p), slope)
    return np.polynomial.polynomial.polyval(y, p)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form(name):
    function, derivative = CLOSED[name]
    x = np.linspace(0.2, 2.5, 7)[:, None]
    for order, tolerance in [(2, 1e-12), (4, 1e-9), (6, 1e-9)]:
        found = along(function, x, {(0,): np.ones((1, 1))}, Space([(0,) * order]))
        for n in range(1, order + 1):
            expected = derivative(x, n)
            result = found.get((0,) * n, 0 * x) * math.factorial(n)
            np.testing.assert_allclose(result, expected, rtol=tolerance, atol=1e-12)


def test_integer_power_at_zero():
    x = np.zeros((2, 1))
    found = along(lambda x: x**2, x, {(0,): np.ones((1, 1))}, Space([(0,) * 4]))
    assert set(found) <= {(), (0,), (0, 0)}
    assert found[0, 0].tolist() == [[1.0], [1.0]]
    assert found[(0,)].tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("approximate", [True, False])
def test_gelu(approximate):
    x, v = np.linspace(-2, 2, 7)[:, None], np.ones((1, 1))
    space = Space([(0,) * 4])

    def formula(x):
        if approximate:
            inner = ops.tanh(math.sqrt(2 / math.pi) * (x + constant(0.044715) * x * x * x))
            return x * (1.0 + inner) * 0.5
        return x * (1.0 + ops.erf(x * constant(math.sqrt(0.5)))) * 0.5

    found = along(lambda x: ops.gelu(x, approximate=approximate), x, {(0,): v}, space)
    for n, expected in enumerate(derivatives(formula, x, v)):
        close(found[(0,) * n] * math.factorial(n), expected, n)


def test_stop_gradient_is_constant():
    x = np.ones((2, 1))
    found = along(lambda x: x * ops.stop_gradient(x), x, {(0,): x}, Space([(0, 0)]))
    assert set(found) == {(), (0,)}
    assert found[(0,)].tolist() == [[1.0], [1.0]]

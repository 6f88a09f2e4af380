"""What each strategy costs: passes through the model, as a number and in words.

One pass is one run through the model's products, forward or backward; a polynomial costs one for
each of its coefficients. `rows` and `columns` count the selected outputs and inputs; where a
shape leaves their number open they are `None`, and the number of passes is the least possible.
"""

import math

from keras_derivs.engine.taylor.carried import carried
from keras_derivs.engine.terms import differentiation_plan, single_terms

MAX_COEFFICIENTS = 64  # of a Hessian: more of these operations would compile for minutes


def reverse_jacobian(request, rows, columns):
    return 1 + _least(rows), f"1 forward and {_times(rows)} backward passes"


def forward_jacobian(request, rows, columns):
    words = f"1 forward, 1 backward and {_times(columns)} tangent passes"
    return 2 + _least(columns), words


def reverse_hessian(request, rows, columns):
    second = None if rows is None or columns is None else rows * columns
    words = f"1 forward, {_times(rows)} backward and {_times(second)} second backward passes"
    return _least(rows) * (2 + 2 * _least(columns)), words


def reverse_laplacian(request, rows, columns):
    return reverse_hessian(request, rows, _directions(request, columns))


def reverse_partials(request, rows, columns):
    """A backward pass through what `order` tapes recorded is 2^order passes through the model."""
    _, sources = differentiation_plan(single_terms(request.terms))
    counts = [len(work) for work in sources]
    number = 1 + _least(rows) * sum(count * 2**order for order, count in enumerate(counts))
    outputs = "each output" if rows in (None, math.inf) else f"{rows} output{'s' * (rows != 1)}"
    return number, f"1 forward pass and, by order, {counts} backward passes for {outputs}"


def forward_jvp(request, rows, columns):
    return 3, "1 forward, 1 backward and 1 tangent pass"


def forward_partials(request, rows, columns):
    """A tangent pass is a gradient of a gradient: of tangents, three times as much each."""
    terms = single_terms(request.terms)
    number = sum(3 ** len(term) for term in terms)
    return number, f"{number} passes, tangents of tangents for each of {len(terms)} terms"


def forward_terms(request, rows, columns):
    count = _least(columns) * (_least(columns) + 1) // 2 if request.kind == "hessian" else columns
    number = 9 * _least(count)
    return number, f"{number} passes, tangents of tangents for each pair of entries"


def reverse_vjp(request, rows, columns):
    return 2, "1 forward and 1 backward pass"


def reverse_hvp(request, rows, columns):
    return 4, "1 forward, 1 backward and 1 second backward pass"


def reverse_projections(request, rows, columns):
    return reverse_jacobian(request, request.num_samples, columns)


def taylor_projections(request, rows, columns):
    return _polynomial(_none_or(columns, lambda _: 1 + request.num_samples))


def taylor_jvp(request, rows, columns):
    return _polynomial(2)


def taylor_jacobian(request, rows, columns):
    return _polynomial(_none_or(columns, lambda d: 1 + d))


def taylor_hessian(request, rows, columns):
    """Its coefficients share no axis: each is an operation of its own."""
    number, words = _polynomial(_none_or(columns, lambda d: 1 + d + d * (d + 1) // 2))
    return number if number <= MAX_COEFFICIENTS else math.inf, words


def taylor_hessian_diagonal(request, rows, columns):
    return _polynomial(_none_or(columns, lambda d: 1 + 2 * d))


def taylor_laplacian(request, rows, columns):
    return _polynomial(_none_or(_directions(request, columns), lambda d: 2 + d))


def taylor_partials(request, rows, columns):
    return _polynomial(len(carried(request.terms).space.terms))


def _polynomial(coefficients):
    number = math.inf if coefficients is None else coefficients
    return number, f"1 forward pass on polynomials of {_times(coefficients)} coefficients"


def _directions(request, columns):
    return columns if request.directions is None else request.directions.shape[0]


def _none_or(number, function):
    return None if number is None else function(number)


def _least(number):
    return 1 if number is None else number


def _times(number):
    return "as many as there are" if number in (None, math.inf) else number

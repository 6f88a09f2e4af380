"""The strategies, and which of them `strategy="auto"` takes."""

from dataclasses import dataclass

from keras_derivs.engine import tape
from keras_derivs.engine.taylor import strategies as taylor
from keras_derivs.engine.terms import differentiation_plan
from keras_derivs.selection import size

# kind of derivative -> strategy -> function (target, request) -> (y, results)
STRATEGIES = {
    "jacobian": {
        "reverse": tape.jacobian_by_rows,
        "forward": tape.jacobian_by_columns,
        "taylor": taylor.jacobian,
    },
    "hessian": {"reverse": tape.hessian, "taylor": taylor.hessian},
    "hessian_diagonal": {"reverse": tape.hessian_diagonal, "taylor": taylor.hessian_diagonal},
    "laplacian": {"reverse": tape.laplacian, "taylor": taylor.laplacian},
    "partials": {"reverse": tape.partials, "taylor": taylor.partials},
    "jvp": {"forward": tape.jvp, "taylor": taylor.jvp},
    "vjp": {"reverse": tape.vjp},
    "hvp": {"reverse": tape.hvp},
}
TAPE = ("reverse", "forward")
NAMES = ("auto", "tape", *TAPE, "taylor")


@dataclass(frozen=True)
class Choice:
    """A strategy, the passes through the model that it costs, and why it was taken."""

    strategy: str
    passes: str
    reason: str

    def __str__(self):
        engine = "on the tape" if self.strategy in TAPE else "on polynomials"
        return f"strategy '{self.strategy}' {engine}: {self.reason}; {self.passes}"


def choose(strategy, request, y, xs):
    """The `Choice` for a request; `y` and `xs` are the shapes it meets."""
    possible = STRATEGIES[request.kind]
    allowed = TAPE if strategy in ("auto", "tape") else (strategy,)
    names = [name for name in allowed if name in possible]
    if not names:
        raise ValueError(
            f"`strategy=` needs one of {('auto', 'tape', *possible)} for this derivative. "
            f"Received: {strategy!r}. Use 'auto' to let the package choose."
        )
    rows = _number([(y, request.rows)])
    columns = _number([(xs[k], indices) for k, indices in request.columns])
    if names == ["taylor"]:
        return Choice("taylor", "1 forward pass on polynomials", "asked for")
    if request.kind == "jacobian":
        return _choose_jacobian(names, rows, columns)
    return Choice(names[0], *_cost(request, rows, columns))


def solve(choice, target, request):
    """The value and the derivatives: (y, results)."""
    return STRATEGIES[request.kind][choice.strategy](target, request)


def check(choice, model, structure, specs, wrt, output):
    """Raise if a strategy that was asked for cannot differentiate this model."""
    if choice.strategy != "taylor":
        return
    culprit = taylor.supported(model, structure, specs, wrt, output)
    if culprit is not None:
        raise ValueError(
            f"`strategy='taylor'` needs a Taylor rule for every operation. Received: {culprit}. "
            f"Use 'auto', which takes the tape for this model."
        )


def _number(selections):
    """How many entries are selected; `None` where a shape leaves it open."""
    counts = [
        size(tuple(x.shape[1:])) if indices is None else len(indices) for x, indices in selections
    ]
    return None if None in counts else sum(counts)


def _choose_jacobian(names, rows, columns):
    by_rows, by_columns = f"{_count(rows, 'output')}", f"{_count(columns, 'input')}"
    known = rows is not None and columns is not None
    forward = known and columns + 1 < rows  # forward mode needs the backward pass once, too
    name = names[0] if len(names) == 1 else ("forward" if forward else "reverse")
    compared = f"{by_rows} selected by {by_columns}"
    if name == "forward":
        return Choice(name, f"1 forward, 1 backward and {_times(columns)} tangent passes", compared)
    return Choice(name, f"1 forward and {_times(rows)} backward passes", compared)


def _cost(request, rows, columns):
    kind = request.kind
    if kind in ("hessian", "hessian_diagonal", "laplacian"):
        second = None if rows is None or columns is None else rows * columns
        passes = f"1 forward, {_times(rows)} backward and {_times(second)} second backward passes"
        return passes, "reverse over reverse, one row of the Hessian at a time"
    if kind == "partials":
        _, sources = differentiation_plan(request.terms)
        counts = [len(order) for order in sources]
        passes = (
            f"1 forward pass and, by order, {counts} backward passes for {_count(rows, 'output')}"
        )
        return passes, "nested tapes that share every lower derivative"
    passes = {
        "jvp": "1 forward, 1 backward and 1 tangent pass",
        "vjp": "1 forward and 1 backward pass",
        "hvp": "1 forward, 1 backward and 1 second backward pass",
    }
    return passes[kind], "a product needs no matrix"


def _times(number):
    return "as many as there are" if number is None else number


def _count(number, noun):
    return (
        f"an unknown number of {noun}s"
        if number is None
        else f"{number} {noun}{'s' * (number != 1)}"
    )

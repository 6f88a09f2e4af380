"""The strategies, and which of them `strategy="auto"` takes."""

import functools
import math
from dataclasses import dataclass, replace

import keras

from keras_derivs import backend
from keras_derivs.engine import cost, neighbours, preference, shared
from keras_derivs.engine.reverse import partials as tape_partials
from keras_derivs.engine.reverse import sampled as sampled_tape
from keras_derivs.engine.reverse import strategies as tape
from keras_derivs.engine.taylor import laplacian as taylor_laplacian
from keras_derivs.engine.taylor import sampled as sampled_taylor
from keras_derivs.engine.taylor import strategies as taylor
from keras_derivs.engine.taylor import trial
from keras_derivs.engine.taylor.rules import UnsupportedOperation

# kind of derivative -> strategy -> (what computes it, what it costs); the first wins a tie.
# The former takes (target, request) and returns (y, results).
STRATEGIES = {
    "jacobian": {
        "reverse": (tape.jacobian_by_rows, cost.reverse_jacobian),
        "forward": (tape.jacobian_by_columns, cost.forward_jacobian),
        "taylor": (taylor.jacobian, cost.taylor_jacobian),
    },
    "hessian": {
        "taylor": (taylor.hessian, cost.taylor_hessian),
        "reverse": (tape.hessian, cost.reverse_hessian),
    },
    "hessian_diagonal": {
        "taylor": (taylor.hessian_diagonal, cost.taylor_hessian_diagonal),
        "reverse": (tape.hessian_diagonal, cost.reverse_hessian),
    },
    "laplacian": {
        "taylor": (taylor_laplacian.laplacian, cost.taylor_laplacian),
        "reverse": (tape.laplacian, cost.reverse_laplacian),
    },
    "partials": {
        "taylor": (taylor.partials, cost.taylor_partials),
        "reverse": (tape_partials.partials, cost.reverse_partials),
    },
    "projections": {
        "reverse": (sampled_tape.projections, cost.reverse_projections),
        "taylor": (sampled_taylor.projections, cost.taylor_projections),
    },
    "jvp": {
        "taylor": (taylor.jvp, cost.taylor_jvp),
        "forward": (tape.jvp, cost.forward_jvp),
    },
    "vjp": {"reverse": (tape.vjp, cost.reverse_vjp)},
    "hvp": {"reverse": (tape.hvp, cost.reverse_hvp)},
}
# More of those where places are shared by many functions, each of which is an output.
OF_SHARED = {
    "hessian": {"forward": (tape_partials.by_tangents, cost.forward_terms)},
    "hessian_diagonal": {"forward": (tape_partials.by_tangents, cost.forward_terms)},
    "laplacian": {"forward": (tape_partials.by_tangents, cost.forward_terms)},
    "partials": {"forward": (tape_partials.partials_by_tangents, cost.forward_partials)},
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
        return f"strategy '{self.strategy}' {engine}, {self.reason}: {self.passes}"


def choose(strategy, request, y, xs, obstacle):
    """The `Choice` for a request; `y` and `xs` are the shapes it meets.

    `obstacle()` names the first operation of the model without a Taylor rule; `None` if all have.
    """
    prices = _prices(request, y, xs)
    names = _allowed(strategy, prices)
    best = min(names, key=lambda name: prices[name][0])
    culprit = obstacle() if best == "taylor" else None
    if culprit is None:
        return Choice(best, prices[best][1], _reason(best, names, prices))
    if strategy == "taylor":
        raise UnsupportedOperation(
            f"`strategy='taylor'` needs a Taylor rule for every operation. Received: {culprit}. "
            f"Use 'auto', which takes the tape for this model, or register a rule with "
            f"`taylor_rule`.",
            culprit,
        )
    return without_taylor(request, y, xs, culprit)


def passes(strategy, request, y, xs):
    """The least passes that a request costs."""
    prices = _prices(request, y, xs)
    return min(prices[name][0] for name in _allowed(strategy, prices))


def alternatives(choice, request, y, xs):
    """The words for the passes of every other strategy."""
    prices = _prices(request, y, xs)
    return {name: words for name, (_, words) in prices.items() if name != choice.strategy}


def without_taylor(request, y, xs, culprit):
    """The `Choice` of a tape where polynomials stop at `culprit`."""
    choice = choose("tape", request, y, xs, obstacle=None)
    return replace(choice, reason=f"as 'taylor' stops at {culprit}")


def taylor_obstacle(model, structure, specs, wrt, output, training, fold=None):
    """What polynomials cannot be propagated through; `None` if nothing stands in the way."""
    if training:
        return "training mode"
    return trial.supported(model, structure, specs, wrt, output, fold)


def strategies(request):
    """name -> (what computes a request, what it costs)."""
    more = OF_SHARED.get(request.kind, {}) if request.shared else {}
    return {**STRATEGIES[request.kind], **more}


def _prices(request, y, xs):
    """For each possible strategy (number of passes, words)."""
    rows = math.inf if request.shared else _number([(y, request.rows)])
    columns = _number([(xs[k], indices) for k, indices in request.columns])
    return {name: price(request, rows, columns) for name, (_, price) in strategies(request).items()}


def _number(selections):
    """How many entries are selected; `None` where a shape leaves it open."""
    counts = [_entries(x) if indices is None else len(indices) for x, indices in selections]
    return None if None in counts else sum(counts)


def _entries(x):
    return None if None in x.shape[1:] else math.prod(x.shape[1:])


def _allowed(strategy, prices):
    groups = {"auto": _preferred(prices), "tape": TAPE}
    names = [name for name in prices if name in groups.get(strategy, (strategy,))]
    if not names:
        raise ValueError(
            f"`strategy=` needs one of {('auto', 'tape', *prices)} for this derivative. "
            f"Received: {strategy!r}. Use 'auto' to let the package choose."
        )
    return names


def _preferred(prices):
    """What "auto" chooses from: where a file is made, one engine may be preferred."""
    engine = preference.engine()
    names = [name for name in prices if engine in (None, engine_of(name))]
    return names or tuple(prices)


def engine_of(strategy):
    return "tape" if strategy in TAPE else "taylor"


def _reason(best, names, prices):
    if len(names) == 1:
        return "the only one possible"
    passes = {
        name: price if price < math.inf else "too many" for name, (price, _) in prices.items()
    }
    others = ", ".join(f"{passes[name]} by '{name}'" for name in names if name != best)
    return f"of {passes[best]} passes (against {others})"


def solve(choice, target, request):
    """The value and the derivatives: (y, results)."""
    strategy, _ = strategies(request)[choice.strategy]
    with backend.precise():
        run = functools.partial(shared.solve, strategy) if request.shared else strategy
        compute = lambda inputs: run(target.given(inputs), request.listed())  # noqa: E731
        if target.cancels:
            compute = functools.partial(neighbours.compared, compute, target)
        found = backend.at_once(compute, target.inputs)
    return keras.tree.map_structure(backend.result, found)

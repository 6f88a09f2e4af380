"""Partial derivatives between symbolic tensors of a Keras graph, by their terms."""

import itertools

from keras_derivs import graph, limits
from keras_derivs.graph import private
from keras_derivs.layers.partials import Partials, check_names, named
from keras_derivs.symbolic.between import check_symbolic
from keras_derivs.symbolic.derive import derive
from keras_derivs.symbolic.plain import is_plain
from keras_derivs.typing import Any, Tensor


def partials(y: Tensor, *terms: Any, **options: Any) -> Tensor:
    """Partial derivatives of `y`, each of y's own shape, all from one shared pass.

    The derivative of order n is in units of [y]/[x]^n.

    Args:
        y: A symbolic tensor.
        *terms: A tuple of scalar coordinates for each derivative: `(t,)`, `(x, x)`; `()` is `y`
            itself. A coordinate is a symbolic tensor with one number per sample. A dict of tuples
            with coefficients is a linear combination: `{(t, t): 1, (x, x): -4}`. Or one dict of
            terms by name, `{"u_t": (t,), "u_xx": (x, x)}`.
        strategy: `"taylor"` (one pass forward on polynomials, with a coefficient for each
            derivative and those that lead to it), `"reverse"` or `"tape"` (nested backward
            passes, taken where an operation has no Taylor rule or `training` is true) or
            `"auto"`, the cheaper of them.
        chunk_size: How many outputs of a vector `y` to differentiate at once on the tape; all by
            default. Bounds its memory.
        **options: `training`, `batch_dims`, `audit` and `name`, as for `Partials`.

    Returns:
        A list with one symbolic tensor of the shape of `y` for each term; for a dict of terms a
        dict, and outputs of a model that are made so have these names. Without names of their
        own, derivatives of a tensor `u` by inputs `t`, `x`, called so by `name=`, are `u_t`,
        `u_xx`; those by columns of an input `tx` are `u_tx0`, `u_tx1_tx1`.

    Raises:
        ValueError: `y` does not depend on a coordinate, a coordinate is not scalar, or a
            coefficient is not a finite number.
        TypeError: A term is neither a tuple of symbolic tensors nor a dict of those.

    Example:

    >>> import keras, keras_derivs as kd
    >>> tx = keras.Input((2,))
    >>> t, x = tx[:, 0:1], tx[:, 1:2]
    >>> u = keras.layers.Dense(1)(keras.layers.Dense(8, "tanh")(tx))
    >>> u_x, wave = kd.partials(u, (x,), {(t, t): 1, (x, x): -4})
    >>> u_x.shape, wave.shape
    ((None, 1), (None, 1))
    """
    if not terms or terms == ({},):
        raise ValueError(
            "`partials` needs at least one term. Received: none. Write partials(u, (t,), (x, x))."
        )
    if len(terms) == 1 and isinstance(terms[0], dict) and not _is_combination(terms[0]):
        return _named_partials(y, check_names(terms[0]), options)
    _check_terms(terms, y, options)
    rows = 2 if options.get("batch_dims") == 2 else 1
    names = [
        graph.speaking_name(y, term, rows) if isinstance(term, tuple) and term else None
        for term in terms
    ]
    if len(terms) == 1 and names[0] and "name" not in options:
        options["name"], names = graph.free(names[0], y, sideways=True), [None]
    return [
        graph.named(tensor, graph.free(name, tensor, sideways=True)) if name else tensor
        for tensor, name in zip(_partials(y, terms, options), names)
    ]


def _named_partials(y, terms, options):
    _check_terms(terms.values(), y, options)
    results = dict(zip(terms, _partials(y, list(terms.values()), options)))
    own = {name: y for name in terms if not terms[name] and _is_itself(y, name, results[name])}
    others = named({name: results[name] for name in terms if name not in own})
    return {name: own.get(name, others.get(name)) for name in terms}


def _is_itself(y, name, value):
    """Whether the name is that of `y` already, and its value by `Partials` never another one."""
    if private.source_of(y).operation.name != name:
        return False
    return value is y or is_plain(y, private.source_of(value).operation.derivative.model)


def _partials(y, terms, options):
    coordinates = list({id(x): x for term in terms for one in _tuples(term) for x in one}.values())
    if not coordinates and not any(map(_is_combination, terms)):
        return [y for _ in terms]
    count = {id(x): number for number, x in enumerate(coordinates)}

    def numbered(term):
        numbers = [[count[id(x)] for x in one] for one in _tuples(term)]
        if not isinstance(term, dict):
            return numbers[0]
        return {"terms": numbers, "weights": list(term.values())}

    return derive(Partials, y, coordinates, terms=list(map(numbered, terms)), **options)


def _tuples(term):
    """The tuples of coordinates of a term: several of a linear combination."""
    return list(term) if isinstance(term, dict) else [term]


def _is_combination(term):
    return isinstance(term, dict) and bool(term) and not any(isinstance(key, str) for key in term)


def diff(y: Tensor, *coordinates: Tensor, **options: Any) -> Tensor:
    """One partial derivative of `y`: `diff(u, x, x)` is u_xx, in units of [y]/[x]^2.

    `partials` computes several at less cost, and `fuse` makes one pass of several calls of `diff`.

    Args:
        y: A symbolic tensor.
        *coordinates: Symbolic tensors with one number per sample, each as often as `y` is
            differentiated by it.
        strategy: `"taylor"`, `"reverse"`, `"tape"` or `"auto"`, as for `partials`.
        **options: `chunk_size`, `training`, `batch_dims`, `audit` and `name`, as for `partials`.

    Returns:
        A symbolic tensor of the shape of `y`.

    Raises:
        ValueError: No coordinate, `y` does not depend on one, or one is not scalar.
        TypeError: `y` or a coordinate is not a symbolic tensor.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((1,))
    >>> u = keras.layers.Dense(1)(keras.layers.Dense(8, "tanh")(x))
    >>> kd.diff(u, x, x).shape
    (None, 1)
    """
    if not coordinates:
        raise ValueError(
            "`diff` needs at least one coordinate. Received: none. Write diff(u, x) for u_x."
        )
    for x in coordinates:
        if isinstance(x, (int, list, tuple, dict)):
            raise TypeError(
                f"`diff` needs symbolic tensors for coordinates, each as often as it is "
                f"differentiated by. Received: {limits.shown(x)}. Write diff(u, x, x) for u_xx."
            )
    return partials(y, tuple(coordinates), **options)[0]


def _check_terms(terms, y, options):
    for term in itertools.chain(*map(_tuples, terms)):
        if not isinstance(term, tuple):
            raise TypeError(
                f"`partials` needs a tuple of coordinates for each term, or a dict of tuples with "
                f"coefficients. Received: {term!r}. Write partials(u, (t,), (x, x))."
            )
        for x in term:
            check_symbolic(x, "partials")
            if any(n != 1 for n in graph.shape_of_coordinate(x, y, options.get("batch_dims", 1))):
                raise ValueError(
                    f"A coordinate needs to be one number per sample. Received: "
                    f"{graph.describe(x)}. Take a slice of it, such as x[:, 0:1], give "
                    f"`batch_dims=2` where its second axis is one of rows, too, or use "
                    f"`gradient` or `jacobian`."
                )

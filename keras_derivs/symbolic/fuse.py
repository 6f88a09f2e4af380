"""Merge the derivatives of one tensor in a finished model into one shared pass."""

import itertools
from collections import ChainMap

import keras

from keras_derivs import graph
from keras_derivs.graph import private
from keras_derivs.symbolic import again, combination
from keras_derivs.symbolic.absorbed import Uses, placed
from keras_derivs.symbolic.between import BetweenTensors
from keras_derivs.symbolic.fused import Fused
from keras_derivs.symbolic.members import contents, groups_of
from keras_derivs.symbolic.opened import candidates, opened, shared
from keras_derivs.symbolic.plain import is_plain
from keras_derivs.typing import Model


def fuse(model: Model) -> Model:
    """The same model, in which the derivatives of one tensor share one pass.

    `kd.gradient(u, x)` and `kd.diff(u, x, x)`, written one by one, each run anew through the
    network that made `u`, and a derivative of a derivative nests. This puts one request in their
    place, as if all had been written as one `kd.partials`, wherever that costs fewer passes. It
    sees through linear arithmetic in between, and leaves what it cannot merge as it was. A sum of
    derivatives, such as `diff(u, t, t) - 4 * diff(u, x, x)` or a Laplacian of a Laplacian, is
    carried as one coefficient. Penalties and log-determinants take the Jacobian that others need,
    and so does a layer, such as `kd.Laplacian(net)(x)`, where `net(x)` is in the model. Weights
    and layers stay those of the given model.

    Args:
        model: A functional `keras.Model` with derivatives between symbolic tensors in it.

    Returns:
        A functional `keras.Model` with the inputs, outputs and name of the given one, to be
        compiled.

    Raises:
        TypeError: `model` is not a functional model.

    Example:

    >>> import keras, keras_derivs as kd
    >>> x = keras.Input((1,))
    >>> u = keras.layers.Dense(1)(keras.layers.Dense(8, "tanh")(x))
    >>> u_x = kd.gradient(u, x)
    >>> model = kd.fuse(keras.Model(x, [u, u_x, kd.gradient(u_x, x)]))
    >>> print(model.layers[-1].explain())
    Partials of 'sub_graph': strategy 'taylor' on polynomials, of 3 passes (against 4 by \
'reverse'): 1 forward pass on polynomials of 3 coefficients
    """
    if not isinstance(model, keras.Model) or not private.is_functional(model):
        raise TypeError(
            f"`fuse` needs a functional model, keras.Model(inputs, outputs). Received: {model!r}. "
            f"Elsewhere, ask for all derivatives in one `partials` or `Partials`."
        )
    model, uses, groups = _opened(model)
    return again.model_of(model, _rebuild(uses, groups))


def _opened(model):
    """(the model with what shares a derivative written as a function of it, its uses, and its
    groups of derivatives that share a pass)."""
    wanted, existing = candidates(graph.nodes_of(model))
    while True:
        found, taken = opened(model, wanted, existing) if wanted else (model, {})
        uses = Uses(graph.nodes_of(found), found.outputs)
        groups = groups_of(uses)
        kept = shared(wanted, taken, existing, groups)
        if len(kept) == len(wanted):
            return found, uses, groups
        wanted = kept


def _rebuild(uses, groups):
    """{id of a tensor: the one in its place}, with a layer for each group."""
    known, values = {}, {}
    merged = set().union(*(group.inside for group in groups))
    within = _within_derivatives(uses.nodes)
    for node in uses.nodes:
        if id(node) not in merged:
            again.run(node, known if id(node) in within else ChainMap(known, values))
        for group in groups:
            if any(group.base is y for y in node.outputs):
                value, found = _merge(group, known, uses)
                known.update(found)
                values.update(value)
    return {**values, **known}


def _within_derivatives(nodes):
    """Derivatives and what they go through: these keep the value they have."""
    derivatives = [node for node in nodes if isinstance(node.operation, BetweenTensors)]
    within = [node.operation.derivative.model.nodes for node in derivatives]
    return {id(node) for node in itertools.chain(derivatives, *within)}


def _merge(group, known, uses):
    """{id of the base: its value}, and what stands in the place of the results of a group."""
    terms, results = contents(group)
    layer = Fused(terms, results, len(group.roots), *combination.settings(group.layer))
    y, *wrt = [known.get(id(x), x) for x in (group.base, *group.roots)]
    value, *found = layer([y, *wrt, *layer.cut(y, wrt)])
    plain = is_plain(group.base, layer.derivative.model)
    return {id(group.base): value} if plain else {}, placed(group.results, found, uses)

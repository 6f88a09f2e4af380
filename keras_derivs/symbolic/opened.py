"""What `fuse` looks into: penalties and volumes, which are functions of a Jacobian, and layers.

A layer around a model is a derivative between tensors where the graph holds that model's call.
"""

import inspect
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras

from keras_derivs import graph
from keras_derivs.engine.target import Target, per_sample, size
from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.layers.one_entry import LABELS
from keras_derivs.layers.wrapping import WrappingLayer
from keras_derivs.symbolic import again
from keras_derivs.symbolic.between import LAYERS, Between
from keras_derivs.symbolic.combination import KINDS, OPTIONS
from keras_derivs.symbolic.derive import derive

MADE_OF = {
    "GradientPenalty": "Gradient", "JacobianPenalty": "Jacobian", "LogDeterminant": "Jacobian",
}  # fmt: skip
ENCODED = ("SubJacobian", "Partials")  # their config is not what they are made with


@dataclass(frozen=True)
class Asked:
    """A derivative in a graph, by a function or by a layer; `call` is that of the layer's model."""

    layer: DerivativeLayer
    y: keras.KerasTensor
    wrt: list
    options: dict
    call: Any = None

    @property
    def kind(self):
        return type(self.layer).__name__

    @property
    def derivative(self):
        """The name and the options of the derivative that it is made of."""
        options = {name: value for name, value in self.options.items() if name != "target"}
        return MADE_OF.get(self.kind, self.kind), options

    @property
    def key(self):
        """The same for what is made of the same derivative."""
        return repr(self.derivative), id(self.y), tuple(map(id, self.wrt))

    def is_plain(self):
        """Whether options that `fuse` knows say all of what is computed."""
        known = self.kind in KINDS | set(MADE_OF) and set(self.options) <= OPTIONS | {"target"}
        arrays = any(hasattr(x, "dtype") for x in keras.tree.flatten(self.options))
        drawn = "num_samples" in self.options or "training" in self.options
        return known and not arrays and not drawn and self.options.get("component") != LABELS


def asked(node, calls):
    """What a node of a graph asks for, if it is a plain derivative; `None` otherwise."""
    operation = node.operation
    if isinstance(operation, Between):
        y, *wrt = node.input_tensors[: operation.num_structural]
        layer = operation.derivative
        found = Asked(layer, y, wrt, _chosen(operation.options, layer))
    elif isinstance(operation, DerivativeLayer):
        found = _of_layer(node, operation, calls)
    else:
        return None
    return found if found and found.is_plain() else None


def _of_layer(node, layer, calls):
    """A layer that is called on what its model is called on elsewhere."""
    call, plan = calls.get((id(layer.model), *map(id, node.input_tensors))), layer.plan
    if call is None or plan is None or type(layer).__name__ in ENCODED:
        return None
    wrt = [node.input_tensors[at.position] for at in plan.coordinates]
    if any(x.dtype != layer.compute_dtype for x in wrt):
        return None
    return Asked(layer, call.outputs[plan.output], wrt, _chosen(layer.get_config(), layer), call)


def _chosen(options, layer):
    """Those of the options of a derivative layer that are not as by default."""
    signatures = (inspect.signature(kind.__init__) for kind in (WrappingLayer, type(layer)))
    known = itertools.chain(*(signature.parameters.values() for signature in signatures))
    own = [one for one in known if one.name not in ("self", "model", "wrt", "output", "kwargs")]
    return {
        one.name: options[one.name]
        for one in own
        if one.name in options and _differs(options[one.name], one.default)
    }


def _differs(value, default):
    return hasattr(value, "dtype") or value != default


def candidates(nodes):
    """({id of a node: what it asks for} of those that may be written otherwise, {key: node} of
    derivatives between tensors, which others may share)."""
    plain = [node for node in nodes if _has_no_options(node)]
    calls = {(id(n.operation), *map(id, n.input_tensors)): n for n in reversed(plain)}
    found = [(node, asked(node, calls)) for node in nodes]
    found = [(node, one) for node, one in found if one is not None]
    wanted = {id(node): one for node, one in found if one.call or one.kind in MADE_OF}
    return wanted, {one.key: node for node, one in reversed(found) if id(node) not in wanted}


def _has_no_options(node):
    """Whether a layer is called on tensors alone: in inference, without masks."""
    return all(x is None or x is False for x in keras.tree.flatten(node.arguments.kwargs))


def shared(wanted, taken, existing, groups):
    """Those in `wanted` of which another takes the derivative too, or a group its pass."""
    count = Counter(map(id, taken.values()))
    merged = set().union(*(group.inside for group in groups))
    return {
        key: one
        for key, one in wanted.items()
        if one.key in existing or count[id(taken[key])] > 1 or id(taken[key]) in merged
    }


def opened(model, wanted, existing):
    """(the model with the nodes in `wanted` written out, {id of each: the derivative it took}).

    `wanted` is {id of a node: what it asks for}, `existing` {key: node} of derivatives to share.
    """
    known, taken, made = {}, {}, dict(existing)
    for node in graph.nodes_of(model):
        one = wanted.get(id(node))
        if one is None:
            again.run(node, known)
            continue
        if one.call is not None:
            again.run(one.call, known)
        if one.key not in made:
            made[one.key] = _derived(one, known)
        again.run(made[one.key], known)
        taken[id(node)] = made[one.key]
        found = [known.get(id(x), x) for x in taken[id(node)].outputs]
        if one.kind in MADE_OF:
            found = _function_of(one, found)
        if any(node.outputs[-1] is y for y in model.outputs):  # losses go by its name
            found[-1] = graph.named(found[-1], node.operation.name)
        known.update(zip(map(id, node.outputs), found))
    return again.model_of(model, known), taken


def _derived(one, known):
    kind, options = one.derivative
    y, *wrt = (known.get(id(x), x) for x in (one.y, *one.wrt))
    return graph.producer(keras.tree.flatten(derive(LAYERS[kind], y, wrt, **options))[0])


def _function_of(one, results):
    """A penalty or a volume, from the results of the derivative; its layer arranges them."""
    layer, plan = one.layer, one.layer.plan
    y = results.pop(0) if layer.return_value else one.y
    rows = 1 if one.kind == "GradientPenalty" else size(one.y)
    matrices = [per_sample(g, (rows, size(x))) for g, x in zip(results, one.wrt)]
    target = Target(layer.model, None, dict(zip(plan.wrt, plan.xs)), plan.wrt)
    return keras.tree.flatten(layer.arrange(plan, target, y, matrices))

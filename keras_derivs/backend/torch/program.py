"""A model of PyTorch as one program of plain operations, for any number of rows.

The converters of PyTorch follow the Python code of a model, and lose the gradients in it. Here its
operations are recorded below `torch.autograd`, those of its gradients too, on tensors without
numbers whose open axes have symbols for lengths.
"""

import contextlib
import functools
import itertools

import keras
import torch
from torch._decomp import core_aten_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.proxy_tensor import make_fx

from keras_derivs.backend.torch.folding import folded
from keras_derivs.backend.torch.formulas import Exchanging
from keras_derivs.backend.torch.portable import FUNCTIONS, PORTABLE

aten = torch.ops.aten
SQUEEZE, EXPAND, PERMUTE = aten.squeeze.dims, aten.expand.default, aten.permute.default
SAME = {aten.alias.default, torch.ops.prims.view_of.default}
ASSERTIONS = {aten._assert_async.default, aten._assert_async.msg}
ROWS, LENGTHS = 11, (13, 17, 19, 23, 29, 31, 37)  # of what is recorded: any, but unlike others


class Program(torch.nn.Module):
    """Is called like the model, and returns what it does, or a flat tuple of that."""

    def __init__(self, recorded, structure, flat=False):
        super().__init__()
        self.recorded, self.structure, self.flat = recorded, structure, flat
        self.eval()

    def forward(self, *inputs):
        outputs = tuple(self.recorded(*keras.tree.flatten(inputs)))
        return outputs if self.flat else keras.tree.pack_sequence_as(self.structure, outputs)


def program(model, signature, flat=False, rules=None):
    """The `Program` of a model that is called on what the signature describes.

    More `rules` replace operations that a format has not.
    """
    structure = []

    def run(*flat):
        y = model(*keras.tree.pack_sequence_as(signature, flat))
        structure.append(y)
        return tuple(keras.tree.flatten(y))

    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=symbolic_shapes.ShapeEnv())
    inputs = [_symbolic(spec, mode) for spec in _flat(signature)]
    rules = {**core_aten_decompositions(), **PORTABLE, **(rules or {})}
    record = functools.partial(make_fx, tracing_mode="fake", _allow_non_fake_inputs=True)
    with mode, enable_python_dispatcher(), torch.no_grad(), Exchanging(FUNCTIONS), _constant(model):
        graph = record(run, rules)(*inputs)
        if any(map(_is_mutable, graph.graph.nodes)):
            graph = record(torch.func.functionalize(graph), rules)(*inputs)
    structure = keras.tree.map_structure(lambda y: 0, structure[-1])
    return Program(_plain(graph), structure, flat)


def samples(signature, rows=2):
    """Arguments of a program, with as many rows where the signature leaves them open."""
    return tuple(
        keras.tree.map_structure(
            lambda spec: keras.ops.ones([n or rows for n in spec.shape], spec.dtype),
            tuple(signature),
        )
    )


def open_axes(signature):
    """What `torch.export` calls the dynamic shapes of a function of `*inputs`."""
    rows, numbers = torch.export.Dim("batch", min=0), itertools.count()

    def axes(spec):
        return {
            axis: torch.export.Dim(f"length_{next(numbers)}") if axis else rows
            for axis, length in enumerate(spec.shape)
            if length is None
        }

    return [tuple(keras.tree.map_structure(axes, tuple(signature)))]


@contextlib.contextmanager
def _constant(model):
    """No gradients by the weights, for which operations of their own would be recorded."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _flat(signature):
    return keras.tree.flatten(tuple(signature))


def _symbolic(spec, mode):
    """A tensor without numbers; each open axis has a symbol, and the rows of all inputs one."""
    lengths = iter(LENGTHS)
    kind = symbolic_shapes.DimDynamic
    shape = [n or (next(lengths) if axis else ROWS) for axis, n in enumerate(spec.shape)]
    dynamic = [kind.DYNAMIC if n is None else kind.STATIC for n in spec.shape]
    return mode.from_tensor(
        keras.ops.ones(shape, spec.dtype),
        symbolic_context=symbolic_shapes.StatelessSymbolicContext(dynamic_sizes=dynamic),
    )


def _plain(graph):
    """The graph without what no result needs, without other names of a tensor, and assertions."""
    for node in list(graph.graph.nodes):
        if node.target in ASSERTIONS:
            graph.graph.erase_node(node)
            continue
        same = _same(graph.graph, node)
        if same is not None:
            node.replace_all_uses_with(same)
    graph.graph.eliminate_dead_code()
    return folded(graph)


def _same(graph, node):
    """A node that returns what this one does, or `None`."""
    if node.target in SAME or (node.target is SQUEEZE and _rank(node) == _rank(node.args[0])):
        return node.args[0]
    if node.target is aten.view.default and _shape(node) == _shape(node.args[0]):
        return node.args[0]
    with graph.inserting_before(node):
        if node.target is PERMUTE and node.args[0].target is EXPAND:
            return _permuted_first(graph, node)
        if node.target is aten.empty_permuted.default:
            options = {key: node.kwargs[key] for key in ("dtype", "device")}
            return _like(node, graph.call_function(aten.full.default, (node.args[0], 0), options))
        if node.target is aten.copy.default and _covers(*node.args[:2]):
            shape = node.args[0].args[0]
            return _like(node, graph.call_function(EXPAND, (node.args[1], shape)))
    return None


def _permuted_first(graph, node):
    """The copies of a permuted tensor: the converter to LiteRT mistakes permuted copies."""
    (source, sizes), order = node.args[0].args[:2], node.args[1]

    def add(operation, x, *args):
        added = graph.call_function(operation, (x, *args))
        added.meta["val"] = operation(x.meta["val"], *args)
        return added

    for _ in range(len(sizes) - _rank(source)):
        source = add(aten.unsqueeze.default, source, 0)
    source = add(PERMUTE, source, order)
    sizes = [sizes[axis] for axis in order]
    return _like(node, graph.call_function(EXPAND, (source, sizes)))


def _covers(place, source):
    """Whether a copy leaves nothing of the place, which was made for it."""
    made = place.target is aten.full.default
    return made and place.meta["val"].dtype == source.meta["val"].dtype


def _like(node, other):
    other.meta["val"] = node.meta["val"]
    return other


def _rank(node):
    return node.meta["val"].dim()


def _shape(node):
    return tuple(map(str, node.meta["val"].shape))


def _is_mutable(node):
    """Whether an operation writes into what it is given."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable

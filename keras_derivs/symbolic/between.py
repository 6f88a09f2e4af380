"""A derivative layer between two symbolic tensors of a graph."""

import html
import inspect
import re

import keras

from keras_derivs import graph, limits
from keras_derivs.graph import losses, private
from keras_derivs.layers import arguments
from keras_derivs.layers.base import register
from keras_derivs.layers.determinant import LogDeterminant
from keras_derivs.layers.gradient import Gradient
from keras_derivs.layers.hessian import Hessian, HessianDiagonal
from keras_derivs.layers.jacobian import Jacobian, SubJacobian
from keras_derivs.layers.laplacian import Laplacian, renamed
from keras_derivs.layers.one_entry import LABELS
from keras_derivs.layers.partials import Partials
from keras_derivs.layers.penalties import GradientPenalty, JacobianPenalty
from keras_derivs.layers.products import HVP, JVP, VJP
from keras_derivs.layers.vector_calculus import Curl, Divergence
from keras_derivs.layers.vectors import Product
from keras_derivs.reloading import lasting

LAYERS = {
    layer.__name__: layer
    for layer in (
        Gradient, Jacobian, SubJacobian, Hessian, HessianDiagonal, Laplacian, Divergence, Curl,
        Partials, JVP, VJP, HVP, GradientPenalty, JacobianPenalty, LogDeterminant,
    )
}  # fmt: skip


@lasting
class BetweenTensors(losses.Lossless, keras.layers.Layer):
    """Abstract: called on `[y, *wrt, *sources, …]`, of which `y` and `wrt` only say where to cut.

    The sources are what the cut computes with. It is cut anew wherever the layer is put into a
    graph, also by loading or cloning, so that it shares the layers of that very graph. A
    subclass defines `cut(y, wrt)`, which sets `derivative` and returns the sources.
    """

    needs_keras_file = True
    is_derivative = True

    def __init__(self, num_wrt, **kwargs):
        super().__init__(**{**kwargs, "autocast": False})
        self.num_wrt = arguments.check_number(num_wrt, "num_wrt", least=1)
        self.num_structural = 1 + self.num_wrt  # see graph.needs
        self.supports_masking = True  # a mask goes into the sub-graph and ends there
        self.derivative = None

    def build(self, input_shape=None):
        self.built = True

    def build_from_config(self, config):
        """Nothing: the sub-graph comes with the loaded graph."""

    def __call__(self, inputs, **kwargs):
        if self.derivative is None:
            self._cut_again(list(inputs))
        with losses.clearing_own_losses_only(self):
            return super().__call__(inputs, **kwargs)

    def compute_mask(self, inputs, previous_mask):
        return None

    def explain(self):
        """Which strategy computes this derivative, why, and how many passes it costs."""
        return self.derivative.explain()

    def __repr__(self):
        derivative = getattr(self, "derivative", None)
        told = repr(derivative).strip("<>") if derivative is not None else "not in a graph so far"
        return f"<{type(self).__name__} '{getattr(self, 'name', '')}': {told}>"

    def _repr_html_(self):
        if self.derivative is None:
            return html.escape(repr(self))
        return self.derivative._repr_html_()

    def get_config(self):
        return {**super().get_config(), "num_wrt": self.num_wrt}

    @classmethod
    def from_config(cls, config):
        limits.check_depth(config, cls.__name__)
        return super().from_config(config)

    def _cut_again(self, inputs):
        for tensor in inputs:
            check_symbolic(tensor, self.name)
        if len(inputs) <= self.num_structural:
            raise ValueError(
                f"'{self.name}' needs y, {self.num_wrt} tensors x and what the graph between them "
                f"computes with. Received: {len(inputs)} tensors. Use the functions of "
                f"`keras_derivs`, which call this layer."
            )
        y, *wrt = inputs[: self.num_structural]
        found = self.cut(y, wrt)
        given = inputs[self.num_structural :][: len(found)]
        if [id(tensor) for tensor in found] != [id(tensor) for tensor in given]:
            self.derivative = None
            raise ValueError(
                f"'{self.name}' needs the graph it was made for. Received: sources "
                f"{[graph.describe(x) for x in given]} instead of "
                f"{[graph.describe(x) for x in found]}. Make the derivative anew with the "
                f"functions of `keras_derivs`."
            )


def _are_options(options, layer):
    """Whether a layer can be made with these, a model and `wrt`."""
    if not isinstance(options, dict) or {"model", "wrt"} & set(options):
        return False
    try:
        inspect.signature(layer.__init__).bind(None, None, wrt=None, **options)
    except TypeError:
        return False
    return True


@register
class Between(BetweenTensors):
    """A derivative layer between two symbolic tensors of a graph.

    Called on `[y, *wrt, *sources, *vectors, *labels]`.

    Args:
        derivative: The name of a derivative layer, such as `"Gradient"`.
        options: The arguments of that layer.
        num_wrt: The number of tensors to differentiate with respect to.
        num_vectors: The number of vectors of a product.
        listed: Whether the result is a list, one item for each of `wrt`.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Output shape:
        That of the derivative layer.
    """

    def __init__(self, derivative, options, num_wrt, num_vectors=0, listed=False, **kwargs):
        super().__init__(num_wrt, **kwargs)
        if not isinstance(derivative, str) or derivative not in LAYERS:
            raise ValueError(
                f"`derivative=` needs one of {list(LAYERS)}. Received: "
                f"{limits.shown(derivative)}. Use the "
                f"functions of `keras_derivs`, which make this layer."
            )
        if not _are_options(options, LAYERS[derivative]):
            raise ValueError(
                f"`options=` needs a dict of arguments other than `model` and `wrt`, and all that "
                f"{derivative} needs. Received: {limits.shown(options)}. Use the functions of "
                f"`keras_derivs`, which make this layer."
            )
        self.kind, self.options = derivative, dict(options)
        self.num_vectors = arguments.check_number(num_vectors, "num_vectors", least=0)
        if num_vectors > (limits.MAX_TERMS if issubclass(LAYERS[derivative], Product) else 0):
            raise ValueError(
                f"`num_vectors=` needs the number of vectors of a product. Received: "
                f"{limits.shown(num_vectors)} for {derivative}. Use the functions of "
                f"`keras_derivs`, which make this layer."
            )
        self.listed = arguments.check_flag(listed, "listed")

    def cut(self, y, wrt):
        """Make the derivative layer of the sub-graph from `wrt` to `y`; return its sources."""
        sub_graph, coordinates = graph.cut(y, wrt, self.options.get("batch_dims", 1))
        chosen = coordinates if self.listed or self.kind == "Partials" else coordinates[0]
        self.derivative = LAYERS[self.kind](sub_graph, wrt=chosen, **self.options)
        return sub_graph.inputs

    def compute_output_spec(self, inputs, training=None):
        outputs = self.derivative.compute_output_spec(self._arguments(inputs))
        self.derivative.warn_of_modes()
        return outputs

    def call(self, inputs, training=None):
        return self.derivative(self._arguments(inputs), training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "derivative": self.kind,
            "options": self.options,
            "num_vectors": self.num_vectors,
            "listed": self.listed,
        }

    @classmethod
    def from_config(cls, config):
        options = config.get("options")
        if config.get("derivative") == "Laplacian" and isinstance(options, dict):
            config = {**config, "options": renamed(options)}
        return super().from_config(config)

    def _arguments(self, inputs):
        """What the derivative layer is called on."""
        tensors = list(inputs)[self.num_structural :]
        given = [tensors.pop()] if self.options.get("component") == LABELS else []
        if self.num_vectors:
            given.insert(0, tensors[-self.num_vectors :])
            tensors = tensors[: -self.num_vectors]
        return [tensors, *given] if given else tensors


def snake_case(layer):
    if layer.__name__.isupper():
        return layer.__name__.lower()
    return re.sub(r"(?<!^)(?=[A-Z])", "_", layer.__name__).lower()


def check_symbolic(tensor, function):
    if not keras.backend.is_keras_tensor(tensor) or private.source_of(tensor) is None:
        layers = {snake_case(layer): name for name, layer in LAYERS.items()}
        shape = getattr(tensor, "shape", None)
        received = f"{type(tensor).__name__}" + (
            "" if shape is None else f" of shape {tuple(shape)}"
        )
        raise TypeError(
            f"`{function}` needs symbolic tensors of a Keras graph, made from `keras.Input`. "
            f"Received: {received}. For numbers, or inside a layer's `call`, wrap the model: "
            f"`{layers.get(function, 'Partials')}(model)(x)`."
        )

import keras

from keras_derivs import limits
from keras_derivs.graph import private
from keras_derivs.layers import model_shapes, selection
from keras_derivs.layers.base import DerivativeLayer, register
from keras_derivs.layers.names import output_names
from keras_derivs.reloading import lasting
from keras_derivs.typing import Any, Layer, Selection, Tensor, Which, Wrt


@register
class Jacobian(DerivativeLayer):
    """The Jacobian of every output by every input, sample by sample.

    J[b, i, j] = dy[b, i]/dx[b, j], in units of [y]/[x].

    Args:
        model: A `keras.Model` or layer.
        wrt: Name or position of the input to differentiate with respect to, or a list of those.
            Every input by default.
        output: Name or position of the output, for a model with several. All of them by default,
            in the structure in which the model returns them.
        strategy: `"reverse"` (a backward pass for each entry of the output), `"forward"` (a pass
            for each entry of the input), `"taylor"` (one pass forward with polynomials, for few
            entries of the input), `"tape"` (the better of the first two) or `"auto"` (default),
            the cheapest of them.
        **kwargs: As for `Gradient`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, *output shape, *input shape)`; for several inputs a list or dict of those, for
        several outputs a list or dict of those: of a model of dicts, all pairs as dicts of dicts.

    Raises:
        ValueError: The output does not depend on the input, or rows of the batch depend on each
            other.
        TypeError: `model` is not a layer, or the input is not of a float dtype.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    >>> tuple(kd.Jacobian(model)(np.ones((8, 5))).shape)
    (8, 3, 5)
    """

    kind = "jacobian"

    def __init__(self, model: Layer, wrt: Wrt = None, output: Which = None, **kwargs: Any) -> None:
        super().__init__(model, wrt, output, **kwargs)
        self.by_output = ByOutput()
        self.check()

    def check(self):
        outputs = getattr(self.model, "outputs", None)
        self.by_output.known = self.chosen_output is not None or bool(outputs)
        if self.chosen_output is None and self.model.built and outputs and len(outputs) > 1:
            self.by_output.make(self, private.tree_of_outputs(self.model))
        else:
            super().check()

    def compute_output_shape(self, input_shape: Any) -> Any:
        specs = model_shapes.specs(self.model, input_shape, self.compute_dtype)
        if not self._several(specs):
            return super().compute_output_shape(input_shape)
        return self.by_output.each(lambda part: part.compute_output_shape(input_shape))

    def compute_output_spec(
        self, inputs: Tensor, mask: Tensor = None, training: bool | None = None
    ) -> Tensor:
        if not self._several(inputs):
            return super().compute_output_spec(inputs, mask, training)
        return self.by_output.each(lambda part: part.compute_output_spec(inputs))

    def call(self, inputs: Tensor, mask: Tensor = None, training: bool | None = None) -> Tensor:
        if not self._several(inputs):
            return super().call(inputs, mask, training)
        return self.by_output.each(lambda part: part.call(inputs, mask, training))

    def explain(self) -> str:
        parts = self.by_output.parts
        return "\n".join(part.explain() for part in parts) if parts else super().explain()

    def _several(self, inputs):
        """Whether the result has a part for each of several outputs."""
        if not self.by_output.known:
            outputs = model_shapes.outputs(self, inputs)
            if len(keras.tree.flatten(outputs)) > 1:
                self.by_output.make(self, outputs)
            self.by_output.known = True
        return bool(self.by_output.parts)


# What the Jacobian of each of several outputs has in common with that of all.
PASSED_ON = (
    "wrt", "strategy", "chunk_size", "return_value", "training", "audit", "batch_dims", "autocast",
)  # fmt: skip


def _word(name):
    return name.replace("/", "_")


@lasting
class ByOutput:
    """The Jacobian of each of several outputs; they share the model, which tracks the weights."""

    def __init__(self):
        self.structure, self.parts, self.known = None, [], False

    def make(self, layer, outputs):
        self.structure, self.known = outputs, True
        names = output_names(layer.model, outputs)
        options = {name: getattr(layer, name) for name in PASSED_ON}
        options["dtype"] = layer.dtype_policy
        self.parts = [
            Jacobian(layer.model, output=n, name=f"{layer.name}_{_word(name)}", **options)
            for n, name in enumerate(names)
        ]

    def each(self, function):
        """What a function of each part returns, in the structure of the outputs."""
        found = [function(part) for part in self.parts]
        if not self.parts[0].return_value:
            return self._packed(found)
        return tuple(self._packed(results) for results in zip(*found))

    def _packed(self, results):
        return keras.tree.pack_sequence_as(self.structure, list(results))


@register
class SubJacobian(DerivativeLayer):
    """The sensitivities of chosen outputs to chosen inputs, and nothing else.

    The block of the Jacobian dy/dx for the selected entries, in units of [y]/[x]. Only the
    selected rows (or columns, if those are fewer) are computed.

    Args:
        model: A `keras.Model` or layer.
        outputs: Which entries of the output: an int, a list, a range or a slice; for an output
            of several axes a tuple of those, one for each axis (each axis selected on its own,
            like `numpy.ix_`). An int drops its axis. All by default.
        inputs: Which entries of the input, in the same way.
        wrt: Name or position of the input to differentiate with respect to.
        output: Name or position of the output, for a model with several.
        **kwargs: As for `Jacobian`.

    Input shape:
        That of the model.

    Output shape:
        `(batch, *selected output shape, *selected input shape)`.

    Raises:
        ValueError: Indices out of range, repeated, or not one for each axis.
        TypeError: Indices that are not integers.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(10)])
    >>> slopes = kd.SubJacobian(model, outputs=[2, 3, 4], inputs=range(50, 70))
    >>> tuple(slopes(np.ones((8, 100))).shape)
    (8, 3, 20)
    """

    kind = "jacobian"

    def __init__(
        self,
        model: Layer,
        outputs: Selection = None,
        inputs: Selection = None,
        wrt: Wrt = None,
        output: Which = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, wrt, output, **kwargs)
        self.selected_outputs = selection.parse(outputs, "outputs")
        self.selected_inputs = selection.parse(inputs, "inputs")
        self.check()

    def rows(self, shape):
        if self.selected_outputs is None:
            return super().rows(shape)
        return _block(self.selected_outputs, shape, "outputs")

    def columns(self, coordinates):
        if self.selected_inputs is None:
            return super().columns(coordinates)
        return [self._columns_of(at) for at in coordinates]

    def _columns_of(self, at):
        indices, shape = _block(self.selected_inputs, at.shape, "inputs")
        return (indices if at.indices is None else at.indices[indices]), shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "outputs": selection.serialize(self.selected_outputs),
            "inputs": selection.serialize(self.selected_inputs),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        config = dict(config)
        for name in ("outputs", "inputs"):
            axes = config.get(name)
            limits.check(limits.length(axes), limits.MAX_AXES, f"{name}=", "axes")
            config[name] = tuple(axes) if isinstance(axes, list) else axes
        return super().from_config(config)


def _block(axes, shape, name):
    """Row-major indices of the selected block, and its shape."""
    positions, selected = selection.resolve(axes, shape, name)
    return selection.flat_indices(positions, shape), selected

"""A layer that wraps a model: its options, its config, and what it tells Keras."""

import keras

from keras_derivs import backend, graph, limits
from keras_derivs.audit import compilation
from keras_derivs.graph import cycles, losses, saving
from keras_derivs.layers import arguments, calls, folding, precision
from keras_derivs.reloading import lasting
from keras_derivs.typing import Any, Layer, Tensor, Which, Wrt


@lasting
class WrappingLayer(cycles.Circular, losses.Lossless, keras.layers.Layer):
    """Abstract: a layer that holds a model, and the options that all derivative layers have."""

    needs_keras_file = True

    def __init__(
        self,
        model: Layer,
        wrt: Wrt = None,
        output: Which = None,
        *,
        strategy: str = "auto",
        chunk_size: int | None = None,
        return_value: bool = False,
        training: bool | None = False,
        audit: bool = True,
        batch_dims: int = 1,
        **kwargs: Any,
    ) -> None:
        depth = arguments.check_model(model, type(self).__name__)
        calls.check_arguments(type(self), kwargs)
        kwargs.setdefault("dtype", precision.float_dtype(model))
        kwargs.setdefault("autocast", precision.casts(model))
        super().__init__(**kwargs)
        precision.warn_of_dtypes(model, self.compute_dtype, self.name)
        self._may_be_inside = cycles.may_gain_layers(model)  # `model.slope = Gradient(model)`
        self.model, self.depth = model, depth
        self.wrt = arguments.check_wrt(wrt)
        self.chosen_output = arguments.check_choice(output, "output")
        self.strategy = arguments.check_strategy(strategy)
        self.chunk_size = arguments.check_count(chunk_size, "chunk_size")
        self.return_value = arguments.check_flag(return_value, "return_value")
        self._training = arguments.check_training(training)
        self.audit = arguments.check_flag(audit, "audit")
        self.batch_dims = folding.check_dims(batch_dims)
        self.supports_masking = True  # a mask goes into the model and ends there
        self.told = set()  # warnings are given once
        self._plans, self._latest, self._untied = {}, None, False

    @property
    def training(self) -> bool | None:
        """The mode that was asked for: `False`, `True`, or `None`, that of each call."""
        return self._training

    @training.setter
    def training(self, flag: bool) -> None:
        """PyTorch sets that of every layer of a model which is trained; a mode asked for stays."""

    @property
    def supports_jit(self) -> bool:
        """Whether `compile(jit_compile=…)` may compile; training adds an order."""
        if not backend.MODES:  # no compiler that can differentiate twice
            return False
        plan = self._latest
        obstacle = plan and compilation.obstacle(self.model, plan.steps, plan.request.order + 1)
        return self._supports_jit and not obstacle

    @supports_jit.setter
    def supports_jit(self, flag: bool) -> None:
        self._supports_jit = flag

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor) -> Tensor:
        return None

    def check_tied(self, args):
        """Raise where a copy that has the weights to itself enters a graph."""
        if self._untied and any(map(keras.backend.is_keras_tensor, keras.tree.flatten(args))):
            raise ValueError(
                f"'{self.name}' needs the model it was made for. Received: a copy by "
                f"`clone_model`, `from_config` or JSON, which would train a second network of its "
                f"own beside '{self.model.name}'. Save and load the model, or copy it with "
                f"`copy.deepcopy`; derivatives between symbolic tensors stay tied in a clone too."
            )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            model=saving.serialize(self.model),
            wrt=self.wrt,
            output=self.chosen_output,
            strategy=self.strategy,
            chunk_size=self.chunk_size,
            return_value=self.return_value,
            training=self.training,
            audit=self.audit,
            batch_dims=self.batch_dims,
            tied=graph.used_elsewhere(self.model),
        )
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        config = dict(config)
        model = config.get("model")
        if not isinstance(model, (dict, keras.layers.Layer)):
            raise ValueError(
                f"`model=` needs the config of a model in `{cls.__name__}.from_config`. Received: "
                f"{limits.shown(model)}. Give what `get_config` returned."
            )
        limits.check_depth(config, cls.__name__)
        tied = config.pop("tied", False)
        arguments.check_flag(tied, "tied")
        if isinstance(model, dict):
            config["model"] = keras.saving.deserialize_keras_object(model)
        layer = cls(**config)
        layer._untied = tied and not saving.in_sharing_scope()
        return layer

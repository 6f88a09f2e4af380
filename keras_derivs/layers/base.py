"""What all derivative layers share: they ask an engine for a plan, and arrange the result."""

import html
from dataclasses import replace

import keras

from keras_derivs import audit, limits
from keras_derivs.audit import compilation
from keras_derivs.engine import choose, preference
from keras_derivs.engine.target import Target, lengths, per_sample
from keras_derivs.graph import losses, private, values
from keras_derivs.layers import (
    arguments,
    calls,
    direct,
    explanation,
    model_shapes,
    modes,
    planning,
    solving,
)
from keras_derivs.layers.wrapping import WrappingLayer
from keras_derivs.reloading import lasting
from keras_derivs.typing import Any, Tensor


def register(layer):
    """Tell Keras, which loads files, of a layer."""
    return keras.saving.register_keras_serializable(package="keras_derivs")(lasting(layer))


@lasting
class DerivativeLayer(WrappingLayer):
    """Abstract: a layer that is called like the model it wraps and returns derivatives of it.

    A subclass names its `kind` of derivative, the entries of the output and of the inputs that
    it selects (`rows`, `columns`), and the per-sample shapes of its results (`shapes`). Its
    `__init__` ends in `self.check()`.
    """

    kind = None
    single = False  # whether results have no axis for the one output that there is
    coupled = False  # whether the rows of a batch may depend on each other
    linear = True  # whether its results are linear in the derivatives that they are made of
    of_all_inputs = False  # whether there is one result, of all of them
    is_derivative = True  # what other layers are told apart by

    def check(self):
        """Find what is wrong at construction, where the model tells its inputs already."""
        if self.model.built and getattr(self.model, "inputs", None):
            inputs = private.tree_of_inputs(self.model, self.model.inputs)
            self._plan_for(inputs, bool(self.training))

    def __call__(self, *args, **kwargs):
        calls.check_tensors(args, kwargs, self)
        self.check_tied(args)
        alone, directly = calls.not_inside_itself(self), direct.possible(self, args, kwargs)
        with alone, modes.contained(), losses.clearing_own_losses_only(self):
            return self.call(*args) if directly else super().__call__(*args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shapes of the results; the model is not run."""
        specs = model_shapes.specs(self.model, input_shape, self.compute_dtype)
        inputs, *_ = self.split(specs)
        outline = planning.outline(self, inputs, keras.tree.flatten(inputs))
        return keras.tree.map_structure(lambda x: tuple(x.shape), self._specs(outline, inputs))

    def compute_output_spec(
        self, inputs: Tensor, mask: Tensor = None, training: bool | None = None
    ) -> Tensor:
        inputs, _, labels = self.split(inputs)
        plan = self._plan_for(inputs, bool(self.training))
        self.entry(labels, plan.y)
        return self._specs(plan, inputs)

    def _specs(self, plan, inputs):
        flat = keras.tree.flatten(inputs)
        lead = flat[plan.wrt[0]].shape[:1] if plan.folded is None else plan.folded.lead(flat)
        results = [
            keras.KerasTensor((*lead, *shape), dtype=plan.xs[0].dtype)
            for shape in _flat(self._shapes(plan, plan.y, plan.xs))
        ]
        y = keras.KerasTensor((*lead, *plan.y.shape[1:]), dtype=plan.y.dtype)
        return self._finish(y, results, inputs)

    def call(self, inputs: Tensor, mask: Tensor = None, training: bool | None = None) -> Tensor:
        masks = None if mask is None else keras.tree.flatten(self.split(mask)[0])
        inputs, vectors, labels = self.split(inputs)
        mode = modes.of_call(self, training)
        plan = self._plan_for(inputs, mode.training)
        modes.warn(self, plan, mode)
        flat = keras.tree.flatten(inputs)
        fold = plan.folded and plan.folded.at(flat)
        shared = plan.request.shared
        own_rows = plan.wrt if shared else ()
        calls.check_batches(flat, plan.target.inputs, self.name, own_rows)
        masks = masks or [None] * len(flat)
        alone = mode.training or self.coupled or plan.findings.random or shared
        flat = flat if fold is None else fold.folded(flat)
        target = Target(
            self.model, inputs, flat, plan.wrt, plan.output, mode.training, masks, alone, fold,
            entry=self.entry(labels, plan.y), cancels=plan.cancels,
        )  # fmt: skip
        with modes.applied(self, mode):
            y, results = solving.solve(self, plan, target, vectors)
        calls.check_differentiable(y, "output", self.model.name, self.name)
        if fold is None:
            calls.check_rows(y, target.xs[0], self.model)
        order = plan.request.order
        results = compilation.guarded(results, self.model, plan.steps, order, self.name)
        return self.arrange(plan, target, y, results)

    def warn_of_modes(self, called=None):
        """Say once where value and derivative are not of one function."""
        modes.warn(self, self._latest, modes.of_call(self, called))

    def arrange(self, plan, target, y, results):
        """What the layer returns, from an engine's value and results."""
        shapes = _flat(self._shapes(plan, y, target.xs))
        results = [
            per_sample(result, shape)
            for result, shape in zip(self.select(plan, _flat(results)), shapes)
        ]
        if target.fold is not None:
            y, *results = map(target.fold.split_rows, (y, *results))
        return self._finish(y, results, target.structure)

    def rows(self, shape):
        """The selected entries of an output of this per-sample shape, and their shape."""
        return arguments.every_entry(shape), tuple(shape)

    def columns(self, coordinates):
        """The selected entries of each x, and their shape."""
        return [(at.indices, at.shape) for at in coordinates]

    def shapes(self, rows, columns):
        """The per-sample shape of each result, from the shapes of the selected entries."""
        return [rows + shape for shape in columns]

    def split(self, inputs):
        """What the model is called on, the vectors of a product, and labels."""
        return inputs, [], None

    def entry(self, labels, y):
        """The one entry of the output that the labels of a call choose; see `Target`."""
        return None

    def terms(self, coordinates, wrt):
        """The partial derivatives asked for, as tuples of (number of x, entry)."""
        return ()

    def with_directions(self, request, xs):
        """The request, with the directions of a sum; `xs` are the specs of its columns."""
        return request

    def with_vectors(self, plan, target, vectors):
        """The request with what a call brings: the vectors of a product."""
        return plan.request

    def select(self, plan, results):
        """What of an engine's results this layer returns."""
        return results

    def remarks(self):
        """What `explain()` tells of this layer beside the plan."""
        return []

    def pack(self, results, structure):
        """The results in the form of `wrt=`: one, a list, or the structure of the inputs."""
        if self.of_all_inputs:
            return results[0]
        if self.wrt is None and len(results) > 1:
            return keras.tree.pack_sequence_as(structure, results)
        return results if isinstance(self.wrt, list) or len(results) > 1 else results[0]

    def _finish(self, y, results, inputs):
        packed = self.pack(results, inputs)
        return (y, packed) if self.return_value else packed

    def _shapes(self, plan, y, xs):
        """The shapes of the results; `y` and `xs` are tensors, or their specs."""
        _, rows = self.rows(lengths(y)[1:])
        coordinates = [
            at if at.indices is not None else replace(at, shape=lengths(x)[1:])
            for at, x in ((at, xs[plan.wrt.index(at.position)]) for at in plan.coordinates)
        ]
        return self.shapes(rows, [shape for _, shape in self.columns(coordinates)])

    def _plan_for(self, inputs, training):
        flat = keras.tree.flatten(inputs)
        for x in flat:
            calls.check_dense(x, self.name)
        shapes = (tuple((*x.shape[1:], keras.backend.standardize_dtype(x.dtype))) for x in flat)
        beyond = model_shapes.beyond_one(self.model, flat)
        key = (training, audit.postponed(), beyond, preference.engine(), *shapes)
        make = lambda: self._made(inputs, flat, training)  # noqa: E731
        self._latest = plan = audit.planned(self._plans, key, self.model, make)
        if self.strategy == "auto":
            preference.note(choose.engine_of(plan.choice.strategy))
        return plan  # another thread may have set the latest by now

    def _made(self, inputs, flat, training):
        calls.check_shapes(inputs, self.model, self.name)
        with values.with_values(self.model):
            plan = planning.make(self, inputs, flat, training)
        for shape in _flat(self._shapes(plan, plan.y, plan.xs)):  # raises where none fits
            limits.check_result(shape, self.name)
        planning.warn(self, plan)
        return plan

    @property
    def plan(self):
        """What was asked and chosen for the inputs it met last; `None` before."""
        return self._latest

    def changed_to(self, plan):
        """Explain this plan from now on, in place of the one made before the call."""
        self._latest = plan

    def explain(self) -> str:
        """Which strategy computes this derivative, why, how many passes it costs, and what it
        lacks or what could not be checked."""
        plan = self._latest
        if plan is None:
            raise ValueError(
                f"'{self.name}' needs the shapes of its inputs to choose a strategy. Received: no "
                f"call so far. Call the layer once, then ask."
            )
        if not plan.final:
            plan = self._plan_for(plan.target.structure, plan.target.training)
        return explanation.explanation(self, plan)

    def __repr__(self):
        return explanation.shown(self)

    def _repr_html_(self):
        return self.explain()._repr_html_() if self._latest else html.escape(repr(self))


def _flat(nested):
    """The leaves of nested lists; a shape, a tuple, is a leaf."""
    if not isinstance(nested, list):
        return [nested]
    return [leaf for item in nested for leaf in _flat(item)]

"""The checks of a derivative layer: every entry of its result, against central differences.

The partial derivatives that a result is made of come from plain calls of the model; the layer
itself only puts them into their places.
"""

from dataclasses import replace
from functools import cached_property, partial

import keras
import numpy as np

from keras_derivs import backend
from keras_derivs.engine import choose
from keras_derivs.engine.target import Target
from keras_derivs.verify import checks
from keras_derivs.verify.compare import alike, as_numpy, columns, compared, rounding, worst
from keras_derivs.verify.differences import Truth
from keras_derivs.verify.double import double
from keras_derivs.verify.entries import Partials, assemble, check_count
from keras_derivs.verify.places import Places
from keras_derivs.verify.problem import Problem
from keras_derivs.verify.report import Check
from keras_derivs.verify.subject import Subject, Task

FEW_TERMS, SIGNS = 12, 6


class LayerSubject(Subject):
    """A derivative layer at a point. With `exact`, its model is taken as it is."""

    def __init__(self, layer, x, seed, clock, prefix="", exact=False):
        self.layer = layer
        inputs, vectors, labels = layer.split(x)
        self.model, given = (layer.model, inputs) if exact else double(layer.model, inputs)[:2]
        flat = [as_is(a) for a in keras.tree.flatten(given)]
        self.dtype, self.structure, self.places = flat[0].dtype, given, None
        self.vectors = [np.asarray(as_is(v), self.dtype) for v in vectors]
        self.labels = [] if labels is None else [as_is(labels)]
        try:
            self.auto, self.error = self.copy("auto"), None
            self.auto(self.called_on(flat))
            plan = self.auto.plan
            order, wrt, output = plan.request.order, plan.wrt, plan.output
        except Exception as error:  # what a user of the layer would meet
            self.error, order, wrt, output = error, 1, (0,), 0
        if self.error is None:
            check_count(plan.request, plan.xs)
        function, training = (self.model, given, flat, wrt, output), bool(layer.training)
        if self.error is None and plan.folded is not None:
            function = (*self._by_place(plan, flat), wrt, 0)
        problem = Problem(*function, training, seed=seed, clock=clock)
        super().__init__(problem, order, prefix)

    def _by_place(self, plan, flat):
        """The model as one of single rows, how it is called, and its inputs."""
        batch = tuple(keras.tree.flatten(self.auto(self.called_on(flat)))[0].shape[:2])
        self.places = Places(self.model, self.structure, plan, batch)
        rows = self.places.rows(flat)
        fold = plan.folded.fold
        self.vectors = [self._rows_of(v, batch, fold.shared, rows[-1]) for v in self.vectors]
        self.labels = [label.reshape(-1) for label in self.labels]
        return self.places, list(rows), rows

    @staticmethod
    def _rows_of(v, batch, shared, index):
        if shared:
            return v[index] if len(v) == batch[1] else v
        return v.reshape(-1, *v.shape[2:]) if v.shape[:2] == batch else v

    @property
    def words(self):
        return f"of '{self.layer.model.name}', {self.dtype}"

    def tasks(self):
        tasks = [Task(self, "it can be called", self._callable, fatal=True, settled=False)]
        if self.error is not None:
            return tasks
        of_model = checks.of_model(self.order)
        same = of_model[checks.against(self.order, "reverse")]
        name = "rows are independent"
        tasks.append(Task(self, name, of_model[name], of_model[name], True, settled=False))
        for strategy in choose.strategies(self.auto.plan.request):
            chosen = strategy == self.auto.plan.choice.strategy
            check = partial(self._against, strategy=strategy)
            tasks.append(Task(self, f"strategy '{strategy}'", check, same, needed=chosen))
        tasks.append(Task(self, "no jumps", of_model["no jumps"], of_model["no jumps"]))
        for mode in backend.MODES:
            name = f"the same by {mode}"
            tasks.append(Task(self, name, partial(self._alike, mode=mode), of_model[name]))
        return tasks

    def copy(self, strategy):
        """The same layer of the float64 copy of its model, by another strategy."""
        config = {**self.layer.get_config(), "return_value": False, "strategy": strategy}
        config["model"] = self.model
        kept = {key: value for key, value in config.items() if key not in ("tied", "dtype")}
        return type(self.layer).from_config(kept)

    def called_on(self, inputs):
        count, places = len(inputs[0]), self.places
        extras = [*self._of(self.vectors, count), *self._of(self.labels, count)]
        if places is None:
            given = keras.tree.pack_sequence_as(self.structure, inputs)
        else:
            given = places.given(inputs[:-1])
            extras = [places.spread(v) if len(v) == count else v for v in extras]
        num_vectors = len(self.vectors)
        vectors = [extras[:num_vectors]] if num_vectors else []
        return [given, *vectors, *extras[num_vectors:]] if extras else given

    def _of(self, tensors, count):
        """Vectors or labels of so many of the samples."""
        whole = len(self.whole.inputs[0]) if hasattr(self, "whole") else count
        return [v[:count] if len(v) == whole > count else v for v in tensors]

    def _callable(self, problem, name):
        if self.error is not None:
            return Check(name, "FAILED", note=checks.first_words(self.error))
        return Check(name, "ok")

    def _alike(self, problem, name, mode):
        arguments = self.called_on(problem.inputs)
        arguments = keras.tree.map_structure(keras.ops.convert_to_tensor, arguments)
        ways = self.auto, backend.compiled(self.auto, mode)
        expected, found = (map(as_numpy, keras.tree.flatten(way(arguments))) for way in ways)
        return alike(name, found, expected, rounding(problem, self.order))

    def _against(self, problem, name, strategy):
        layer = problem.runner(self.copy(strategy))
        arguments = self.called_on(problem.inputs)
        arguments = keras.tree.map_structure(keras.ops.convert_to_tensor, arguments)
        found = keras.tree.flatten(layer(arguments))
        if self.places is not None:
            found = [self.places.own(y, problem.inputs[-1]) for y in found]
        results = [
            compared(name, columns(as_numpy(y)), truth, size, problem, self.order, y.shape[1:])
            for y, (truth, size) in zip(found, self._true)
        ]
        return worst(results)

    @cached_property
    def _true(self):
        """[(Truth, scale), …] for the flat results."""
        problem, plan = self.settled[0], self.auto.plan
        flat = [problem.inputs[k] for k in plan.wrt]
        target = Target(self.model, self.structure, problem.inputs, plan.wrt, plan.output)
        request = self.auto.with_vectors(plan, target, self._of(self.vectors, len(flat[0])))
        request = replace(request, vectors=tuple(map(as_numpy, request.vectors)))
        partials, linear = Partials(problem, plan.wrt), self.auto.linear
        y = keras.ops.convert_to_tensor(partials.along(())["value"])
        labels = map(keras.ops.convert_to_tensor, self._of(self.labels, len(y)))
        if self.places is not None:
            labels = (label[:, None] for label in labels)
        target = replace(target, entry=self.auto.entry(next(labels, None), y))
        request = replace(request, rows=target.rows(y, request.rows))

        def arranged(part, signs=None):
            def find(*moves):
                found = partials.along(moves)
                sign = 1.0 if signs is None else signs.choice([-1.0, 1.0])
                return found[part] * sign + (0.0 if linear or part == "value" else found["value"])

            results = assemble(request, flat, find, positive=part != "value")
            results = keras.tree.map_structure(keras.ops.convert_to_tensor, results)
            packed = self.auto.arrange(plan, target, y, results)
            return [columns(as_numpy(x)) for x in keras.tree.flatten(packed)]

        def bound(part):
            """A curl takes differences: the bound of one holds for all signs of its terms.

            What is not linear changes by as much where its terms change.
            """
            few = len(partials.known) <= FEW_TERMS
            patterns = [None, *(np.random.default_rng(n) for n in range(SIGNS * few))]
            found = zip(values, *(arranged(part, signs) for signs in patterns))
            changes = ((one, 0 if linear else value) for value, *one in found)
            return [np.max(np.abs(np.stack(one) - value), axis=0) for one, value in changes]

        values = arranged("value")  # first, so that the sizes of all are known
        parts = zip(values, *map(bound, ("error", "kink", "size", "scale")))
        return [
            (Truth(value, error, kink > 0, size), scale)
            for value, error, kink, size, scale in parts
        ]


def as_is(x):
    return np.asarray(keras.ops.convert_to_numpy(x))

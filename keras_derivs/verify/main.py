"""Check derivatives against central differences."""

import itertools
import warnings
from dataclasses import replace

from keras_derivs import backend
from keras_derivs.layers.base import DerivativeLayer
from keras_derivs.typing import Any, Layer, Sequence
from keras_derivs.verify import arguments
from keras_derivs.verify.clock import Clock
from keras_derivs.verify.culprit import culprit
from keras_derivs.verify.double import double
from keras_derivs.verify.of_layer import LayerSubject
from keras_derivs.verify.of_model import subjects_of
from keras_derivs.verify.parts import parts
from keras_derivs.verify.report import Check, Report


def verify(
    layer: Layer,
    x: Any,
    order: int | None = None,
    seed: int = 0,
    verbose: bool = False,
    layers: str | Sequence[str] | None = None,
    budget: float | None = 30.0,
) -> Report:
    """Check the derivatives of a model, or a derivative layer, against central differences.

    Differences come from plain calls of a float64 copy of the model, with steps of all sizes and
    a bound of their own error. Of a model, derivatives of all float outputs up to `order` are
    taken along random directions of all float inputs, by every strategy; of a derivative layer
    every entry is compared. Every output of every sample is judged by its own scale. A sample
    near a kink, or where the model is too steep, is compared at a neighbour, or by shorter steps,
    and the report says so. It also tests that rows of the batch are independent, that derivatives
    are finite, right for much larger inputs, show all that the function does (no jumps) and are
    the same eagerly, in a graph and by XLA, and that Hessians are symmetric. Where something
    fails, the first layer at fault is looked for. The model is left as it was.

    Args:
        layer: A `keras.Model` or layer, or a derivative layer such as `Hessian(model)`.
        x: What it is called on, a few samples: costs are some thousand calls.
        order: The highest order to check of a model, 1, 2 or 3; 2 by default.
        seed: Seed of the random directions.
        verbose: Print each check when it is done.
        layers: A name, or a list of names, of layers inside of the model, derivative layers among
            them: each is checked alone, at what reaches it, instead of the model.
        budget: Seconds to spend, or `None` for no end. The most telling checks come first; what
            there is no time for is left out, and the report says so. What takes longer than a
            moment shows its progress on stderr.

    Returns:
        A report that is true if nothing failed and every derivative was compared, and that prints
        as a table. It has `ok`, `checks`, `failures`, `left_out`, `open` (not decided, or left
        out), `culprit`, the name of the first layer at fault, and `operations` that lose a
        derivative in it.

    Raises:
        ValueError: There is no float input or output, no sample, or one that is not finite, or an
            argument is not one of those.
        TypeError: `layer` is not a layer, or `x` holds something else than arrays.

    Example:

    >>> import keras, keras_derivs as kd, numpy as np
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "tanh")])
    >>> report = kd.verify(model, np.random.default_rng(0).normal(size=(4, 3)), order=1)
    >>> report.ok
    True
    """
    arguments.check_layer(layer, order)
    arguments.check_samples(x)
    names = arguments.check_names(layers, layer)
    clock = Clock(arguments.check_budget(budget))
    with warnings.catch_warnings(), backend.double():
        warnings.simplefilter("ignore")  # the report says it better
        subjects = _subjects(layer, x, order, seed, names, clock)
        return _Run(layer, subjects, verbose, clock).report()


def _subjects(layer, x, order, seed, names, clock):
    if isinstance(layer, DerivativeLayer) and names is None:
        return _of_layer(layer, x, seed, clock)
    model, given, outputs = double(layer, x)
    if names is None:
        return subjects_of(model, given, outputs, order or 2, seed, clock)
    found = []
    for name, part, inputs in parts(model, given, names):
        prefix = f"'{name}', "
        if isinstance(part, DerivativeLayer):
            arguments.check_derivative(part)
            found.append(LayerSubject(part, inputs, seed, clock, prefix, exact=True))
        else:
            outputs = part(inputs, training=False)
            found += subjects_of(part, inputs, outputs, order or 2, seed, clock, prefix)
    return found


def _of_layer(layer, x, seed, clock):
    """The layer itself, or its part for each of several outputs."""
    parts = getattr(getattr(layer, "by_output", None), "parts", [])
    if not parts:
        return [LayerSubject(layer, x, seed, clock)]
    return [LayerSubject(part, x, seed, clock, f"'{part.name}', ") for part in parts]


class _Run:
    """Runs the checks of all subjects, the most telling ones first."""

    def __init__(self, layer, subjects, verbose, clock):
        self.layer, self.subjects, self.verbose, self.clock = layer, subjects, verbose, clock
        self.culprit = self.failed = None

    def report(self):
        turns = itertools.zip_longest(*(subject.tasks() for subject in self.subjects))
        tasks = [task for turn in turns for task in turn if task is not None]
        checks = []
        for number, task in enumerate(tasks):
            self.clock.progress(number, len(tasks), task.title)
            checks.append(self._checked(task))
            if self.verbose:
                print(checks[-1], flush=True)
            if checks[-1].status == "FAILED" and task.fatal:
                break
        name, operations = self._culprit()
        self.clock.clear()
        notes = tuple(note for subject in self.subjects for note in subject.notes)
        subject = f"'{self.layer.name}' {self.subjects[0].words}"
        whole = self._seconds(tasks[: len(checks)], checks)
        return Report(subject, checks, name, operations, notes, self.clock.spent, whole)

    def _seconds(self, tasks, checks):
        """How long all checks take, about: as long as others where one was left out."""
        known = [n for subject in self.subjects for n in subject.seconds.values()]
        if not known:
            return 0.0
        usual, total = sum(known) / len(known), 0.0
        for task, check in zip(tasks, checks):
            seconds = task.subject.seconds.get(task.name, 0.0)
            if check.status == "left out":
                seconds = max(seconds, task.seconds(), usual)
            total += seconds / task.subject.part
        return max(total, self.clock.spent)

    def _checked(self, task):
        if self.clock.left < task.seconds():
            check = Check(task.name, "left out", note="no time left")
        else:
            check = task.run()
        if check.status == "FAILED" and self.failed is None and task.same is not None:
            self.failed = task
        return replace(check, name=task.title, needed=task.needed)

    def _culprit(self):
        if self.failed is None:
            return None, ()
        self.clock.progress(0, 1, "the layer at fault")
        return culprit(self.failed.subject.problem, self.failed.name, self.failed.same)

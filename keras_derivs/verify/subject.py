"""What is checked: a model, or a derivative layer, at a point, and the tasks of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from keras_derivs.verify import settle
from keras_derivs.verify.checks import run
from keras_derivs.verify.differences import PLACES

DERIVATIVES = 60  # times a plain call, for all checks of a pair of directions
SHARE = 0.25  # of the budget, for the values that differences are made of
# A check takes at least so many times as long as another one.
EXPECTED = {
    "far from the samples": (1, "order {}, strategy 'reverse'"),
    "the Hessian is symmetric": (0.5, "order {}, strategy 'reverse'"),
    "the same by tf.function": (1, "order {}, strategy 'reverse'"),
    "the same by XLA": (3, "the same by tf.function"),
}


@dataclass
class Task:
    """One check; `same` is the check of a model that would show the same fault in a part of it."""

    subject: Any
    name: str
    check: Callable
    same: Callable | None = None
    needed: bool = False  # without it nothing is known of the derivative
    fatal: bool = False  # without it nothing else can be checked
    settled: bool = True  # whether the samples may be moved off kinks

    @property
    def title(self):
        return self.subject.prefix + self.name

    def seconds(self):
        """How long it takes at least, where that is known."""
        factor, name = EXPECTED.get(self.name, (0, ""))
        return factor * self.subject.seconds.get(name.format(self.subject.order), 0.0)

    def run(self):
        start = time.monotonic()
        check = run(self.name, self._check, self.subject.whole)
        if check.status != "left out":
            self.subject.seconds[self.name] = time.monotonic() - start
        compared = self.settled and "strategy" in self.name
        return self.subject.noted(check) if compared and check.status == "ok" else check

    def _check(self, whole, name):
        subject = self.subject
        return self.check(subject.settled[0] if self.settled else subject.problem, name)


class Subject:
    """Abstract: one `Problem`, of derivatives up to `order`. A subclass defines `tasks()`."""

    def __init__(self, problem, order, prefix):
        self.whole, self.order, self.prefix = problem, order, prefix
        self.notes, self.seconds = [], {}
        self.part = 1.0  # of the work that all samples and directions are

    @cached_property
    def problem(self):
        """The problem, made so small that it fits into the budget."""
        problem, budget = self.whole, self.whole.clock.budget
        if budget is None:
            return problem
        seconds = self._cost(problem) / (SHARE * budget)
        if seconds > 1 or problem.plain.in_graphs:
            problem, seconds = problem.at(num_pairs=1), seconds / problem.num_pairs
        count = len(problem.inputs[0])
        fewer = max(1, int(count / seconds)) if seconds > 1 and problem.stacks else count
        self.part = fewer / count * problem.num_pairs / self.whole.num_pairs
        if fewer < count:
            self.notes.append(
                f"{self.prefix}only the first {fewer} of {count} samples were looked at: there is "
                f"no time for more"
            )
            problem = problem.at(inputs=[x[:fewer] for x in problem.inputs])
        return problem

    def _cost(self, problem):
        """Seconds for the values along all lines."""
        copies = min(problem.plain.copies, 16)
        moves = {k: problem.pairs[0][k][:, 0] for k in problem.wrt}
        for _ in range(2):  # the first call is slower
            start = time.monotonic()
            problem.along(moves, np.zeros(copies))
            seconds = time.monotonic() - start
        lines = problem.num_pairs * len(settle.directions(self.order))
        return seconds * (len(PLACES) * lines / copies + DERIVATIVES * problem.num_pairs)

    @cached_property
    def settled(self):
        """(problem, what was done with samples at kinks, which samples those are)."""
        return settle.settled(self.problem, self.order)

    def noted(self, check):
        """A check that is well, with what was done for it."""
        _, words, kinks = self.settled
        if check.note or not words:
            return replace(check, status="kink") if kinks.any() and check.note else check
        return replace(check, status="kink" if kinks.any() else check.status, note=words)

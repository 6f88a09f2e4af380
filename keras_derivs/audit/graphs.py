"""The traced operations of a model, and how much memory a run of it takes."""

import math

from keras_derivs import backend
from keras_derivs.audit import memory
from keras_derivs.audit.trial import POSITIVE, probe_of, sizes_of
from keras_derivs.engine.reverse import passes


class Graphs:
    """The traced operations of a model, on the first number of rows that it can be traced on."""

    def __init__(self, specified):
        self.specified, self.known = specified, {}

    def traced(self, num_rows):
        """What is known of the operations; `None` if the model cannot be traced on these rows."""
        if num_rows not in self.known and self.size is None:
            target, wrt = self.specified, self.specified.wrt
            made = probe_of(target, wrt, num_rows, POSITIVE)
            run = lambda inputs: passes.run(target.given(inputs))  # noqa: E731
            self.known[num_rows] = backend.traced(run, made.inputs, wrt)
        return self.known.get(num_rows if self.size is None else self.size)

    @property
    def size(self):
        """The number of rows of the trace."""
        return next((n for n, graph in self.known.items() if graph is not None), None)

    def steps(self, num_rows):
        return [] if self.traced(num_rows) is None else self.traced(num_rows)[0]

    def inside(self, num_rows):
        """The steps that count from the second order on, or `None`: not known."""
        return [] if self.traced(num_rows) is None else self.traced(num_rows)[1]

    def too_large(self, num_rows):
        """In words, how much more memory than allowed a run would take; `None` if it fits."""
        model, fixed = self.specified.model, bool(sizes_of(self.specified, ()))
        taken = memory.of_specs(model, self._unknown(num_rows))
        most = memory.MOST_BYTES if fixed else memory.most_bytes(model, num_rows)
        if taken <= most and self.traced(num_rows) is not None:
            taken = self.traced(num_rows)[2] * num_rows / self.size
        elif taken <= most and num_rows > memory.MOST_ROWS and not fixed:
            taken = math.inf  # not known
        return f"{num_rows} of them would take {memory.words(taken)}" if taken > most else None

    def _unknown(self, num_rows):
        """The length of an axis that is open: of two axes of rows, each has a part of them."""
        fold = self.specified.fold
        return num_rows if fold is None else max(fold.batch[0], math.isqrt(num_rows))

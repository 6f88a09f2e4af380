"""The checks of all outputs of a model."""

import keras
import numpy as np

from keras_derivs.verify import checks
from keras_derivs.verify.problem import Problem
from keras_derivs.verify.subject import Subject, Task

AS_IT_IS = ("rows are independent", "values are finite")  # checked at the samples themselves


def subjects_of(model, given, outputs, order, seed, clock, prefix=""):
    """One subject for each float output."""
    inputs = [np.asarray(keras.ops.convert_to_numpy(a)) for a in keras.tree.flatten(given)]
    wrt = tuple(n for n, a in enumerate(inputs) if np.issubdtype(a.dtype, np.floating))
    outputs = keras.tree.flatten(outputs)
    chosen = [n for n, y in enumerate(outputs) if keras.backend.is_float_dtype(y.dtype)]
    if not wrt or not chosen:
        raise ValueError(
            f"`verify` needs a float input and a float output. Received: inputs "
            f"{[a.dtype.name for a in inputs]} and outputs "
            f"{[keras.backend.standardize_dtype(y.dtype) for y in outputs]} of '{model.name}'. "
            f"Give numbers as floats, `x.astype('float32')`; cut off what turns integers into "
            f"floats, such as an embedding."
        )
    subjects = []
    for output in chosen:
        problem = Problem(model, given, inputs, wrt, output, seed=seed, clock=clock)
        name = "" if len(outputs) == 1 else f"output {output}, "
        subjects.append(ModelSubject(problem, order, prefix + name))
    return subjects


class ModelSubject(Subject):
    """One output of a model, as a function of all its float inputs."""

    @property
    def words(self):
        return f"to order {self.order}, {self.whole.inputs[self.whole.wrt[0]].dtype}"

    def tasks(self):
        return [
            Task(
                self,
                name,
                check,
                same=check,
                needed=name in AS_IT_IS or "'reverse'" in name,
                settled=name not in AS_IT_IS,
            )
            for name, check in checks.of_model(self.order).items()
        ]

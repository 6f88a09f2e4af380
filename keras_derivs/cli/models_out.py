"""`derive` and `export`: models that go on elsewhere."""

import math
from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_derivs
from keras_derivs import symbolic
from keras_derivs.cli import models
from keras_derivs.cli.console import show
from keras_derivs.cli.parser import KINDS
from keras_derivs.graph import private
from keras_derivs.tables import Problem, chosen
from keras_derivs.tables.problem import reported
from keras_derivs.tables.writing import beside


def derive(arguments):
    """Save a model whose outputs are those of another one and derivatives of them."""
    path = Path(arguments.file)
    asked = [(kind, spec) for kind in KINDS for spec in getattr(arguments, kind)]
    model = models.load(arguments.model)
    outputs = _Outputs(model, models.features_of(model, arguments.model), arguments.features)
    with reported(arguments.model):
        for kind, spec in asked:
            outputs.add(kind, spec)
        with beside(path) as file:
            outputs.model().save(file)
    rows = [[name, str(tuple(y.shape))] for name, y in outputs.tensors.items()]
    show(f"Outputs of {path}", ["name", "shape"], rows)


class _Outputs:
    """The outputs of a model, by name, and the derivatives that join them."""

    def __init__(self, model, found, names):
        self.inputs = private.tree_of_inputs(model, model.inputs)
        self.xs, self.parts = keras.tree.flatten(self.inputs), found.inputs
        self.features = self._named(found.input_names, names)
        flat = keras.tree.flatten(private.tree_of_outputs(model))
        floats = [y for y in flat if keras.backend.is_float_dtype(y.dtype)]
        self.ys = dict(zip((part.name for part in found.outputs), floats))
        self.found, self.name = found, model.name
        whole = len(flat) == len(floats)
        self.tensors = dict(self.ys if whole else zip(model.output_names, flat))

    def _named(self, defaults, names):
        given = names.split(",") if names else defaults
        if len(given) != len(defaults):
            raise Problem(f"--features: needs {len(defaults)} names, there are {len(given)}")
        given = [name.strip() for name in given]
        if len(set(given)) < len(given):
            raise Problem(f"--features {names!r}: two features have the same name")
        return given

    def model(self):
        return keras.Model(self.inputs, self.tensors, name=self.name)

    def add(self, kind, spec):
        """Add a derivative that is asked for as [NAME=][OUTPUT][/INPUTS]."""
        name, _, rest = spec.rpartition("=")
        output, slash, inputs = rest.partition("/")
        if not slash and output not in self._output_names and output and self._is_input(output):
            output, inputs = "", output
        label, y = self._output(output, spec)
        if kind == "partial":
            return self._add_partial(name, label, y, inputs, spec)
        chosen_ones = self._inputs(inputs)
        xs = [x for _, x in chosen_ones]
        if len(xs) > 1 and kind == "hessian":
            raise Problem(f"{spec!r}: a Hessian needs one input tensor: OUTPUT/INPUTS")
        results = getattr(symbolic, kind)(y, xs if len(xs) > 1 else xs[0])
        if not isinstance(results, list):
            return self._put(name or f"{kind}_{label}", results, spec)
        for (x, _), result in zip(chosen_ones, results):
            self._put(f"{name or f'{kind}_{label}'}_{x}", result, spec)
        return None

    def _add_partial(self, name, label, y, inputs, spec):
        parts = [part for part in inputs.split(",") if part]
        if not parts:
            raise Problem(f"--partial {spec!r}: needs features, such as u_xx=u/x,x")
        numbers = [chosen(part, self.features, "--partial") for part in parts]
        if any(len(number) != 1 for number in numbers):
            raise Problem(f"--partial {spec!r}: needs single features, such as u_xx=u/x,x")
        entries = {number: self._features([number])[0][1] for (number,) in numbers}
        short = "".join(self.features[number] for (number,) in numbers)
        result = symbolic.diff(y, *(entries[number] for (number,) in numbers))
        return self._put(name or f"{label}_{short}", result, spec)

    def _put(self, name, tensor, spec):
        if name in self.tensors:
            raise Problem(f"{spec!r}: there is an output {name!r} already; write NAME={spec}")
        self.tensors[name] = tensor

    @property
    def _output_names(self):
        return {*self.ys, *self.found.output_names}

    def _is_input(self, text):
        try:
            chosen(text, self.features, "inputs")
        except Problem:
            return text in {part.name for part in self.parts}
        return True

    def _output(self, text, spec):
        """(name, tensor) of an output, or of one entry of it."""
        if not text and len(self.ys) == 1:
            return next(iter(self.ys.items()))
        if text in self.ys:
            return text, self.ys[text]
        if not text:
            raise Problem(f"{spec!r}: needs one of the outputs {', '.join(self.ys)}")
        (number, *others) = chosen(text, self.found.output_names, "outputs")
        if others:
            raise Problem(f"{spec!r}: needs one output")
        return _file_name(self.found.output_names[number]), self._entry(number)

    def _entry(self, number):
        for part, y in zip(self.found.outputs, self.ys.values()):
            if number < part.size:
                return ops.reshape(y, (-1, part.size))[:, number : number + 1]
            number -= part.size
        raise AssertionError

    def _inputs(self, text):
        """[(name, tensor), …]: whole inputs where nothing, or their name, is given."""
        whole = {part.name: x for part, x in zip(self.parts, self.xs) if part.is_float}
        if not text:
            return list(whole.items())
        if text in whole:
            return [(text, whole[text])]
        return self._features(chosen(text, self.features, "inputs"))

    def _features(self, numbers):
        """The features of these numbers, those of each input tensor in one."""
        found, start = [], 0
        for part, x in zip(self.parts, self.xs):
            inside = [number - start for number in numbers if 0 <= number - start < part.size]
            start += part.size
            if inside:
                flat = x if len(part.shape) == 1 else ops.reshape(x, (-1, math.prod(part.shape)))
                found.append((part.name, ops.take(flat, np.asarray(inside, "int32"), axis=1)))
        return found


def _file_name(name):
    """A name without brackets, for an output of a model."""
    return name.replace("[", "_").replace("]", "").replace(",", "_")


def export(arguments):
    """Write a model for another runtime."""
    model = models.load(arguments.model)
    samples = models.samples(arguments, model)
    with reported(arguments.file):
        found = keras_derivs.export(model, arguments.file, arguments.format, samples)
    print(f"Written: {arguments.file}; its outputs differ by {found:.1e} of their size at most")

"""Models from files, and the columns that feed them."""

import os
import re
import zipfile
from dataclasses import dataclass

import keras
import numpy as np

from keras_derivs.features import Features, features
from keras_derivs.graph import private
from keras_derivs.tables import Problem, chosen, opened
from keras_derivs.tables.problem import reported


def load(path):
    """The model in a .keras file, in Keras's safe mode: no code of the file runs."""
    if os.path.isfile(path) and not zipfile.is_zipfile(path):
        raise Problem(
            f"{path}: no Keras model is in this file, which is no archive. Write one with "
            f"`model.save('NAME.keras')`."
        )
    with reported(path):
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def features_of(model, path, shapes=None):
    with reported(path):
        return features(model, shapes)


@dataclass(frozen=True)
class Source:
    """A table that feeds a model.

    `columns` are those of the table, one for each feature of the model; `names` are what the
    features are called, `outputs` what the entries of the outputs are called.
    """

    table: object
    columns: list
    names: list
    outputs: list
    found: Features

    def chunks(self):
        dtype = self.found.model.inputs[0].dtype
        for first, numbers, done in self.table.chunks(self.columns):
            with np.errstate(over="ignore"):
                wrong = np.argwhere(np.isinf(numbers.astype(dtype)))
            if len(wrong):
                row, column = first + wrong[0][0], self.table.names[self.columns[wrong[0][1]]]
                where = f"{self.table.path}: row {row}, column {column!r}"
                raise Problem(f"{where} is too large for the {dtype} of the model")
            yield first, numbers, done

    def head(self, count):
        """The first rows."""
        for _, numbers, _ in self.chunks():
            return numbers[:count]


def source(arguments, model):
    """The `Source` that the arguments `data` and `columns` name."""
    table = opened(arguments.data)
    found = features_of(model, arguments.model, _open_shapes(model, table))
    texts = [part.name for part in found.inputs if "string" in part.dtype]
    if texts:
        raise Problem(f"{arguments.model}: input {texts[0]!r} takes text, a table brings numbers")
    columns, targets = _columns(arguments, table, found, model)
    if len(columns) != len(found.input_names):
        raise Problem(
            f"{arguments.data}: the model takes {len(found.input_names)} features, and there are "
            f"{len(columns)} columns for them; choose with --columns"
        )
    named = [table.names[column] for column in columns]
    numbered = all(name.endswith("]") for name in named)
    outputs = [table.names[column] for column in targets]
    names = found.input_names if numbered else named
    return Source(table, columns, names, outputs or found.output_names, found)


def _columns(arguments, table, found, model):
    """The columns of the features, and those that hold values of the outputs.

    Features are those chosen, or those with the names of the inputs; else all others than the
    outputs, in the order of the table. Outputs are known by their names; where Keras gave these,
    `--outputs` may call the outputs by the names of columns.
    """
    names, features = table.names, found.input_names
    if arguments.columns is not None:
        return chosen(arguments.columns, names, "--columns"), []
    if set(features) <= set(names):
        return [names.index(name) for name in features], []
    known = {*found.output_names, *(part.name for part in found.outputs)}
    targets = []
    if not known & set(names) and not any(_is_named(model, part.name) for part in found.outputs):
        targets = _targets(getattr(arguments, "outputs", None), names, len(found.output_names))
        known |= {names[column] for column in targets}
    return [n for n, name in enumerate(names) if name not in known], targets


def _targets(spec, names, entries):
    """The columns that are named as outputs; a number or a range counts outputs, not columns."""
    named = (spec or "").split(",")
    named = [spec] if spec in names else [name.strip() for name in named]
    whole = set(named) <= set(names) and len(named) == len(set(named)) == entries
    return [names.index(name) for name in named] if whole else []


def _is_named(model, output):
    """Whether somebody chose the name of an output: Keras calls a layer as its class is called."""
    if isinstance(private.tree_of_outputs(model), dict):
        return True
    kinds = [type(layer).__name__ for layer in model.layers if layer.name == output]
    plain = re.sub(r"_\d+$", "", output).replace("_", "")
    return any(kind.lower() != plain for kind in kinds)


def _open_shapes(model, table):
    """The shape of a row of the data, for a model of one input that leaves an axis open."""
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if len(inputs) != 1 or None not in inputs[0].shape[1:]:
        return None
    shape, needed = table.shape or (len(table.names),), inputs[0].shape[1:]
    if len(shape) != len(needed) or any(n not in (None, m) for n, m in zip(needed, shape)):
        raise Problem(
            f"{table.path}: the model takes samples of shape {needed}, and the rows of the table "
            f"have shape {shape}; give an array of samples, .npy or .npz"
        )
    return [shape]


def samples(arguments, model, count=8):
    """A few samples for `verify` and `compare`: of the data, or drawn at random."""
    if arguments.data is not None:
        given = source(arguments, model)
        return arranged(given.found, given.head(count))
    found = features_of(model, arguments.model, guessed_shapes(model))
    random = np.random.default_rng(0)
    numbers = random.normal(size=(count, len(found.input_names)))
    whole = np.setdiff1d(np.arange(numbers.shape[1]), found.differentiable)
    numbers[:, whole] = random.integers(0, 2, (count, len(whole)))
    return arranged(found, numbers)


def guessed_shapes(model):
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    return [tuple(8 if n is None else n for n in x.shape[1:]) for x in inputs]


def arranged(found, numbers):
    """Rows of features as the model takes them."""
    ends = np.cumsum([part.size for part in found.inputs])
    parts = np.split(numbers, ends[:-1], axis=1)
    arrays = [
        part.reshape(-1, *kind.shape).astype(kind.dtype if kind.dtype != "bfloat16" else "float32")
        for part, kind in zip(parts, found.inputs)
    ]
    return found.packed(arrays)

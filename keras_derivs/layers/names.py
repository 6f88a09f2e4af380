"""The names of the inputs and outputs of a model, and which one a choice means."""

import keras

from keras_derivs import limits


def input_names(model, structure):
    """A name for each flat input: its path of keys, else the name of the model's input."""
    return _names(structure, [x.name for x in getattr(model, "inputs", None) or []])


def output_names(model, outputs):
    """A name for each flat output: its path of keys, else the name of the model's output."""
    return _names(outputs, getattr(model, "output_names", None) or [])


def _names(structure, names):
    paths = [path for path, _ in keras.tree.flatten_with_path(structure)]
    keys = ["/".join(map(str, path)) for path in paths]
    if len(names) != len(keys):
        return keys
    named = [any(isinstance(key, str) for key in path) for path in paths]
    return [key if by_key else name for key, by_key, name in zip(keys, named, names)]


def position_of(choice, names, name, model):
    """The position that a name, a path or a number stands for."""
    if isinstance(choice, int) and -len(names) <= choice < len(names):
        return choice % len(names)
    found = [n for n, path in enumerate(names) if path == choice] or [
        n for n, path in enumerate(names) if path.split("/")[-1] == choice
    ]
    if len(found) == 1:
        return found[0]
    if found:
        places = {names[n]: n for n in found}
        raise ValueError(
            f"`{name}=` needs a name that stands for one tensor. Received: {choice!r}, which is "
            f"the name of several of '{model.name}': {', '.join(places)}. Choose by path, such as "
            f"{names[found[0]]!r}, or by position: {list(places.values())}."
        )
    raise ValueError(
        f"`{name}=` needs one of {names} or a position below {len(names)}. Received: "
        f"{limits.shown(choice)} for '{model.name}'. Choose one of them."
    )

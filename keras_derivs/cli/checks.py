"""What can be told of the arguments from themselves and from what lies on the disk.

It needs no Keras, so that nobody waits for Keras to hear of a wrong name.
"""

from pathlib import Path

from keras_derivs.cli.parser import KINDS
from keras_derivs.tables.problem import Problem
from keras_derivs.tables.reading import check_readable
from keras_derivs.tables.writing import check_place, check_suffix


def check(arguments):
    """Raise a `Problem` with the files that a command reads or writes."""
    if arguments.command == "derive":
        _check_derive(arguments)
    if arguments.command == "export":
        _check_exported(arguments)
    given = vars(arguments)
    if "plot" in given:
        _check_results(arguments)
    if "model" in given:
        _check_model(arguments.model)
    if given.get("data") is not None:
        check_readable(arguments.data)


def _check_model(path):
    path = Path(path)
    if path.suffix != ".keras":
        raise Problem(f"{path}: needs a model saved as .keras")
    if not path.is_file():
        raise Problem(f"{path}: no such file")


def _check_results(arguments):
    if arguments.file:
        check_suffix(arguments.file)
    if arguments.plot:
        _check_picture(arguments.plot)
    for path in filter(None, (arguments.file, arguments.plot)):
        _check_written(path, arguments.data, arguments.model)
    if arguments.file and arguments.plot and Path(arguments.file) == Path(arguments.plot):
        raise Problem(f"{arguments.file}: cannot be both the table and the picture")


def _check_picture(path):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Problem("--plot needs matplotlib: pip install keras_derivs[plots]") from error
    known = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in known:
        raise Problem(f"{path}: needs the suffix of a picture, such as .png, .svg or .pdf")


def _check_written(path, *read):
    """A file can be written there, and is none of those that are read."""
    if any(_same_file(path, other) for other in read if other is not None):
        raise Problem(f"{path}: would be overwritten, and is read")
    check_place(path)


def _same_file(one, other):
    one, other = Path(one), Path(other)
    return one.exists() and other.exists() and one.samefile(other)


def _check_exported(arguments):
    path = Path(arguments.file)
    at = path / "saved_model.pb" if path.is_dir() else path  # a SavedModel may be renewed
    _check_written(at, arguments.data, arguments.model)


def _check_derive(arguments):
    path = Path(arguments.file)
    if path.suffix != ".keras":
        raise Problem(f"{path}: needs the suffix .keras")
    if not any(getattr(arguments, kind) for kind in KINDS):
        options = ", ".join(f"--{kind.replace('_', '-')}" for kind in KINDS)
        raise Problem(f"derive needs a derivative: {options}")
    _check_written(path, arguments.model)

"""The start of a command, before Keras is imported.

Help, and what is wrong with the arguments or the names of files, need no Keras and do not wait
for it. Log lines of TensorFlow come while it is imported, before any log level counts: so while
a command imports Keras, the descriptor of stderr leads to a file; if the import fails, what it
holds is printed.
"""

import logging
import os
import sys
import tempfile
from contextlib import contextmanager

from keras_derivs.cli.checks import check
from keras_derivs.cli.main import failed
from keras_derivs.cli.parser import parse
from keras_derivs.tables.problem import Problem, one_line

COMMAND, MODULE = "keras-derivs", "keras_derivs"


def start():
    """Where a command runs, check its arguments and import Keras without log lines."""
    if is_command(sys.argv, sys.orig_argv):
        _checked(parse())
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # PyTorch's threads sleep where they wait for each other: on cores that others use, too,
        # waiting in a loop makes a training step of the demo some 50 times as long
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # of retraced functions
        with silence():
            import keras  # noqa: F401


def _checked(arguments):
    try:
        check(arguments)
    except Problem as problem:
        sys.exit(failed(arguments.command, one_line(problem)))


def is_command(argv, original):
    """Whether this is `keras-derivs` or `python -m keras_derivs`; the latter is found while
    Python looks for the module to run."""
    program = os.path.basename(argv[0]) if argv else ""
    if program == "-m":
        after = original[original.index("-m") + 1 :] if "-m" in original else []
        return after[:1] in ([MODULE], [f"{MODULE}.__main__"]) or f"-m{MODULE}" in original
    return program.removesuffix(".exe").removesuffix("-script.py") == COMMAND


@contextmanager
def silence():
    """Keep what is written to the descriptor of stderr, and print it if an error comes."""
    sys.stderr.flush()
    try:
        real = os.dup(2)
    except OSError:  # a process without stderr
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            _restore(real)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        else:
            _restore(real)
        finally:
            os.close(real)


def _restore(real):
    sys.stderr.flush()
    os.dup2(real, 2)

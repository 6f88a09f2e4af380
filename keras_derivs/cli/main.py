"""The command line and its exit status."""

import importlib
import sys
import warnings

from keras_derivs.cli.checks import check
from keras_derivs.cli.parser import PROGRAM, parse
from keras_derivs.tables.problem import Problem, one_line


def main(arguments=None):
    """Run a command.

    Args:
        arguments: The words of the command line; those of the process by default.

    Returns:
        The exit status: 0, 1 where `verify` found something wrong, 2 for a wrong argument or a
        file that cannot be used, 3 where `verify` could not decide, 130 for an interrupt.
    """
    try:
        chosen = parse(arguments)
    except SystemExit as stop:
        return stop.code or 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        try:
            check(chosen)
            status = _function(chosen.run)(chosen)
        except Problem as problem:
            return failed(chosen.command, one_line(problem))
        except KeyboardInterrupt:
            return failed(chosen.command, "interrupted", 130)
    ours = [str(warning.message) for warning in told if warning.category is UserWarning]
    for text in dict.fromkeys(ours):
        print(f"note: {' '.join(text.split())}", file=sys.stderr)
    return status or 0


def _function(path):
    module, name = path.split(".")
    return getattr(importlib.import_module(f"keras_derivs.cli.{module}"), name)


def failed(command, words, status=2):
    """Print what is wrong in one line, and return the exit status."""
    print(f"{PROGRAM} {command}: {words}", file=sys.stderr)
    return status

"""What is wrong with a file or with a choice of columns, in one line."""

import re
from contextlib import contextmanager

COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # Keras prints some words in bold


class Problem(Exception):
    """Something that the user of a command can put right."""


@contextmanager
def reported(what):
    """Any error within is a problem with `what`."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        raise Problem(f"{what}: {one_line(error)}") from error


def one_line(error):
    """The message of an error, without line breaks and not too long."""
    plain = COLOURS.sub("", str(error))
    words = " ".join(plain.split()) or type(error).__name__
    return words if len(words) <= 400 else words[:400] + " …"

"""Functions that are exchanged while a derivative is computed, in the thread that computes it."""

import contextlib
import functools
import threading

_state = threading.local()


def active():
    """Whether this thread computes a derivative."""
    return getattr(_state, "depth", 0) > 0


@contextlib.contextmanager
def exactly():
    """While this is open, `active` is true in this thread."""
    depth = getattr(_state, "depth", 0)
    _state.depth = depth + 1
    try:
        yield
    finally:
        _state.depth = depth


def plain(function):
    """What `function` was before `switched`."""
    return getattr(function, "_keras_derivs_plain", function)


def switched(original, exact):
    """A function that calls `exact` while a derivative is computed, else the original.

    An original that is such a function itself is replaced by what it stands for, so that a module
    may be loaded any number of times.
    """
    original = plain(original)

    @functools.wraps(original)
    def function(*args, **kwargs):
        return (exact if active() else original)(*args, **kwargs)

    function._keras_derivs_plain = original
    return function

"""Functions that are exchanged while a derivative is computed, in the thread that computes it."""

import functools

from keras_derivs.backend.switch import Switch

# on where a derivative is computed; kept when this module is loaded again
exactly = globals().get("exactly") or Switch()


def plain(function):
    """What `function` was before `switched`."""
    return getattr(function, "_keras_derivs_plain", function)


def switched(original, other, switch=exactly):
    """A function that calls `other` while the switch is on (by default: while a derivative is
    computed), else the original.

    An original that is such a function itself is replaced by what it stands for, so that a module
    may be loaded any number of times.
    """
    original = plain(original)

    @functools.wraps(original)
    def function(*args, **kwargs):
        return (other if switch.on else original)(*args, **kwargs)

    function._keras_derivs_plain = original
    return function

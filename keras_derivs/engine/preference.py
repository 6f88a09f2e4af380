"""Which engine `strategy="auto"` takes while a model is exported.

A file format may refuse what one engine computes with: another trial then prefers the other.
"""

import contextlib
import threading

_local = threading.local()


class Preference:
    """The preferred engine, `"taylor"`, `"tape"` or `None`, and those that "auto" took."""

    def __init__(self, engine):
        self.engine, self.taken = engine, set()


@contextlib.contextmanager
def preferring(engine):
    """Inside, "auto" takes that engine wherever it can; gives the `Preference`."""
    outer, _local.preference = getattr(_local, "preference", None), Preference(engine)
    try:
        yield _local.preference
    finally:
        _local.preference = outer


def engine():
    """The engine that is preferred here, if one is."""
    preference = getattr(_local, "preference", None)
    return preference and preference.engine


def note(engine):
    """Tell the context that "auto" took this engine."""
    preference = getattr(_local, "preference", None)
    if preference:
        preference.taken.add(engine)

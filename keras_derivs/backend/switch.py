"""A switch that is on in one thread while a context is open."""

import contextlib
import threading


class Switch:
    """Call it for the context; contexts may nest."""

    def __init__(self):
        self._local = threading.local()

    @property
    def on(self):
        return getattr(self._local, "depth", 0) > 0

    @contextlib.contextmanager
    def __call__(self):
        depth = getattr(self._local, "depth", 0)
        self._local.depth = depth + 1
        try:
            yield
        finally:
            self._local.depth = depth

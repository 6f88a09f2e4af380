"""Keep float64 while a derivative is computed.

On JAX and PyTorch, Keras gives many results in float32 where an argument is in float64 (as JAX
does unless `jax_enable_x64` is set). An exact derivative in float64 would be rounded by that.
"""

import contextlib
import threading

from keras.src.backend.common import dtypes

_active = threading.local()


class _Narrowing(dict):
    """Keras's table of 64-bit types and the 32-bit types in their place; empty within `wide`."""

    def get(self, key, default=None):
        return default if getattr(_active, "depth", 0) else super().get(key, default)


@contextlib.contextmanager
def wide():
    depth = getattr(_active, "depth", 0)
    _active.depth = depth + 1
    try:
        yield
    finally:
        _active.depth = depth


dtypes.BIT64_TO_BIT32_DTYPE = _Narrowing(dtypes.BIT64_TO_BIT32_DTYPE)

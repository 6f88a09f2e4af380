"""Keep float64 while a derivative is computed.

On JAX and PyTorch, Keras gives many results in float32 where an argument is in float64 (as JAX
does unless `jax_enable_x64` is set), and on TensorFlow in complex64 where one is in complex128. An
exact derivative in float64 would be rounded by that.
"""

from keras_derivs.backend.switch import Switch
from keras_derivs.graph.private import dtypes

wide = globals().get("wide") or Switch()  # kept when this module is loaded again


class _Narrowing(dict):
    """Keras's table of 64-bit types and the 32-bit types in their place; empty within `wide`."""

    def get(self, key, default=None):
        return default if wide.on else super().get(key, default)


dtypes.BIT64_TO_BIT32_DTYPE = _Narrowing(dtypes.BIT64_TO_BIT32_DTYPE)

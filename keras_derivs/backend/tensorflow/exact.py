"""Run a model so that its derivatives are exact and its state stays untouched.

While a scope is open, TensorFlow takes the gradients of `gradients.py` in place of its own, and
the functions of `functions.py` are computed by formulas that are exact at every order. Both hold
only in the thread that opened the scope. At kinks the convention is that of Taylor polynomials,
see `engine/taylor/rules_piecewise.py`.
"""

import contextlib

from keras_derivs.backend.defaults import precise
from keras_derivs.backend.stateless import stateless
from keras_derivs.backend.tensorflow import (  # noqa: F401  # the rules are registered
    exporting,
    functions,
    gradients_arrays,
    gradients_elementwise,
    gradients_extrema,
    gradients_images,
    gradients_matrices,
    gradients_powers,
    gradients_transforms,
    portable_arrays,
    portable_elementwise,
    portable_images,
    portable_slices,
    quotients,
    unselected,
)
from keras_derivs.backend.tensorflow.gradients import install
from keras_derivs.backend.tensorflow.held import again


@contextlib.contextmanager
def scope():
    """Exact derivatives, and no update of any variable, seed or loss."""
    again()
    with precise(), stateless():
        yield


install()
functions.install()
quotients.install()
unselected.install()
exporting.install()

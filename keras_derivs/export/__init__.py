"""Files of models with derivatives that other programs run, checked by their own runtimes."""

from keras_derivs.export import through_keras  # noqa: F401
from keras_derivs.export.main import export  # noqa: F401

"""The command line: `keras-derivs`, or `python -m keras_derivs`."""

from keras_derivs.cli.main import main

__all__ = ["main"]

"""Check derivatives against central differences."""

from keras_derivs.verify.main import verify

__all__ = ["verify"]

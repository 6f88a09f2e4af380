"""What a Taylor rule is written with.

A layer written in `keras.ops` needs no rule. One that is not, such as a `Lambda` around a
function of TensorFlow, gets one from `keras_derivs.taylor_rule`: a function that is called with
the layer and `Polynomial`s in the place of tensors. Polynomials add and multiply with each other
and with tensors and know `shape`, `dtype` and `value`; what else is needed stands here.
"""

from keras_derivs.engine.taylor.polynomial import Polynomial
from keras_derivs.engine.taylor.propagate import call
from keras_derivs.engine.taylor.rules import UnsupportedOperation, taylor_rule
from keras_derivs.engine.taylor.series import elementwise, integrate

__all__ = ["Polynomial", "UnsupportedOperation", "call", "elementwise", "integrate", "taylor_rule"]

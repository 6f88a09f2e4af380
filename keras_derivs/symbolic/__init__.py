"""Derivatives between symbolic tensors: a function for each, and `fuse`."""

from keras_derivs.symbolic.first_order import curl, divergence, gradient, jacobian, sub_jacobian
from keras_derivs.symbolic.fuse import fuse
from keras_derivs.symbolic.penalties import gradient_penalty, jacobian_penalty, log_determinant
from keras_derivs.symbolic.products import hvp, jvp, vjp
from keras_derivs.symbolic.second_order import hessian, hessian_diagonal, laplacian
from keras_derivs.symbolic.terms import diff, partials

__all__ = [
    "curl",
    "diff",
    "divergence",
    "fuse",
    "gradient",
    "gradient_penalty",
    "hessian",
    "hessian_diagonal",
    "hvp",
    "jacobian",
    "jacobian_penalty",
    "jvp",
    "laplacian",
    "log_determinant",
    "partials",
    "sub_jacobian",
    "vjp",
]

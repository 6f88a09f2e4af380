"""Derivatives between symbolic tensors: a function for each, and `fuse`."""

from keras_derivs.symbolic.functions import (
    curl,
    diff,
    divergence,
    gradient,
    gradient_penalty,
    hessian,
    hessian_diagonal,
    hvp,
    jacobian,
    jacobian_penalty,
    jvp,
    laplacian,
    log_determinant,
    partials,
    sub_jacobian,
    vjp,
)
from keras_derivs.symbolic.fuse import fuse

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

"""Derivatives between symbolic tensors: a function for each, and `fuse`."""

from keras_derivs.symbolic.functions import (
    curl,
    diff,
    divergence,
    gradient,
    hessian,
    hessian_diagonal,
    hvp,
    jacobian,
    jvp,
    laplacian,
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
    "hessian",
    "hessian_diagonal",
    "hvp",
    "jacobian",
    "jvp",
    "laplacian",
    "partials",
    "sub_jacobian",
    "vjp",
]

"""Derivatives inside Keras models: exact, symbolic, savable."""

__version__ = "0.1.0"

from keras_derivs.cli import quiet

quiet.start()  # where a command runs

from keras_derivs import plotting, taylor
from keras_derivs.export import export
from keras_derivs.layers.determinant import LogDeterminant
from keras_derivs.layers.gradient import Gradient
from keras_derivs.layers.hessian import Hessian, HessianDiagonal
from keras_derivs.layers.jacobian import Jacobian, SubJacobian
from keras_derivs.layers.laplacian import Laplacian
from keras_derivs.layers.partials import Partials
from keras_derivs.layers.penalties import GradientPenalty, JacobianPenalty
from keras_derivs.layers.products import HVP, JVP, VJP
from keras_derivs.layers.vector_calculus import Curl, Divergence
from keras_derivs.symbolic import (
    curl,
    diff,
    divergence,
    fuse,
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
from keras_derivs.taylor import taylor_rule
from keras_derivs.timing.compare import compare
from keras_derivs.training.gauss_newton import gauss_newton
from keras_derivs.training.lbfgs import lbfgs
from keras_derivs.verify import verify

__all__ = [
    "HVP",
    "JVP",
    "VJP",
    "Curl",
    "Divergence",
    "Gradient",
    "GradientPenalty",
    "Hessian",
    "HessianDiagonal",
    "Jacobian",
    "JacobianPenalty",
    "Laplacian",
    "LogDeterminant",
    "Partials",
    "SubJacobian",
    "compare",
    "curl",
    "diff",
    "divergence",
    "export",
    "fuse",
    "gauss_newton",
    "gradient",
    "gradient_penalty",
    "hessian",
    "hessian_diagonal",
    "hvp",
    "jacobian",
    "jacobian_penalty",
    "jvp",
    "laplacian",
    "lbfgs",
    "log_determinant",
    "partials",
    "plotting",
    "sub_jacobian",
    "taylor",
    "taylor_rule",
    "verify",
    "vjp",
]

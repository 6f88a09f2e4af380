"""The demo: a physics-informed network for Burgers' equation."""

from keras_derivs.demo.burgers import VISCOSITY, exact, run

__all__ = ["VISCOSITY", "exact", "run"]

"""The fast engine: truncated Taylor polynomials through the Keras operation graph."""

from keras_derivs.engine.taylor import (  # noqa: F401 (importing them registers their rules)
    rules_bilinear,
    rules_elementwise,
    rules_formulas,
    rules_layers,
    rules_linear,
    rules_losses,
    rules_matrices,
    rules_piecewise,
    rules_pooling,
    rules_reductions,
)

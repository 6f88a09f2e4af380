"""Second-order operators sum_ij a_ij d2/dx_i dx_j with constant coefficients."""

from dataclasses import dataclass

import numpy as np

from keras_derivs import limits

NEGLIGIBLE = 1e-14  # of the largest eigenvalue: rounding, not a direction


@dataclass(frozen=True)
class Operator:
    """sum_k w_k d2/dv_k^2: a weight for each direction; without directions, for each input."""

    weights: np.ndarray | None = None
    directions: np.ndarray | None = None

    @property
    def num_inputs(self):
        """How many inputs the operator is for; `None` if for any number."""
        if self.directions is not None:
            return self.directions.shape[1]
        return None if self.weights is None else len(self.weights)

    def factors(self, num_inputs):
        """Matrices (P, N) for which the operator is that of P'P - N'N: for random directions.

        Diagonal ones are vectors, the diagonals.
        """
        weights = np.ones(num_inputs) if self.weights is None else self.weights
        positive, negative = np.sqrt(np.maximum(weights, 0)), np.sqrt(np.maximum(-weights, 0))
        if self.directions is None:
            return positive, negative
        return [part[part > 0, None] * self.directions[part > 0] for part in (positive, negative)]


def operator(coefficients, directions):
    """The operator that the arguments `coefficients=` and `directions=` stand for."""
    weights = _numbers(coefficients, "coefficients", (1, 2) if directions is None else (1,))
    directions = _numbers(directions, "directions", (2,))
    if directions is not None:
        weights = np.ones(len(directions)) if weights is None else weights
        _check_fit(weights, directions)
        return _without_zeros(weights, directions)
    if weights is None or weights.ndim == 1:
        return Operator(weights)
    return _of_matrix(weights)


def _of_matrix(matrix):
    """The eigenvectors as directions; the Hessian sees the symmetric part only."""
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"`coefficients=` needs a number for each input, or a square matrix a of the operator "
            f"sum_ij a_ij d2/dx_i dx_j. Received: shape {matrix.shape}. Give (d,) or (d, d)."
        )
    eigenvalues, eigenvectors = np.linalg.eigh((matrix + matrix.T) / 2)
    kept = np.abs(eigenvalues) > NEGLIGIBLE * np.max(np.abs(eigenvalues))
    return _without_zeros(eigenvalues * kept, eigenvectors.T)


def _without_zeros(weights, directions):
    return Operator(weights[weights != 0], directions[weights != 0])


def _check_fit(weights, directions):
    if len(weights) != len(directions):
        raise ValueError(
            f"`coefficients=` needs one number for each of the directions. Received: "
            f"{len(weights)} coefficients for {len(directions)} directions. Give `directions=` a "
            f"row for each."
        )


def _numbers(values, name, ndims):
    if values is None:
        return None
    limits.check(limits.size_of(values), limits.MAX_NUMBERS, f"{name}=", "numbers")
    try:
        values = np.asarray(values, "float64")
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"`{name}=` needs numbers, as a list or an array. Received: {limits.shown(values)}. "
            f"Operators have constant coefficients; multiply the derivatives of `hessian` or "
            f"`partials` where they vary."
        ) from None
    if values.ndim not in ndims or not np.all(np.isfinite(values)) or not np.any(values):
        raise ValueError(
            f"`{name}=` needs finite numbers, not all zero, with {' or '.join(map(str, ndims))} "
            f"axes. Received: {limits.shown(values)}, of shape {values.shape}. Leave it out for "
            f"the Laplacian."
        )
    return values

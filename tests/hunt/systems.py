"""Positive semidefinite systems in any of NumPy's types."""

import numpy as np
from scipy.linalg import lapack

from tests.hunt.objective import LD

_EPS = np.finfo(LD).eps


def solve(matrix, right):
    """Solve a positive semidefinite system in its own precision; unit diagonal, hardly damped."""
    kind, m = matrix.dtype, len(matrix)
    if not m:
        return right
    diagonal = matrix.diagonal()
    size = np.where(diagonal > 0, np.sqrt(np.maximum(diagonal, np.finfo(kind).tiny)), 1)
    lower = matrix / size / size[:, None]
    lower[np.diag_indices(m)] = 1 + 8 * m * np.finfo(kind).eps
    if kind == np.float64:
        factor, failed = lapack.dpotrf(lower, lower=True)
        if not failed:
            return lapack.dpotrs(factor, (right / size).astype(kind), lower=True)[0] / size
        return np.linalg.lstsq(lower, (right / size).astype(kind), rcond=1e-14)[0] / size
    for j in range(m):
        pivot = lower[j, j]
        if not pivot > m * _EPS:
            lower[j, j], lower[j + 1 :, j] = 1, 0
            continue
        lower[j, j] = np.sqrt(pivot)
        lower[j + 1 :, j] /= lower[j, j]
        lower[j + 1 :, j + 1 :] -= np.outer(lower[j + 1 :, j], lower[j + 1 :, j])
    x = right / size
    for j in range(m):
        x[j] = (x[j] - lower[j, :j] @ x[:j]) / lower[j, j]
    for j in reversed(range(m)):
        x[j] = (x[j] - lower[j + 1 :, j] @ x[j + 1 :]) / lower[j, j]
    return x / size

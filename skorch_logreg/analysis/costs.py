"""Decisions of least expected cost, and validation of cost matrices."""

from typing import Any

import numpy as np
from sklearn.utils import check_array

from skorch_logreg.exceptions import ParameterError


def expected_cost_decision(probabilities: Any, cost_matrix: Any) -> np.ndarray:
    """Choose the decision with the least expected cost for every row.

    The decision of a row is the column of ``probabilities @ cost_matrix`` with the smallest value.
    A decision need not be a class: there may be more decisions than classes, such as a referral to
    an expert.

    Parameters
    ----------
    probabilities : array-like of shape (n_samples, n_classes)
        Class probabilities, as returned by `predict_proba`; columns in the order of `classes_`.
    cost_matrix : array-like of shape (n_classes, n_decisions) or \
            (n_samples, n_classes, n_decisions)
        Cost of each decision (column) for each true class (row); gains are negative. With three
        axes, one matrix per sample.

    Returns
    -------
    decisions : ndarray of shape (n_samples,), int
        Column indices of `cost_matrix`; the first one if costs are equal.

    Raises
    ------
    ParameterError
        If `cost_matrix` is not finite or has another shape.

    Notes
    -----
    The decisions rely on calibrated probabilities. Where they are not calibrated, calibrate them
    or choose a threshold with `tune_threshold`.

    References
    ----------
    Elkan (2001). The foundations of cost-sensitive learning. IJCAI 17, 973-978, equation 1.

    Examples
    --------
    With three classes, the fourth decision asks an expert, at a quarter of the cost of an error:

    >>> import numpy as np
    >>> from skorch_logreg import expected_cost_decision
    >>> cost_matrix = np.c_[1 - np.eye(3), np.full(3, 0.25)]
    >>> expected_cost_decision([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2]], cost_matrix)
    array([0, 3])
    """
    probabilities = check_array(probabilities, dtype=np.float64, input_name="probabilities")
    n_samples, n_classes = probabilities.shape
    shape = (n_classes, "n_decisions")
    costs = check_cost_matrix(cost_matrix, [shape, (n_samples, *shape)])
    if costs.ndim == 2:
        return (probabilities @ costs).argmin(axis=1)
    return np.einsum("nk,nkd->nd", probabilities, costs).argmin(axis=1)


def check_cost_matrix(cost_matrix: Any, shapes: list[tuple[int | str, ...]]) -> np.ndarray:
    """Validate costs (..., n_classes, n_decisions), and return them in float64.

    In the allowed ``shapes``, a name stands for any positive length.
    """
    costs = np.asarray(cost_matrix, dtype=np.float64)
    fits = (
        len(shape) == costs.ndim
        and all(
            n == m or (isinstance(m, str) and n) for n, m in zip(costs.shape, shape, strict=True)
        )
        for shape in shapes
    )
    if not any(fits):
        allowed = " or ".join(f"({', '.join(map(str, shape))})" for shape in dict.fromkeys(shapes))
        raise ParameterError(
            f"cost_matrix has shape {costs.shape}, expected {allowed}: a row for each true class, "
            "a column for each decision."
        )
    if not np.isfinite(costs).all():
        raise ParameterError("cost_matrix holds nan or inf; costs must be finite.")
    return costs

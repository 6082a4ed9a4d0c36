"""Optima at infinity are found where rounding hides the curvature towards them."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg import TorchLogisticClassifier

GAP = 2.0**-16  # difference of two columns of 2048; its curvature is below the rounding of theirs


def _nearly_equal_columns(n_classes, separates):
    """Rows whose second column differs from the first in a few, of one class or of all."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, 60)
    X = np.full((60, 3), 2048.0)
    X[:, 2] = rng.normal(size=60)
    rows = np.flatnonzero(y == 0)[:3] if separates else np.arange(30)
    X[rows, 1] -= GAP
    return X, y


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton-cg", "newton-cholesky"])
@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_difference_of_nearly_equal_columns_that_separates_rows(solver, tol, n_classes):
    X, y = _nearly_equal_columns(n_classes, separates=True)
    model = TorchLogisticClassifier(C=np.inf, fit_intercept=False, tol=tol, solver=solver)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert not model.converged_


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_difference_of_nearly_equal_columns_that_does_not(n_classes):
    X, y = _nearly_equal_columns(n_classes, separates=False)
    apart = np.column_stack([X[:, 0] / 2048, (X[:, 0] - X[:, 1]) / GAP, X[:, 2]])
    options = {"C": np.inf, "fit_intercept": False, "tol": 1e-4}
    found, best = (TorchLogisticClassifier(**options).fit(Z, y) for Z in (X, apart))
    assert found.converged_
    np.testing.assert_allclose(found.predict_proba(X), best.predict_proba(apart), atol=1e-4)

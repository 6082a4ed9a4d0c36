"""A factor that was damped proves nothing along what its damping hides (promise 2)."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skorch_logreg import TorchLogisticClassifier

MEAN = 3e7  # columns of deviation 1: the least eigenvalue is 1e-15 of the largest


def loss_of(logits, y):
    if logits.shape[1] == 1:
        logits = np.c_[np.zeros(len(logits)), logits]
    top = logits.max(axis=1)
    spread = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
    return (spread - logits[np.arange(len(y)), y]).sum()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("solver", ["auto", "newton-cholesky", "newton-cg", "lbfgs"])
@pytest.mark.parametrize("n", [60, 1500])
def test_nearly_collinear_columns_are_minimised_to_tol(n_classes, solver, n):
    """Without penalty and intercept, a basis of differences has the same minimum."""
    rng = np.random.default_rng(0)
    Z = np.round(rng.normal(size=(n, 4)) * 1024) / 1024  # so that differences are exact
    X = MEAN + Z
    y = (Z @ rng.normal(size=(4, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    basis = np.c_[X[:, :1] / MEAN, X[:, 1:] - X[:, :1]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge = LogisticRegression(
            C=np.inf, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cholesky"
        ).fit(basis, y)
    model = TorchLogisticClassifier(
        C=np.inf, fit_intercept=False, tol=1e-4, max_iter=1000, solver=solver
    ).fit(X, y)
    assert model.converged_
    coef = np.atleast_2d(model.coef_)
    found = loss_of(basis @ np.c_[coef.sum(axis=1) * MEAN, coef[:, 1:]].T, y)
    least = loss_of(basis @ np.atleast_2d(judge.coef_).T, y)
    assert found - least <= 10 * model.tol**2 * least

"""Fewer rows than columns and hardly any penalty, where curvatures are lost or indefinite."""

import numpy as np
import pytest

from skorch_logreg import TorchLogisticClassifier


def objective(model, X, y):
    """Value of the objective in NumPy."""
    coef, intercept = model.coef_, model.intercept_
    logits = X @ coef.T + intercept
    if len(coef) == 1:
        loss = np.logaddexp(0, np.where(y == 1, -logits[:, 0], logits[:, 0]))
    else:
        others = logits - logits[np.arange(len(y)), y][:, None]
        others[np.arange(len(y)), y] = -np.inf
        loss = np.log1p(np.exp(others).sum(axis=1))
    return loss.sum() + (coef**2).sum() / (2 * model.C)


def rows(n, p, n_classes, *, scaled=False):
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, p)) * (10 ** rng.uniform(-2, 2, p) if scaled else 1.0)
    return X, rng.permutation(np.arange(n) % n_classes)


@pytest.mark.parametrize(
    ("shape", "scaled", "C", "tol"),
    [
        pytest.param((139, 556, 4), True, 6e7, 1e-6, id="indefinite"),
        pytest.param((406, 812, 2), False, 4e7, 1e-2, id="lost, loose"),
        pytest.param((513, 1026, 2), False, 6e8, 1e-4, id="lost, default"),
    ],
)
def test_2_the_minimum_is_within_its_tolerance(shape, scaled, C, tol):
    X, y = rows(*shape, scaled=scaled)
    model = TorchLogisticClassifier(C=C, tol=tol, max_iter=300).fit(X, y)
    exact = TorchLogisticClassifier(C=C, tol=1e-8, solver="newton-cholesky", max_iter=300)
    least = objective(exact.fit(X, y), X, y)
    assert model.converged_
    assert objective(model, X, y) / least - 1 <= max(10 * tol**2, 1e-10)

"""Steps of proximal Newton's method on Hessians of rounding."""

import numpy as np
from sklearn.datasets import make_classification

from skorch_logreg import TorchLogisticClassifier
from tests.hunt.draws import draw
from tests.hunt.laws import check


def test_saturated_classes_within_bounds_come_to_their_minimum():
    """Eight classes of 16 rows at C = 95: without intercepts the Hessian is not convex."""
    assert not [str(found) for found in check(draw(7188)) if found.law != "time"]


def test_a_shift_of_the_hessian_is_hardly_larger_than_it_has_to_be():
    """Five classes that almost separate: 27 steps, and more than 500 with shifts 1e8 apart."""
    assert draw(1787).fit(max_iter=100).converged_


def test_many_nonzero_coefficients_come_to_their_minimum():
    """470 of them: quadratic problems that are solved approximately left more than 300 steps."""
    X, y = make_classification(600, 60, n_informative=30, n_classes=8, random_state=0)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    model = TorchLogisticClassifier(C=100.0, l1_ratio=1.0, tol=1e-4, max_iter=20)
    assert model.fit(X, y).converged_


def test_a_gap_below_a_rounding_error_above_the_goal_proves_nothing():
    """With rows of 1e5 deviations the error of a gap is 2e-10; the minimum is at the next step."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(112, 1))
    y = (2 * X[:, 0] + rng.logistic(size=112) > 0).astype(int)
    X[:2] *= 1e5
    model, best = (
        TorchLogisticClassifier(C=1, l1_ratio=0.5, tol=tol).fit(X, y) for tol in (1e-6, 1e-9)
    )

    def value(fitted):
        w = fitted.coef_.astype(np.longdouble)
        logits = X.astype(np.longdouble) @ w.T + fitted.intercept_
        loss = np.logaddexp(np.longdouble(0), np.where(y == 1, -1, 1) * logits[:, 0]).sum()
        return loss + 0.5 * np.abs(w).sum() + 0.25 * (w**2).sum()

    assert model.converged_
    assert value(model) - value(best) <= 10 * model.tol**2 * value(best)

"""Promise 20: the number of passes to `tol` does not grow with the number of rows."""

import numpy as np
import pytest
import scipy.sparse as sp

from skorch_logreg import TorchLogisticClassifier
from tests.promises.models import PENALTIES


def drawn(n_samples, n_classes, density):
    """Rows of one distribution, whatever their number."""
    rng = np.random.default_rng(0)
    p = 12
    truth = rng.normal(size=(p, n_classes))
    X = rng.normal(size=(n_samples, p))
    y = (X @ truth + 2 * rng.gumbel(size=(n_samples, n_classes))).argmax(axis=1)
    if density < 1:
        X[rng.random(X.shape) > density] = 0
        return sp.csr_array(X), y
    return X, y


@pytest.mark.parametrize("tol", [1e-4, 1e-8])
@pytest.mark.parametrize("density", [1, 0.2])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_20_passes_do_not_grow_with_the_rows(n_classes, penalty, density, tol):
    """From 1000 to 30 000 rows: within a quarter and two; and never many.

    The strength stays in proportion to the rows, so that it is the same problem.
    """
    passes = []
    for n_samples in (1_000, 5_000, 30_000):
        options = dict(PENALTIES[penalty])
        if penalty != "none":
            options["C"] = options.get("C", 1.0) * 1_000 / n_samples
        X, y = drawn(n_samples, n_classes, density)
        model = TorchLogisticClassifier(tol=tol, **options).fit(X, y)
        assert model.converged_
        passes.append(model.n_passes_)
    assert max(passes) <= 1.25 * passes[0] + 2
    assert max(passes) <= 60


@pytest.mark.parametrize("container", [np.array, sp.csr_array])
def test_20_every_pass_is_counted(container):
    """At least one read an iteration, and more iterations read more."""
    X, y = drawn(1_000, 2, 1)
    loose = TorchLogisticClassifier(tol=1e-1).fit(container(X), y)
    strict = TorchLogisticClassifier(tol=1e-9).fit(container(X), y)
    assert strict.n_passes_ > loose.n_passes_ >= 1
    assert strict.n_passes_ >= strict.n_iter_[0]


@pytest.mark.parametrize("penalty", ["l2", "elastic net"])
def test_20_a_warm_start_at_the_minimum_costs_next_to_nothing(penalty):
    """And it returns the point that it was given."""
    X, y = drawn(2_000, 3, 1)
    model = TorchLogisticClassifier(warm_start=True, tol=1e-6, **PENALTIES[penalty]).fit(X, y)
    cold, coef, intercept = model.n_passes_, model.coef_.copy(), model.intercept_.copy()
    model.fit(X, y)
    assert model.n_iter_[0] == 0
    assert model.n_passes_ <= min(cold, 6)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-12)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=1e-9, atol=1e-9)

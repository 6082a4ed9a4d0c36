"""A constant for the coefficients of all classes: which of many minimisers a fit returns."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize_scalar

from skorch_logreg import TorchLogisticClassifier, regularization_path
from skorch_logreg.data import ArrayChunks

CASES = {
    "lasso": {"l1_ratio": 1.0, "C": 0.3},
    "lasso with factors": {"l1_ratio": 1.0, "C": 0.3, "penalty_factor": [1, 0.3, 0, 2, 1, 1]},
    "elastic net with a free feature": {
        "l1_ratio": 0.5,
        "C": 0.3,
        "penalty_factor": [1, 1, 0, 1, 1, 1],
    },
    "bounds": {"C": np.inf, "bounds": (-0.4, 0.7)},
    "bounds and lasso": {"l1_ratio": 1.0, "C": 0.3, "bounds": (-0.05, np.inf)},
    "no penalty": {"C": np.inf},
}


def rows(seed, n_classes, n=160, p=6):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.logspace(-0.3, 0.3, p)
    Z = X @ rng.normal(size=(p, n_classes)) + 2 * rng.gumbel(size=(n, n_classes))
    return X, Z.argmax(axis=1)


def fit(X, y, **options):
    return TorchLogisticClassifier(tol=1e-9, **options).fit(X, y)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("n_classes", [3, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_order_does_not_matter(options, n_classes, seed):
    """Promise 5: of rows, columns and classes."""
    X, y = rows(seed, n_classes)
    whole = fit(X, y, **options)
    rng = np.random.default_rng(100 + seed)
    for _ in range(2):
        order, features = rng.permutation(len(X)), rng.permutation(X.shape[1])
        classes = rng.permutation(n_classes)  # class k is called classes[k]
        own = dict(options)
        if "penalty_factor" in own:
            own["penalty_factor"] = np.array(own["penalty_factor"], dtype=float)[features]
        other = fit(X[order][:, features], classes[y[order]], **own)
        np.testing.assert_allclose(
            other.coef_[classes], whole.coef_[:, features], rtol=0, atol=1e-7
        )
        np.testing.assert_allclose(other.intercept_[classes], whole.intercept_, atol=1e-7)


@pytest.mark.parametrize("n_classes", [4, 5, 6])
def test_the_lasso_is_the_limit_of_an_elastic_net(n_classes):
    """One that is strictly convex, and so has one minimiser."""
    X, y = rows(0, n_classes)
    lasso = fit(X, y, l1_ratio=1.0, C=0.3)
    errors = []
    for ridge in (1e-3, 1e-4, 1e-5):
        near = fit(X, y, l1_ratio=1 - ridge, C=0.3 * (1 - ridge))
        errors.append(np.abs(near.coef_ - lasso.coef_).max())
    assert errors[-1] < 2e-4
    assert errors[0] > 3 * errors[-1]


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("n_classes", [3, 4])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, lambda X: ArrayChunks(X, rows=50)])
def test_no_constant_makes_the_norm_smaller(options, n_classes, make):
    """Among those that leave the penalty as low, and the coefficients within their bounds."""
    X, y = rows(1, n_classes)
    model = fit(make(X), y, **options)
    low, high = options.get("bounds", (-np.inf, np.inf))
    factor = np.array(options.get("penalty_factor", np.ones(6)), dtype=float)
    lasso = options.get("l1_ratio", 0.0) * factor if np.isfinite(options["C"]) else 0 * factor
    ridge = (1 - options.get("l1_ratio", 0.0)) * factor * np.isfinite(options["C"])

    def cost(constant, own, j, epsilon):
        moved = own + constant
        if moved.min() < low - 1e-12 or moved.max() > high + 1e-12:
            return np.inf
        absolute = lasso[j] * np.abs(moved).sum()
        return absolute + (ridge[j] + epsilon) / 2 * (moved**2).sum()

    for j, own in enumerate(model.coef_.T):
        bracket = max(low - own.min(), -2.0), min(high - own.max(), 2.0)
        found = minimize_scalar(
            cost, bounds=bracket, args=(own, j, 1e-6), method="bounded", options={"xatol": 1e-10}
        )
        assert cost(0.0, own, j, 1e-6) <= found.fun + 1e-12
        assert own.min() >= low
        assert own.max() <= high


@pytest.mark.parametrize("n_classes", [4, 6])
def test_a_path_has_the_minimisers_of_fits(n_classes):
    X, y = rows(2, n_classes)
    path = regularization_path(X, y, Cs=5, tol=1e-8)
    for C, coef in zip(path.Cs, path.coefs, strict=True):
        np.testing.assert_allclose(coef, fit(X, y, l1_ratio=1.0, C=C).coef_, rtol=0, atol=1e-6)


def test_starts_do_not_matter():
    X, y = rows(3, 4)
    expected = fit(X, y, l1_ratio=1.0, C=0.3).coef_
    for shift, C in itertools.product([-3.0, 0.0, 5.0], [0.05, 1.0]):
        model = TorchLogisticClassifier(tol=1e-9, l1_ratio=1.0, C=C, warm_start=True).fit(X, y)
        model.coef_ = model.coef_ + shift
        model.set_params(C=0.3).fit(X, y)
        np.testing.assert_allclose(model.coef_, expected, rtol=0, atol=1e-7)

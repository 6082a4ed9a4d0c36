"""A factor that was damped proves nothing along what its damping hides (promise 2)."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import low_precision
from skorch_logreg.solvers import conjugate_gradient

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


def minimise_quadratic(monkeypatch, product):
    """Have conjugate gradients minimise a function whose Hessian's product is given."""
    monkeypatch.setattr(conjugate_gradient, "hessian_product", lambda *_: product)
    monkeypatch.setattr(conjugate_gradient, "_rounding_curvature", lambda *_: torch.zeros(1, 1))


@pytest.mark.parametrize("spread", [1, 2, 3])
@pytest.mark.parametrize("share", [0.1, 1.0, 10.0])
def test_a_decrement_of_slow_conjugate_gradients_is_that_of_all_products(
    spread, share, monkeypatch
):
    """Without a preconditioner a few products see a part: the rest is extrapolated."""
    eigenvalues = torch.logspace(0, -spread, 120, dtype=torch.float64)
    minimise_quadratic(monkeypatch, eigenvalues.mul)
    curvature = SimpleNamespace(solve=torch.clone)
    for seed in range(10):
        gradient = torch.randn(120, generator=torch.Generator().manual_seed(seed)) * eigenvalues
        point = SimpleNamespace(gradient=gradient[None, None], value=torch.ones(1).double())
        truth = float((gradient.square() / eigenvalues).sum()) / 2
        tol = (share * truth) ** 0.5
        _, (decrement,) = conjugate_gradient.newton_direction(None, point, curvature, tol)
        assert truth / 5 <= decrement <= 2 * truth
        if share < 1:
            assert decrement > share * truth


@pytest.mark.parametrize("share", [0.8, 0.95, 1.05, 1.2])
def test_a_decrement_near_its_goal_is_decided(share, monkeypatch):
    """Its sum is above the goal, or its extrapolation below: else a step would be wasted."""
    eigenvalues = torch.logspace(0, -3, 120, dtype=torch.float64)
    minimise_quadratic(monkeypatch, eigenvalues.mul)
    curvature = SimpleNamespace(solve=torch.clone)
    for seed in range(10):
        gradient = torch.randn(120, generator=torch.Generator().manual_seed(seed)) * eigenvalues
        point = SimpleNamespace(gradient=gradient[None, None], value=torch.ones(1).double())
        goal = share * float((gradient.square() / eigenvalues).sum()) / 2
        found = conjugate_gradient.newton_direction(None, point, curvature, goal**0.5)
        least = -float((gradient * found[0]).sum()) / 2
        assert least > goal or float(found[1]) <= goal * (1 + 1e-12)


def test_a_step_is_not_more_accurate_than_the_goal_needs(monkeypatch):
    """Just above its goal, a decrement of 1e-7 needs a step that leaves some per cent of it."""
    eigenvalues, n_products = torch.logspace(0, -3, 120, dtype=torch.float64), 0

    def product(vector):
        nonlocal n_products
        n_products += 1
        return eigenvalues * vector

    minimise_quadratic(monkeypatch, product)
    curvature = SimpleNamespace(solve=torch.clone)
    gradient = torch.randn(120, generator=torch.Generator().manual_seed(0)) * eigenvalues
    gradient *= 1e-7**0.5 / ((gradient.square() / eigenvalues).sum() / 2).sqrt()
    point = SimpleNamespace(gradient=gradient[None, None], value=torch.ones(1).double())
    counts, left = [], []
    for tol in (1e-8, 2e-4):
        n_products = 0
        direction, _ = conjugate_gradient.newton_direction(None, point, curvature, tol)
        residual = gradient + eigenvalues * direction[0, 0]
        counts.append(n_products)
        left.append(float((residual.square() / eigenvalues).sum()) / 2)
    assert left[1] <= 2e-4**2
    assert counts[1] <= 0.6 * counts[0]


@pytest.mark.parametrize("C", [1.0, 1e4])
@pytest.mark.parametrize(("n", "p", "n_classes"), [(300, 1000, 2), (480, 768, 3)])
def test_a_row_product_of_low_precision_proves_nothing(n, p, n_classes, C, monkeypatch):
    """Where C is large its inverse Hessian is indefinite, so that its decrement is negative."""
    monkeypatch.setattr(low_precision, "has_fast_bfloat16", lambda device: True)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    signal = X @ rng.normal(size=(p, n_classes))
    y = (3 * signal / signal.std() + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    model = TorchLogisticClassifier(C=C).fit(X, y)
    judge = LogisticRegression(C=C, tol=1e-10, max_iter=5000).fit(X, y)
    found, least = (
        loss_of(X @ m.coef_.T + m.intercept_, y) + (m.coef_**2).sum() / (2 * C)
        for m in (model, judge)
    )
    assert model.converged_
    assert found - least <= 10 * model.tol**2 * least


def test_an_indefinite_preconditioner_is_not_used(monkeypatch):
    eigenvalues = torch.logspace(0, -2, 50, dtype=torch.float64)
    minimise_quadratic(monkeypatch, eigenvalues.mul)
    curvature = SimpleNamespace(solve=torch.neg)
    point = SimpleNamespace(gradient=eigenvalues[None, None], value=torch.ones(1).double())
    direction, decrement = conjugate_gradient.newton_direction(None, point, curvature, 1e-6)
    assert float(decrement) == pytest.approx(float(eigenvalues.sum()) / 2, rel=0.1)
    assert float((direction[0, 0] * eigenvalues).sum()) < 0


def test_a_known_product_with_the_preconditioner_is_not_computed_again(monkeypatch):
    eigenvalues, asked = torch.logspace(0, -2, 50, dtype=torch.float64), []

    def solve(vector):
        asked.append(vector)
        return vector / eigenvalues.sqrt()

    minimise_quadratic(monkeypatch, eigenvalues.mul)
    curvature = SimpleNamespace(solve=solve)
    gradient = torch.randn(1, 1, 50, generator=torch.Generator().manual_seed(0)).double()
    point = SimpleNamespace(gradient=gradient, value=torch.ones(1).double())
    solved, n_asked, found = solve(gradient), [], []
    for known in (None, solved):
        asked.clear()
        found.append(
            conjugate_gradient.newton_direction(None, point, curvature, 1e-6, solved=known)
        )
        n_asked.append(len(asked))
    assert n_asked[1] == n_asked[0] - 1
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("seed", [131, 158])
def test_the_shift_of_a_damped_hessian_shortens_no_step(seed):
    """Two rows of 1e5 and more hide the curvature of the others: it took up to 1000 steps."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(16, 5)), rng.integers(0, 4, 16)
    y[:4] = range(4)
    X[:2] *= 10 ** rng.uniform(4, 7)
    options = {"C": 1e9, "tol": 1e-6, "max_iter": 1000}
    model = TorchLogisticClassifier(solver="newton-cholesky", **options).fit(X, y)
    assert model.converged_
    assert model.n_iter_.max() < 250

"""The judge is judged: tests/reference.py against scikit-learn, autograd and itself."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests import problems
from tests.reference import (
    Task,
    duality_gap,
    exact_logsumexp,
    exact_sigmoid,
    exact_softplus,
    gradient,
    lower_bound,
    minimise,
    suboptimality,
    value,
    violation,
)

PENALTIES = {"l2": {}, "l1": {"l1_ratio": 1.0, "C": 0.3}, "elastic net": {"l1_ratio": 0.5}}
SMALL = [name for name in problems.ORDINARY if not name.startswith("ten")]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("penalty", [*PENALTIES, "none"])
@pytest.mark.parametrize("name", SMALL)
def test_no_subgradient_is_left_and_the_bound_meets_the_value(name, penalty, fit_intercept):
    options = PENALTIES.get(penalty, {"C": np.inf}) | {"fit_intercept": fit_intercept}
    task, minimum = problems.solved(name, **options)
    scale = max(1.0, float((task.weight @ np.abs(task.dense)).max()))
    assert violation(task, minimum.coef, minimum.intercept) <= 1e-13 * scale
    if penalty != "none":
        assert -1e-15 <= duality_gap(task, minimum.coef, minimum.intercept) <= 1e-13


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0, np.inf])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_scikit_learn_agrees(name, fit_intercept, C):
    case = problems.load(name)
    task, minimum = problems.solved(name, C=C, fit_intercept=fit_intercept)
    # an empty column and no penalty is a singular Hessian to newton-cholesky
    solver = "lbfgs" if name.startswith("sparse") and C == np.inf else "newton-cholesky"
    theirs = LogisticRegression(
        C=C, fit_intercept=fit_intercept, solver=solver, tol=1e-12, max_iter=10_000
    ).fit(case.X, case.y, sample_weight=case.sample_weight)
    assert abs(suboptimality(task, theirs.coef_, theirs.intercept_, minimum)) <= 1e-12
    scale = float(np.abs(minimum.coef).max())
    np.testing.assert_allclose(theirs.coef_, minimum.coef.astype(float), atol=1e-5 * scale)
    np.testing.assert_allclose(
        theirs.intercept_, minimum.intercept.astype(float), atol=1e-5 * scale
    )


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("name", ["binary", "three_classes"])
def test_scikit_learns_saga_agrees(name, l1_ratio):
    case = problems.load(name)
    task, minimum = problems.solved(name, l1_ratio=l1_ratio, C=0.3)
    theirs = LogisticRegression(
        C=0.3, l1_ratio=l1_ratio, solver="saga", tol=1e-9, max_iter=10_000, random_state=0
    ).fit(case.X, case.y)
    assert abs(suboptimality(task, theirs.coef_, theirs.intercept_, minimum)) <= 1e-12
    np.testing.assert_array_equal(theirs.coef_ != 0, minimum.coef != 0)


@pytest.mark.parametrize("name", ["binary", "three_classes", "weighted_three_classes"])
def test_gradient_is_autograds(name):
    case = problems.load(name)
    factor = np.linspace(0.5, 2, case.X.shape[1])
    task = Task(case.X, case.y, case.sample_weight, C=0.7, l1_ratio=0.3, factor=factor)
    rng = np.random.default_rng(0)
    coef = rng.normal(size=(task.n_outputs, case.X.shape[1]))
    intercept = rng.normal(size=task.n_outputs)
    W, b = (torch.tensor(a, requires_grad=True) for a in (coef, intercept))
    z, y = torch.tensor(case.X) @ W.T + b, torch.tensor(case.y)
    if task.binary:
        losses = torch.nn.functional.softplus(torch.where(y == 1, -z[:, 0], z[:, 0]))
    else:
        losses = torch.nn.functional.cross_entropy(z, y, reduction="none")
    smooth = (torch.tensor(task.weight.astype(float)) * losses).sum()
    smooth = smooth + (torch.tensor(task.ridge.astype(float)) * W**2).sum() / 2
    smooth.backward()
    g, g_intercept = gradient(task, coef, intercept)
    np.testing.assert_allclose(g.astype(float), W.grad.numpy(), rtol=1e-11)
    np.testing.assert_allclose(g_intercept.astype(float), b.grad.numpy(), rtol=1e-11)
    corners = (task.lasso * np.abs(coef)).sum()
    assert float(value(task, coef, intercept) - corners) == pytest.approx(smooth.item(), rel=1e-13)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", ["binary", "three_classes", "weighted"])
def test_the_lower_bound_is_below_the_minimum_from_anywhere(name, penalty):
    task, minimum = problems.solved(name, **PENALTIES[penalty])
    rng = np.random.default_rng(1)
    for size in (0.0, 1e-3, 1.0, 10.0):
        coef = minimum.coef + size * rng.normal(size=minimum.coef.shape)
        intercept = minimum.intercept + size * rng.normal(size=minimum.intercept.shape)
        assert lower_bound(task, coef, intercept) <= minimum.value * (1 + 1e-15)


def test_factors_are_column_scales():
    """A feature of strength f is the feature divided by sqrt(f), its coefficient times that."""
    case = problems.load("binary")
    factor = np.linspace(0.1, 4, case.X.shape[1])
    by_factor = minimise(Task(case.X, case.y, factor=factor))
    by_scale = minimise(Task(case.X / np.sqrt(factor), case.y))
    np.testing.assert_allclose(
        (by_factor.coef * np.sqrt(factor)).astype(float), by_scale.coef.astype(float), rtol=1e-12
    )


def test_single_numbers():
    assert exact_softplus(0.0) == np.log(2)
    assert exact_softplus(710.0) == 710.0
    assert exact_softplus(-710.0) == pytest.approx(np.exp(-710.0), rel=1e-15)
    assert exact_sigmoid(40.0) == 1.0
    assert exact_sigmoid(-710.0) == pytest.approx(np.exp(-710.0), rel=1e-15)
    assert exact_logsumexp([1000.0, 1000.0]) == 1000.0 + np.log(2)

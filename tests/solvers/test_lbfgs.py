"""A decrement on an old Hessian counts only where the last steps do not deny it (promise 2)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.objective import hessian_product
from skorch_logreg.solvers.choose import CurvaturePlan
from skorch_logreg.solvers.lbfgs import _next_plan, _stale_models
from skorch_logreg.solvers.progress import ModelProgress
from skorch_logreg.solvers.smooth import flattening
from tests.catalogue import objective, parameters
from tests.hunt.draws import Problem, draw
from tests.hunt.laws import check
from tests.hunt.minimum import minimise


@pytest.mark.parametrize("seed", [404, 414, 608, 704, 956])
def test_rows_that_become_certain_are_not_taken_for_a_minimum(seed):
    """More columns than rows and no penalty: probabilities are met, F* is their entropy."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3, 40))
    y = rng.dirichlet([0.1, 0.1], 3)[:, 1].clip(1e-6, 1 - 1e-6)
    tol = 10 ** -rng.uniform(1, 4)
    model = TorchLogisticClassifier(
        C=np.inf, soft_labels=True, solver="lbfgs", tol=tol, max_iter=1000
    ).fit(X, y)
    assert model.converged_
    found = 1 / (1 + np.exp(-(X @ model.coef_[0] + model.intercept_[0])))
    entropy = -(y * np.log(y) + (1 - y) * np.log1p(-y)).sum()
    excess = (y * np.log(y / found) + (1 - y) * np.log((1 - y) / (1 - found))).sum()
    assert excess <= max(10 * tol**2, 1e-13) * (entropy + excess) + 1e-14


@pytest.mark.parametrize("seed", [0, 23, 30, 55, 65, 73, 83, 87, 96, 99])
@pytest.mark.parametrize(("C", "tol"), [(1e5, 0.05), (1e7, 0.05), (1e5, 0.01)])
def test_a_proof_that_was_refuted_is_none_later(seed, C, tol):
    """Separable classes next to no penalty: the curvature falls by powers of ten on the way."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 3))
    X[:, 2] **= 3
    y = (X @ [1, -1, 0.5] > 0).astype(int)
    problem = Problem(seed, X, y, options={"C": C, "tol": tol, "solver": "lbfgs", "max_iter": 1000})
    model = problem.fit()
    assert model.converged_
    task = problem.task()
    found = task.inward(*problem.parameters(model))
    assert task.value(found) <= minimise(task, found).value * (1 + 10 * tol**2)


@pytest.mark.parametrize("seed", [6, 8, 10, 12, 23, 34, 35, 45])
def test_a_hessian_that_has_lost_its_curvature_proves_nothing(seed):
    """Fewer rows than columns next to no penalty: rows become saturated one after the other."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(15, 41)) * 10 ** rng.uniform(-1, 1, size=41)
    options = {"C": 1e7, "tol": 0.03, "solver": "lbfgs", "max_iter": 1000, "fit_intercept": False}
    problem = Problem(seed, X, np.arange(15) % 2, options=options)
    model = problem.fit()
    assert model.converged_
    task = problem.task()
    found = task.inward(*problem.parameters(model))
    assert task.value(found) <= minimise(task, found).value * (1 + 10 * 0.03**2)


def test_a_flat_end_of_a_step_proves_nothing_later():
    """Smoothed labels and free columns: values along the first step tell what its slopes do not."""
    assert not [str(f) for f in check(draw(459833)) if f.law == "optimality"]


def test_flattening_is_that_of_the_curvature():
    of = objective(reg_strength=(1e-3,))
    before = of.evaluate(parameters(of))
    step = -0.2 * before.gradient / before.gradient.abs().max()
    after = of.evaluate(before.params + step)
    start, end = ((hessian_product(of, p)(step) * step).sum() for p in (before, after))
    slopes = [(p.gradient * step).sum() for p in (before, after)]
    secant = slopes[1] - slopes[0]
    expected = max(torch.stack([secant, -slopes[0]])) / end
    assert start > 0
    torch.testing.assert_close(
        flattening(before, after), expected.clamp(1.0, 100.0)[None], rtol=0.02, atol=0
    )


def test_a_quadratic_does_not_flatten():
    of = objective(reg_strength=(1e6,))
    before = of.evaluate(parameters(of))
    after = of.evaluate(before.params - before.gradient / 1e6)
    assert float(flattening(before, after)) < 1.01


@pytest.mark.parametrize(("contraction", "is_stale"), [(1.0, True), (0.999, False)])
def test_a_rough_curvature_on_which_a_step_vanishes_is_built_again(contraction, is_stale):
    """545 x 6000 at C=4e8 gave up after four such steps, 20 % above the minimum."""
    exact = CurvaturePlan(lambda *_: None, True, lambda _: 1.0, 0.1)
    rough = CurvaturePlan(lambda *_: None, False, lambda _: 1.0, 0.0, exact)
    model = ModelProgress(rough).moved(0.1, 1e3, 1.0).moved(contraction, 1e3, 1.0)
    assert (_stale_models([model]) == [0]) is is_stale


@pytest.mark.parametrize(("rate", "is_exact"), [(0.9, True), (0.1, False)])
def test_slow_low_precision_is_followed_by_the_exact_hessian(rate, is_exact):
    """The steps left would cost more than it does."""
    exact = CurvaturePlan(lambda *_: None, True, lambda _: 20.0, 0.1)
    second = CurvaturePlan(lambda *_: None, False, lambda _: 20.0, 0.1, exact)
    first = replace(second, cost=lambda _: 3.0, fallback=second)
    model = ModelProgress(first, age=3, rate=rate, decrement_ratio=1e8)
    assert _stale_models([model]) == [0]
    assert _next_plan(model) is (exact if is_exact else second)

"""The judge: scikit-learn's objective, and a bound that no point escapes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from benchmarks import judge
from benchmarks.peers import Ours
from tests.benchmarks.small import PROBLEMS

IDS = [problem.name for problem in PROBLEMS]


def tight(problem):
    found = Ours().solve(problem.X, problem.y, problem, 1e-9)
    return found.coef, found.intercept


@pytest.mark.parametrize("problem", PROBLEMS, ids=IDS)
def test_no_point_around_the_minimum_has_a_lower_value(problem):
    coef, intercept = tight(problem)
    lowest = judge.value(problem, coef, intercept)
    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-2, 1.0):
        coefs = coef + size * rng.standard_normal(coef.shape)
        shift = size * rng.standard_normal(np.shape(intercept)) * problem.intercept
        assert judge.value(problem, coefs, intercept + shift) > lowest


@pytest.mark.parametrize("problem", PROBLEMS, ids=IDS)
@pytest.mark.parametrize("factor", [0.0, 0.9, 0.999, 1.01])
def test_a_bound_is_no_less_than_the_distance_to_the_minimum(problem, factor):
    coef, intercept = tight(problem)
    lowest = judge.value(problem, coef, intercept)
    assert judge.bound(problem, coef, intercept) <= 1e-9 * lowest
    # the bound is that of the point whose intercept is the best
    assert problem.intercept or judge.value(problem, factor * coef, 0) >= lowest
    target = judge._targets(problem)
    logits = judge._logits(problem, factor * coef.reshape(target.shape[1], -1), 0.0)
    shift = judge._best_shift(logits, problem.y) if problem.intercept else 0.0
    excess = judge.value(problem, factor * coef, shift) - lowest
    assert judge.bound(problem, factor * coef, intercept) >= excess - 1e-12 * lowest
    assert judge.bound(problem, factor * coef, intercept) <= 1e4 * excess + 1e-9 * lowest


def test_value_is_scikit_learns_objective_over_C():
    """Worked out from the log-loss of its own probabilities."""
    problem = PROBLEMS[2]
    model = LogisticRegression(C=problem.C).fit(problem.X, problem.y)
    chosen = model.predict_log_proba(problem.X)[np.arange(len(problem.y)), problem.y]
    expected = -chosen.sum() + (model.coef_**2).sum() / 2 / problem.C
    found = judge.value(problem, model.coef_, model.intercept_)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_blocks_do_not_matter(monkeypatch):
    problem = PROBLEMS[0]
    whole = judge.value(problem, np.ones(6), 0.5), judge.bound(problem, np.ones(6), 0.5)
    monkeypatch.setattr(judge, "BLOCK", 50)
    parts = judge.value(problem, np.ones(6), 0.5), judge.bound(problem, np.ones(6), 0.5)
    np.testing.assert_allclose(parts, whole, rtol=1e-13)

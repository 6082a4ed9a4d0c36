"""A step along a direction ends where its parameters are."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.solvers import LBFGS, NewtonCG, NewtonCholesky
from skorch_logreg.solvers.descent import take_step
from tests.catalogue import LOSSES, objective, parameters
from tests.hunt.draws import Problem
from tests.hunt.minimum import minimise


def drawn(seed):
    rng = np.random.default_rng(seed)
    n, p, k = rng.integers(20, 300), rng.integers(1, 12), rng.integers(2, 5)
    X = rng.normal(size=(n, p))
    y = (X[:, :1] + rng.gumbel(size=(n, k))).argmax(axis=1)
    y[:k] = np.arange(k)
    return X, y, 10 ** rng.uniform(-4, 4)


def value(X, y, C, model):
    z = X @ model.coef_.T + model.intercept_
    z = np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z
    losses = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]
    return losses.sum() + 0.5 * (model.coef_**2).sum() / C


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", [LBFGS, NewtonCG, NewtonCholesky])
@pytest.mark.parametrize("seed", [3, 4, 8, 11, 17, 19, 24, 27, 33])
def test_steps_of_rounding_alone_do_not_leave_the_optimum(seed, solver):
    """With no tolerance a fit goes on where nothing is left to find."""
    X, y, C = drawn(seed)
    found = TorchLogisticClassifier(C=C, tol=0.0, solver=solver(), max_iter=500).fit(X, y)
    judge = LogisticRegression(C=C, tol=1e-12, solver="newton-cholesky", max_iter=1000).fit(X, y)
    least = value(X, y, C, judge)
    assert value(X, y, C, found) <= least * (1 + 1e-13)


@pytest.mark.parametrize("solver", [LBFGS, NewtonCholesky, "auto"])
@pytest.mark.parametrize("seed", range(4))
def test_steps_go_on_where_values_are_rounding_and_slopes_are_not(seed, solver):
    """Without an intercept columns keep their means: logits are differences of millions."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(100, 4)) + [0, 1e6, -1e6, 1e5]
    y = (X[:, 0] + X[:, 1] - 1e6 + rng.normal(size=100) > 0).astype(int)
    problem = Problem(
        seed, X, y, options={"fit_intercept": False, "tol": 1e-7, "max_iter": 100, "solver": solver}
    )
    if not isinstance(solver, str):
        problem.options["solver"] = solver()
    model = problem.fit()
    assert model.converged_
    task = problem.task()
    found = task.inward(*problem.parameters(model))
    least = minimise(task, found).value
    assert task.value(found) <= least * (1 + 10 * model.tol**2)


@pytest.mark.parametrize("size", [1e-4, 1e-6, 1e-10, 1e-22])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_end_of_a_long_step_is_what_its_parameters_give(loss, size):
    """Directions that are too short, down to those whose logits are rounding."""
    of = objective(LOSSES[loss], reg_strength=(1.0,))  # the steps of many models stay short
    point = of.evaluate(parameters(of))
    direction = -size * point.gradient
    target, change = take_step(of, point, direction)
    own = of.evaluate(target.params)
    torch.testing.assert_close(target.logits, own.logits, rtol=5e-15, atol=5e-15)
    torch.testing.assert_close(target.value, own.value, rtol=5e-15, atol=0)
    torch.testing.assert_close(target.params, point.params + change, rtol=0, atol=0)
    assert bool((target.value <= point.value * (1 + 1e-14)).all())
    assert size == 1e-22 or bool((target.value < point.value).all())

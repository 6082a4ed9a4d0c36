"""Newton's method on Hessians that are kept ends where Newton's method does."""

from dataclasses import replace

import pytest
import torch

from skorch_logreg.curvature import ExactHessian
from skorch_logreg.data import from_arrays
from skorch_logreg.losses import Binomial
from skorch_logreg.objective import Objective, inner
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import NewtonCholesky, Status, drive
from skorch_logreg.solvers.choose import choose_solver
from skorch_logreg.solvers.chord import ChordNewton
from tests.catalogue import CONTAINERS, LOSSES, PENALTIES, objective


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("container", ["c-order", "strided", "csr"])
@pytest.mark.parametrize("reg_strength", [1e-3, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_ends_at_the_minimum(loss, container, reg_strength, fit_intercept):
    of = objective(
        LOSSES[loss], PENALTIES["l2-factor"], CONTAINERS[container],
        reg_strength=(reg_strength,), fit_intercept=fit_intercept,
    )  # fmt: skip
    found = drive(ChordNewton(), of, of.zeros(), tol=1e-9, max_iter=100)
    expected = drive(NewtonCholesky(), of, of.zeros(), tol=1e-9, max_iter=100)
    assert found.status == (Status.CONVERGED,)
    assert found.n_iter >= expected.n_iter
    torch.testing.assert_close(found.params, expected.params, rtol=1e-7, atol=1e-8)


def rows_of(n_rows, n_columns):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n_rows, n_columns, dtype=torch.float64, generator=generator)
    y = (X[:, 0] + torch.randn(n_rows, dtype=torch.float64, generator=generator) > 0).long()
    data = from_arrays(X, y)
    data = data.standardised(data.center, data.scale, Binomial().encode(data.targets), 1)
    return Objective(data, Binomial(), L2(), torch.ones(1, dtype=torch.float64), True)


def test_keeps_a_hessian_near_the_optimum(monkeypatch):
    of, made = rows_of(3000, 40), []

    def build(objective, point):
        made.append(point)
        return exact(objective, point)

    exact = ExactHessian.build
    monkeypatch.setattr(ExactHessian, "build", build)
    found = drive(ChordNewton(), of, of.zeros(), tol=1e-6, max_iter=100)
    assert 2 <= len(made) < found.n_iter


def test_a_decrement_that_is_trusted_is_nearly_exact():
    of = rows_of(3000, 40)
    state = ChordNewton().init(of, of.zeros(), 1e-6)
    for _ in range(4):
        state = ChordNewton().step(of, state)
        exact = ExactHessian.build(of, state.point).solve(state.point.gradient)
        exact = inner(state.point.gradient, exact) / 2
        if bool(state.trusted):
            assert 0.5 < state.decrement / exact < 2
        confirmed = ChordNewton().confirm(of, state, [0])
        torch.testing.assert_close(confirmed.decrement, exact)
        assert bool(confirmed.trusted)


def test_serves_one_model_of_some_thousand_rows():
    of = rows_of(3000, 100)
    assert choose_solver(of, is_smooth=True) == "chord-newton"
    many = replace(of, reg_strength=torch.ones(2, dtype=torch.float64))
    for other in (many, rows_of(30, 2000)):
        assert choose_solver(other, is_smooth=True) == "lbfgs"

"""What proves the decrement of a smooth objective (promise 2)."""

from dataclasses import replace

import pytest
import torch

from skorch_logreg.curvature import cost
from skorch_logreg.data import from_arrays
from skorch_logreg.losses import Binomial
from skorch_logreg.objective import Objective, inner
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import LBFGS, drive
from skorch_logreg.solvers.choose import choose_curvature
from skorch_logreg.solvers.smooth import confirmed, moved, start
from tests.catalogue import LOSSES, PENALTIES, objective


@pytest.fixture(params=LOSSES.values(), ids=LOSSES.keys())
def loss(request):
    return request.param


def _moved(params, by):
    """Parameters with coefficients that are a little off."""
    params = params.clone()
    params[..., :-1] += by * torch.linspace(-1, 1, params[..., :-1].numel()).view_as(
        params[..., :-1]
    )
    return params


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_small_duality_gap_is_the_proof_and_needs_no_conjugate_gradients(loss, fit_intercept):
    of = objective(loss, reg_strength=(30.0,), fit_intercept=fit_intercept)
    near = drive(LBFGS(), of, of.zeros(), tol=1e-4, max_iter=100).params
    state = start(of, _moved(near, 1e-6), 1e-3)
    state = replace(state, decrement=state.decrement / 1e6, trusted=~torch.ones(1).bool())
    before = of.data.n_passes
    proven = confirmed(of, state, [0])
    assert of.data.n_passes - before <= 1
    assert bool(proven.trusted)
    best = drive(LBFGS(), of, of.zeros(), tol=1e-9, max_iter=300).value
    assert float(state.point.value - best) <= float(proven.decrement)
    assert float(proven.decrement) <= 1e-6 * float(state.point.value)


@pytest.mark.parametrize("penalty", ["l2", "l2-factor"])
def test_a_large_gap_is_no_proof(loss, penalty):
    """The decrement comes from the Hessian where the dual bound says less than was asked for."""
    of = objective(loss, PENALTIES[penalty], reg_strength=(1e-3,))
    near = drive(LBFGS(), of, of.zeros(), tol=1e-7, max_iter=100).params
    state = start(of, _moved(near, 1e-4), 1e-3)
    state = replace(state, decrement=state.decrement / 1e6, trusted=~torch.ones(1).bool())
    proven = confirmed(of, state, [0])
    assert bool(proven.trusted)
    exact = choose_curvature(of).last.build(of, state.point)
    truth = inner(state.point.gradient, exact.solve(state.point.gradient)) / 2
    torch.testing.assert_close(proven.decrement, truth, rtol=0.05, atol=0)


def test_a_lost_diagonal_is_built_again_where_the_hessian_is_expensive(monkeypatch):
    """Its conjugate gradients find the decrement of the exact Hessian, which takes 26 passes."""
    # processors that multiply bfloat16 fast begin with a Hessian instead
    monkeypatch.setattr(cost, "low_precision_dtype", lambda device, side: torch.float32)
    draw = torch.Generator().manual_seed(0)
    X = 3 * torch.randn(8000, 1000, generator=draw, dtype=torch.float64)
    loss = Binomial()
    classes = (X[:, :5].sum(dim=1) > 0).long()[:, None]
    of = Objective(from_arrays(X, loss.encode(classes)), loss, L2(), torch.ones(1).double(), True)
    assert choose_curvature(of).is_diagonal
    near = drive(LBFGS(), of, of.zeros(), tol=1e-2, max_iter=100).params
    state = moved(start(of, of.zeros(), 1e-2), of.evaluate(near))
    assert state.progress[0].is_lost
    proven = confirmed(of, replace(state, trusted=~torch.ones(1).bool()), [0])
    assert proven.progress[0].plan.is_diagonal
    exact = choose_curvature(of).last.build(of, state.point)
    truth = inner(state.point.gradient, exact.solve(state.point.gradient)) / 2
    torch.testing.assert_close(proven.decrement, truth, rtol=0.05, atol=0)

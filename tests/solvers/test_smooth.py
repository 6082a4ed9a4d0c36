"""What proves the decrement of a smooth objective (promise 2)."""

from dataclasses import replace

import pytest
import torch

from skorch_logreg.objective import inner
from skorch_logreg.solvers import LBFGS, drive
from skorch_logreg.solvers.choose import choose_curvature
from skorch_logreg.solvers.smooth import confirmed, start
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

"""Quadratic models within bounds."""

import pytest
import torch

from skorch_logreg.penalties import Box, ElasticNet
from skorch_logreg.subproblems import Quadratic, minimise


@pytest.mark.parametrize("start", [[-5.0], [0.01], [-5.0, 0.01, -1e-3], [0.0, -2.0]])
def test_all_coordinates_may_leave_for_zero_at_once(start):
    """A lasso far above the slopes: the first guess fixes every coordinate at zero."""
    start = torch.tensor(start, dtype=torch.float64)
    n = len(start)
    penalty = Box(ElasticNet(1.0), torch.full((n,), -torch.inf), torch.full((n,), 0.02))
    one = torch.ones((), dtype=torch.float64)
    hessian = 1e-3 * torch.eye(n, dtype=torch.float64)
    step = minimise(Quadratic(hessian, hessian @ start, start), penalty, torch.arange(n), one)
    assert torch.equal(start + step, torch.zeros_like(start))

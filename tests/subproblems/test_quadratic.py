"""Linear systems without a unique solution."""

import mpmath
import pytest
import torch

from skorch_logreg.penalties import L2
from skorch_logreg.subproblems import Quadratic, minimise, solve


def test_a_singular_system_has_a_finite_solution():
    matrix = torch.tensor([[4.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = solve(matrix, torch.tensor([2.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("least", [0.0, -1e-20])
def test_coordinates_without_curvature_stay_where_they_are(least):
    matrix = torch.tensor([[4.0, 1e-25], [1e-25, least]], dtype=torch.float64)
    found = solve(matrix, torch.tensor([2.0, 1.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.5, 0.0], rel=1e-12)


def test_a_system_that_is_not_finite_has_no_solution():
    matrix = torch.eye(2, dtype=torch.float64)
    matrix[1, 1] = torch.nan
    assert bool(solve(matrix, torch.ones(2, dtype=torch.float64)).isnan().all())


def test_columns_without_penalty_far_from_zero_leave_the_curvature_of_others():
    """Their difference has 1e-12 of their squares, and the other's deviation as little of its."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    rows = 1 + rows * torch.tensor([1e-6, 1e-6, 1e-5], dtype=torch.float64)
    hessian = rows.T @ rows
    slope = rows.T @ torch.randn(200, generator=generator, dtype=torch.float64)
    factor = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    strength = torch.tensor(1e-9, dtype=torch.float64)
    start = torch.zeros_like(slope)
    step = minimise(Quadratic(hessian, slope, start), L2(factor), torch.arange(3), strength)
    with mpmath.workdps(50):
        H, g, x = (mpmath.matrix(t.tolist()) for t in (hessian, slope, step))
        H[2, 2] += mpmath.mpf(1e-9)

        def value(x):
            return (x.T * H * x)[0] / 2 + (g.T * x)[0]

        least = value(mpmath.lu_solve(H, -g))
        assert value(x) <= least * (1 - 1e-8)

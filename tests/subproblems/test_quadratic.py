"""Linear systems without a unique solution."""

import pytest
import torch

from skorch_logreg.subproblems import solve


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

"""Groups that vanish, and the linear algebra under them."""

import numpy as np
import pytest
import torch

from skorch_logreg.penalties import GroupL2
from skorch_logreg.penalties.quadratic import solve

N_FEATURES = 12


def problem(seed):
    """Hessian and slope at zero of a quadratic model, and a penalty of four groups."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(40, N_FEATURES))
    hessian = torch.from_numpy(rows.T @ rows)
    slope = torch.from_numpy(rows.T @ rng.normal(size=40))
    factor = torch.from_numpy(rng.uniform(0.3, 3.0, N_FEATURES))
    groups = torch.from_numpy(np.arange(N_FEATURES) // 3)
    return hessian, slope, GroupL2(groups, factor)


def minimiser(problem, start, share):
    """Minimiser at a share of the strength from which all groups are zero."""
    hessian, slope, penalty = problem
    index = torch.arange(N_FEATURES)
    strength = share / penalty.dual_scale(1e6 * slope[None, None])[0] / 1e6
    # the model is given at ``start``
    return start + penalty.quadratic_step(hessian, slope + hessian @ start, start, index, strength)


@pytest.mark.parametrize("seed", range(20))
def test_a_group_that_vanishes_is_zero_to_the_last_bit(seed):
    start = torch.from_numpy(np.random.default_rng(seed).normal(size=N_FEATURES))
    assert bool((minimiser(problem(seed), start, 1.01) == 0).all())


@pytest.mark.parametrize("size", [1e-17, 1e-60, 1e-155, 1e-170, 1e-320])
@pytest.mark.parametrize("seed", range(4))
def test_a_start_next_to_zero_has_the_minimiser_of_zero(seed, size):
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=N_FEATURES))
    expected = minimiser(problem(seed), 0 * noise, 0.8)
    found = minimiser(problem(seed), size * noise, 0.8)
    assert 0 < int((expected == 0).sum()) < N_FEATURES
    assert torch.equal(found == 0, expected == 0)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("least", [0.0, -1e-20])
def test_coordinates_without_curvature_stay_where_they_are(least):
    matrix = torch.tensor([[4.0, 1e-25], [1e-25, least]], dtype=torch.float64)
    found = solve(matrix, torch.tensor([2.0, 1.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.5, 0.0], rel=1e-12)


def test_a_system_that_is_not_finite_has_no_solution():
    matrix = torch.eye(2, dtype=torch.float64)
    matrix[1, 1] = torch.nan
    assert bool(solve(matrix, torch.ones(2, dtype=torch.float64)).isnan().all())

"""Groups that vanish, and those that stay."""

import numpy as np
import pytest
import torch

from skorch_logreg.penalties import GroupL2
from skorch_logreg.subproblems import Quadratic, minimise

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
    quadratic = Quadratic(hessian, slope + hessian @ start, start)
    return start + minimise(quadratic, penalty, index, strength)


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


@pytest.mark.parametrize("size", [1, 2, 4])
def test_columns_that_nearly_repeat_each_other_are_optimal(size):
    generator = torch.Generator().manual_seed(2)
    root = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    root[:, 4:] = root[:, :4] + 1e-6 * root[:, 4:]
    linear = 3 * root.T @ torch.randn(30, generator=generator, dtype=torch.float64)
    start = torch.cat([torch.randn(4, generator=generator).double(), torch.zeros(4).double()])
    penalty, strength = GroupL2(torch.arange(8) // size), torch.tensor(0.3, dtype=torch.float64)
    quadratic = Quadratic(root.T @ root, linear, start)
    step = minimise(quadratic, penalty, torch.arange(8), strength)
    slope = quadratic.hessian @ step + linear
    left = penalty.subgradient_distance(
        (start + step).view(1, 1, -1), slope.view(1, 1, -1), strength.view(1)
    )
    assert left.max() <= 1e-11

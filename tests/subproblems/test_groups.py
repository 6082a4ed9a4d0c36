"""Groups that vanish, and those that stay."""

import math

import numpy as np
import pytest
import torch

from skorch_logreg.penalties import GroupL2
from skorch_logreg.subproblems import Quadratic, minimise
from skorch_logreg.subproblems.groups import _among_groups

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


@pytest.mark.parametrize("condition", [1.0, 1e6])
def test_groups_that_are_not_zero_reach_their_optimum(condition):
    """By Newton's method; those that are zero stay there."""
    generator = torch.Generator().manual_seed(3)
    unit = torch.logspace(0, -math.log10(condition) / 2, 8, dtype=torch.float64)
    root = torch.randn(20, 8, generator=generator, dtype=torch.float64) * unit
    hessian, group = root.T @ root, torch.arange(8) // 2
    linear = root.T @ torch.randn(20, generator=generator, dtype=torch.float64)
    strength = torch.tensor(1e-3, dtype=torch.float64)
    x = torch.randn(8, generator=generator, dtype=torch.float64)
    x[2:4] = 0.0
    slack = torch.full_like(linear, 1e-12)
    for _ in range(3):
        x = x + _among_groups(hessian, hessian @ x - linear, strength, group, x, slack=slack)
    norms = x.view(4, 2).norm(dim=1).repeat_interleave(2)
    rest = hessian @ x - linear + strength * x / norms
    rest = rest[group != 1]
    assert x[2:4].tolist() == [0.0, 0.0]
    assert rest.norm() <= 1e-10

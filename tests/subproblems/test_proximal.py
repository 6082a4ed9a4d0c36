"""The solver for any proximal operator agrees with those for a form of the penalty."""

import math

import pytest
import torch

from skorch_logreg.penalties import GroupL2
from skorch_logreg.subproblems import Quadratic, minimise, proximal
from tests.catalogue import PENALTIES

FORMS = [n for n, p in PENALTIES.items() if p.terms(torch.arange(5), torch.zeros(5)) is not None]


def problem(condition, seed, n_rows=40, n_coordinates=20):
    """Correlated columns of different curvatures, and a start beside the minimiser."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.logspace(0, -math.log10(condition) / 2, n_coordinates, dtype=torch.float64)
    root = torch.randn(n_rows, n_coordinates, generator=generator, dtype=torch.float64)
    root = (root + 0.5 * root[:, :1]) * unit
    linear = root.T @ torch.randn(n_rows, generator=generator, dtype=torch.float64)
    start = torch.randn(n_coordinates, generator=generator, dtype=torch.float64)
    start[::3] = 0.0
    hessian = root.T @ root
    return Quadratic(hessian, hessian @ start - linear, start)


def distance(quadratic, penalty, step, strength):
    """Largest violation of the conditions, relative to the largest slope."""
    slope = quadratic.slope + quadratic.hessian @ step
    x = (quadratic.start + step).view(1, 1, -1)
    x = penalty.feasible(x, x)
    violation = penalty.subgradient_distance(x, slope.view(1, 1, -1), strength.view(1))
    return float(violation.max() / quadratic.slope.abs().max())


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("strength", [0.01, 1.0])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e10])
def test_meets_the_conditions_of_a_minimiser(name, strength, condition):
    quadratic, index = problem(condition, 0), torch.arange(20) % 5
    penalty = PENALTIES[name].of_columns(index)
    strength = torch.tensor(strength, dtype=torch.float64)
    step = proximal.minimise(quadratic, penalty, strength)
    assert distance(quadratic, penalty, step, strength) <= 1e-12


@pytest.mark.parametrize("name", FORMS)
def test_agrees_with_the_solver_of_the_form(name):
    quadratic, index = problem(10.0, 1), torch.arange(20) % 5
    strength = torch.tensor(0.5, dtype=torch.float64)
    expected = minimise(quadratic, PENALTIES[name], index, strength)
    found = proximal.minimise(quadratic, PENALTIES[name].of_columns(index), strength)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert torch.equal(found == -quadratic.start, expected == -quadratic.start)


def test_a_singular_hessian_has_a_minimiser():
    quadratic = problem(1.0, 2, n_rows=6)
    penalty = PENALTIES["lasso"]
    for strength in torch.tensor([0.01, 0.5], dtype=torch.float64):
        step = proximal.minimise(quadratic, penalty, strength)
        assert distance(quadratic, penalty, step, strength) <= 1e-12
        assert step.abs().max() < 100


@pytest.mark.parametrize("size", [0.0, 1e-17, 1e-160, 1e-320])
def test_a_start_next_to_zero_has_the_minimiser_of_zero(size):
    at_zero = problem(1.0, 3)
    slope = at_zero.slope - at_zero.hessian @ at_zero.start
    near = Quadratic(at_zero.hessian, slope, size * torch.ones_like(slope))
    penalty, strength = GroupL2(torch.arange(20) // 4), torch.tensor(3.0, dtype=torch.float64)
    found = near.start + proximal.minimise(near, penalty, strength)
    assert 0 < int((found == 0).sum()) < 20
    assert distance(near, penalty, found - near.start, strength) <= 1e-12

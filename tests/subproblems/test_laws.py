"""Every quadratic problem with a penalty reaches its minimiser."""

import math
import warnings

import pytest
import torch

from skorch_logreg.penalties import L2, ElasticNet
from skorch_logreg.subproblems import Quadratic, minimise
from tests.catalogue import PENALTIES


@pytest.mark.parametrize("name", [n for n, p in PENALTIES.items() if not p.smooth])
@pytest.mark.parametrize("rank", [3, 12])
def test_quadratic_is_minimised(name, rank):
    """Also a singular one; to the last digits, as the outer iteration needs it."""
    penalty = PENALTIES[name]
    generator = torch.Generator().manual_seed(5)
    root = torch.randn(rank, 10, generator=generator, dtype=torch.float64)
    hessian = root.T @ root
    linear = root.T @ torch.randn(rank, generator=generator, dtype=torch.float64)
    index = torch.arange(10) % 5
    start = torch.zeros(10, dtype=torch.float64)
    quadratic, found = Quadratic(hessian, hessian @ start - linear, start), []
    for strength in torch.tensor([0.2, 2.0], dtype=torch.float64):
        x = start + minimise(quadratic, penalty, index, strength)
        distance = penalty.of_columns(index).subgradient_distance(
            x.view(1, 1, -1), (hessian @ x - linear).view(1, 1, -1), strength.view(1)
        )
        assert distance.max() < 1e-11
        found.append(x)
    assert (found[0] != 0).any()
    assert (found[1] == 0).any()


@pytest.mark.parametrize("name", [n for n, p in PENALTIES.items() if not p.smooth])
def test_a_coordinate_without_curvature_is_left_at_zero(name):
    generator = torch.Generator().manual_seed(5)
    root = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    root[:, 3] = 0.0
    linear = root.T @ torch.randn(12, generator=generator, dtype=torch.float64)
    strength, start = torch.tensor(0.2, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    step = minimise(
        Quadratic(root.T @ root, -linear, start), PENALTIES[name], torch.arange(5), strength
    )
    assert step.isfinite().all()
    assert step[3] == 0


@pytest.mark.parametrize("n_rows", [30, 3])
def test_ridge_step_does_not_depend_on_units(n_rows):
    """Columns of units 2^26 times apart have curvatures 2^52 times apart."""
    generator = torch.Generator().manual_seed(7)
    rows = torch.randn(n_rows, 6, generator=generator, dtype=torch.float64)
    slope = rows.T @ torch.randn(n_rows, generator=generator, dtype=torch.float64)
    unit = 2.0 ** torch.tensor([-26.0, 13.0, 0.0, 26.0, -7.0, 4.0], dtype=torch.float64)
    factor, strength = torch.full((6,), 0.5, dtype=torch.float64), torch.tensor(1.0)
    start, index = torch.zeros(6, dtype=torch.float64), torch.arange(6)
    plain = minimise(Quadratic(rows.T @ rows, slope, start), L2(factor), index, strength)
    rows, slope = rows * unit, slope * unit
    step = minimise(Quadratic(rows.T @ rows, slope, start), L2(factor * unit**2), index, strength)
    torch.testing.assert_close(step * unit, plain, rtol=1e-12, atol=0)


def test_unpenalised_features_of_a_quadratic():
    factor = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    penalty = ElasticNet(1.0, factor)
    assert not penalty.coercive(torch.ones(1)).any()
    generator = torch.Generator().manual_seed(6)
    root = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    hessian, linear = root.T @ root, 3 * torch.randn(5, generator=generator, dtype=torch.float64)
    index = torch.arange(5)
    strength = torch.tensor(1.0, dtype=torch.float64)
    x = minimise(Quadratic(hessian, -linear, torch.zeros_like(linear)), penalty, index, strength)
    rest = (hessian @ x - linear).view(1, 1, -1)
    assert penalty.subgradient_distance(x.view(1, 1, -1), rest, strength.view(1)).max() < 1e-11


def test_unpenalised_features_of_classes():
    """A constant for all classes has no curvature, but what rounding leaves of it."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    centre = torch.eye(3, dtype=torch.float64) - 1 / 3
    hessian = torch.kron(root.T @ root, centre)
    linear = hessian @ torch.randn(6, generator=generator, dtype=torch.float64)
    linear += 1e-15 * linear.abs().max()
    hessian[3:, 3:] += 1e-15 * hessian.diagonal().max()
    index, strength = torch.arange(6) // 3, torch.tensor(0.5, dtype=torch.float64)
    penalty = ElasticNet(0.4, torch.tensor([1.0, 0.0], dtype=torch.float64))
    x = minimise(Quadratic(hessian, -linear, torch.zeros_like(linear)), penalty, index, strength)
    rest = (hessian @ x - linear).view(1, 1, -1)
    distance = penalty.of_columns(index).subgradient_distance(
        x.view(1, 1, -1), rest, strength.view(1)
    )
    assert distance.max() < 1e-11
    assert x.abs().max() < 10


@pytest.mark.parametrize("condition", [1.0, 1e4])
def test_a_quadratic_of_many_coordinates(condition):
    """Where coordinates are taken in turn, the gain that is left is a share of what there was."""
    generator = torch.Generator().manual_seed(7)
    n, p = 500, 300
    unit = torch.logspace(0, -math.log10(condition), p, dtype=torch.float64)
    root = torch.randn(n, p, generator=generator, dtype=torch.float64) * unit
    root[:, 1::2] += root[:, ::2] * unit[1::2] / unit[::2]
    factor = 0.5 + torch.rand(p, generator=generator, dtype=torch.float64)
    penalty = ElasticNet(1.0, factor)
    hessian = root.T @ root
    linear = root.T @ torch.randn(n, generator=generator, dtype=torch.float64)
    strength, start = torch.tensor(10.0, dtype=torch.float64), torch.zeros_like(linear)
    filters = list(warnings.filters)
    x = minimise(Quadratic(hessian, -linear, start), penalty, torch.arange(p), strength)
    assert warnings.filters == filters

    def value(x):
        return float((hessian @ x / 2 - linear) @ x + strength * penalty.value(x[None, None]))

    again = x
    for _ in range(30):
        slope = hessian @ again - linear
        again = again + minimise(
            Quadratic(hessian, slope, again), penalty, torch.arange(p), strength
        )
    assert value(x) - value(again) <= 0.1 * (value(start) - value(again))
    rest = (hessian @ again - linear).view(1, 1, -1)
    distance = penalty.subgradient_distance(again.view(1, 1, -1), rest, strength.view(1))
    assert distance.max() < 1e-9 * linear.abs().max()
    assert (again == 0).any()

"""Quadratic models within bounds."""

import pytest
import torch

from skorch_logreg.penalties import L2, Box, ElasticNet
from skorch_logreg.penalties.protocol import CoordinateTerms
from skorch_logreg.subproblems import Quadratic, coordinates, minimise


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


def test_a_ridge_below_rounding_leaves_directions_without_curvature():
    """Where it is smaller than the rounding of the Hessian, only the Hessian's range counts."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    hessian = 1e8 * root.T @ root
    noise = torch.randn(6, generator=generator, dtype=torch.float64)
    slope = hessian @ torch.ones(6, dtype=torch.float64) + 1e-4 * noise
    strength, start = torch.tensor(1e-9, dtype=torch.float64), torch.zeros_like(slope)
    step = minimise(Quadratic(hessian, slope, start), L2(), torch.arange(6), strength)
    assert step.norm() <= 2 * 6**0.5  # a minimiser is that far
    assert (hessian @ step + slope).norm() <= 1e-11 * slope.norm()


def test_many_coordinates_without_kernels_end_lower(monkeypatch):
    """Where guesses of the free ones cycle: proximal gradient steps, which end in bounded time."""
    monkeypatch.setattr(coordinates, "coordinate_descent", lambda *a, **k: None)
    taken, single = [], coordinates._Corners._proximal_gradient
    monkeypatch.setattr(
        coordinates._Corners,
        "_proximal_gradient",
        lambda own, step: taken.append(len(step)) or single(own, step),
    )
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(40, 300, generator=generator, dtype=torch.float64)
    root = root + 3 * root[:, :1]
    hessian, slope = root.T @ root, 30 * torch.randn(300, generator=generator, dtype=torch.float64)
    start, one = torch.zeros_like(slope), torch.ones((), dtype=torch.float64)
    penalty = ElasticNet(1.0, factor=torch.full((300,), 20.0, dtype=torch.float64))
    step = minimise(Quadratic(hessian, slope, start), penalty, torch.arange(300), one)
    assert taken == [300]
    assert (hessian @ step / 2 + slope) @ step + 20 * step.abs().sum() < 0


@pytest.mark.parametrize("is_bounded", [True, False])
def test_many_corners_take_few_factorisations(is_bounded, monkeypatch):
    """At most 60; half of the problems without a minimiser, which end as well.

    How many one of these takes depends on the rounding errors of the machine.
    """
    solved, single, counts = [], coordinates.solve, []
    monkeypatch.setattr(coordinates, "solve", lambda *a: solved.append(len(a[1])) or single(*a))
    for seed in range(9):
        solved.clear()
        generator = torch.Generator().manual_seed(seed)
        root = torch.randn(40, 120, generator=generator, dtype=torch.float64)
        hessian = root.T @ root
        slope = 30 * torch.randn(120, generator=generator, dtype=torch.float64)
        slope = root.T @ slope[:40] if is_bounded else slope
        start = torch.randn(120, generator=generator, dtype=torch.float64)
        lasso = torch.full_like(slope, 20.0)
        terms = CoordinateTerms(lasso, torch.zeros_like(lasso))
        corners = coordinates._Corners(Quadratic(hessian, slope, start), terms)
        step = corners._active_set(torch.zeros_like(start))
        counts.append(len(solved))
        if is_bounded:
            least, most = terms.subgradients(start + step)
            descent = -(slope + hessian @ step)
            violation = torch.maximum(descent - most, least - descent)
            assert violation.max() <= 1e-11 * slope.abs().max()
    worst = max(counts) if is_bounded else sorted(counts)[4]
    assert worst <= 60

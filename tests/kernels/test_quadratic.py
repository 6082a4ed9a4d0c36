"""Compiled coordinate descent takes the steps of its definition, and reaches the minimiser."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg.kernels.library import library
from skorch_logreg.kernels.quadratic import (
    ColumnProblem,
    column_descent,
    coordinate_descent,
)

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels are built")


def problem(size, bounded, seed=0):
    """A Hessian within a larger array, lassos of zero, and coordinates without curvature."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(3 * size, size, generator=generator, dtype=torch.float64)
    random[:, 2::7] = 0.0
    wide = torch.zeros(size + 1, size + 1, dtype=torch.float64)
    hessian = wide[:-1, :-1]
    hessian.copy_(random.T @ random)
    slope, start, lasso, low, high = torch.randn(
        5, size, generator=generator, dtype=torch.float64
    ) * torch.tensor([[20.0 * size], [1.0], [4.0 * size], [1.0], [1.0]])
    slope[2::7] = 0.0
    start[::3] = 0.0
    lasso = lasso.abs()
    lasso[1::5] = 0.0
    bounds = (-low.abs() / 4, high.abs() / 4) if bounded else None
    return hessian, slope, start, lasso, bounds


def one_epoch(hessian, slope, start, lasso, bounds):
    """Minimise over every coordinate once, in turn."""
    step = torch.zeros_like(start)
    for j in range(len(start)):
        curvature, x = hessian[j, j], start[j] + step[j]
        target = curvature * x - slope[j] - hessian[j] @ step
        ahead = target.sign() * (target.abs() - lasso[j]).clamp(min=0.0)
        if curvature == 0 and ahead != 0:
            continue
        if curvature == 0 and lasso[j] == 0:
            continue
        x = ahead / curvature if ahead != 0 else torch.zeros_like(x)
        step[j] = (x if bounds is None else x.clamp(bounds[0][j], bounds[1][j])) - start[j]
    return step


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("size", [1, 2, 9, 40])
def test_an_epoch(size, bounded):
    arguments = problem(size, bounded)
    step, left = coordinate_descent(*arguments, max_epochs=1, share=0.0)
    torch.testing.assert_close(step, one_epoch(*arguments), rtol=1e-12, atol=1e-13)
    assert left == 1


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("size", [1, 2, 9, 40])
def test_many_epochs_reach_the_minimiser(size, bounded):
    hessian, slope, start, lasso, bounds = problem(size, bounded)
    step, left = coordinate_descent(
        hessian, slope, start, lasso, bounds, max_epochs=10_000, share=1e-24
    )
    assert left <= 1e-24
    again = one_epoch(hessian, slope + hessian @ step, start + step, lasso, bounds)
    assert again.norm() <= 1e-10 * step.norm()
    x = start + step
    assert ((x == 0) == (x.abs() < 1e-9)).all()  # zeros are exact
    if bounds is not None:
        held, rounding = hessian.diagonal() > 0, 1e-14
        assert (x >= bounds[0] - rounding)[held].all()
        assert (x <= bounds[1] + rounding)[held].all()


@pytest.mark.parametrize("max_epochs", [1, 3, 5, 6, 200])
def test_no_epoch_leaves_the_bounds(max_epochs):
    """Bounds need not hold zero, where a lasso has a corner."""
    rng = np.random.default_rng(0)
    for size in (2, 3, 8) * 20:
        factor = torch.from_numpy(rng.normal(size=(size + 2, size)) + 5 * rng.normal())
        start, slope, middle = torch.from_numpy(rng.normal(size=(3, size)) * [[1], [9], [2]])
        lasso, width = torch.from_numpy(rng.exponential(size=(2, size)) * [[20], [1]])
        bounds = middle - width, middle + width
        step, _ = coordinate_descent(
            factor.T @ factor, slope, start, lasso, bounds, max_epochs=max_epochs, share=1e-9
        )
        assert (start + step >= bounds[0] - 1e-12).all()
        assert (start + step <= bounds[1] + 1e-12).all()


@pytest.mark.parametrize("place", [(3, 3), (3, 5)])
def test_numbers_that_are_not_finite_are_found_in_what_is_left(place):
    hessian, slope, start, lasso, _ = problem(9, bounded=False)
    hessian[place] = hessian[place[::-1]] = torch.nan
    found = coordinate_descent(hessian, slope, start, lasso, None, max_epochs=50, share=1e-4)
    assert not found[1] <= 1e-4


@pytest.mark.parametrize("indices", [np.int32, np.int64])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_columns_have_the_minimiser_of_their_hessian(fit_intercept, indices):
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(60, 12, generator=generator, dtype=torch.float64)
    dense[torch.rand(60, 12, generator=generator) < 0.5] = 0.0
    X = sp.csc_array(dense.numpy())
    X.indices, X.indptr = X.indices.astype(indices), X.indptr.astype(indices)
    columns = torch.tensor([7, 0, 3, 11, 4, 5])
    scale, curvature = 0.5 + torch.rand(2, 60, generator=generator, dtype=torch.float64)
    center = scale[6:12] / 3 if fit_intercept else torch.zeros(6, dtype=torch.float64)
    z = torch.cat([(dense[:, columns] - center) / scale[:6], torch.ones(60, 1)], dim=1)
    hessian = z.T @ (curvature[:, None] * z)
    gradient, start = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    gradient, start = 20 * gradient, start[:-1]
    lasso, ridge = 8 * torch.rand(2, 6, generator=generator, dtype=torch.float64)
    lasso[1] = 100.0
    options = {"max_epochs": 10_000, "share": 1e-24}
    of = ColumnProblem(columns, curvature, gradient, start, lasso, ridge, fit_intercept)
    step = column_descent(X, (center, scale[:6]), of, **options)
    if fit_intercept:
        border, corner = hessian[:-1, -1], hessian[-1, -1]
        slope = gradient[:-1] - border * gradient[-1] / corner
        whole = hessian[:-1, :-1] - border[:, None] * border / corner
    else:
        slope, whole = gradient[:-1], hessian[:-1, :-1].clone()
    whole.diagonal().add_(ridge)
    best, _ = coordinate_descent(whole, slope + ridge * start, start, lasso, None, **options)
    torch.testing.assert_close(step[:-1], best, rtol=1e-9, atol=1e-11)
    assert start[1] + step[1] == 0
    shift = -(gradient[-1] + border @ best) / corner if fit_intercept else 0.0
    assert abs(step[-1] - shift) <= 1e-9

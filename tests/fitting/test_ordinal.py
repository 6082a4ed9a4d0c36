"""Fits of losses with parameters of their own, which are best at every point."""

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.special import expit

from skorch_logreg import fitting
from skorch_logreg.data import from_arrays
from skorch_logreg.fitting.exact import standardised
from skorch_logreg.fitting.request import FitRequest
from skorch_logreg.losses import CumulativeLogit
from skorch_logreg.objective import hessian_product, loss_hessian
from skorch_logreg.penalties import L2, Box, ElasticNet, GroupL2, SparseGroupLasso

N_CLASSES = 4


def _problem(n=300, p=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 2
    latent = X @ rng.normal(size=p) + rng.logistic(size=n)
    y = np.searchsorted(np.quantile(latent, [0.2, 0.6, 0.65]), latent)
    return X, y, rng.integers(0, 4, size=n).astype(float)


def _data(X, y, weight=None):
    weight = None if weight is None else torch.from_numpy(weight)
    return from_arrays(torch.from_numpy(X), torch.from_numpy(y), weight)


def _thresholds(result):
    return (result.nuisance.cumsum(dim=1) - result.params.intercept).numpy()


def _loss(found):
    """Return the loss of coefficients and thresholds, by the textbook."""
    X, y, weight = found

    def value(coef, thresholds):
        ends = np.concatenate([[-np.inf], thresholds, [np.inf]])
        logits = X @ coef
        proba = expit(ends[y + 1] - logits) - expit(ends[y] - logits)
        return -weight @ np.log(np.maximum(proba, 1e-300))

    return value


@pytest.mark.parametrize("C", [0.1, 10.0, np.inf])
def test_ridge_is_the_minimum(C):
    X, y, weight = _problem()
    result = fitting.fit(_data(X, y, weight), CumulativeLogit.of(N_CLASSES), L2(), C=C, tol=1e-8)
    coef = result.params.coef[0, 0].numpy()
    thresholds = _thresholds(result)[0]
    loss = _loss((X, y, weight))

    def objective(params):
        coef, thresholds = params[:6], np.cumsum(np.r_[params[6], np.exp(params[7:])])
        return loss(coef, thresholds) + coef @ coef / (2 * C)

    found = np.r_[coef, thresholds[0], np.log(np.diff(thresholds))]
    best = scipy.optimize.minimize(objective, np.zeros(9), method="BFGS", options={"gtol": 1e-5})
    assert objective(found) <= best.fun * (1 + 1e-12)
    assert float(result.value) == pytest.approx(objective(found), rel=1e-13)
    np.testing.assert_allclose(found, best.x, atol=1e-5)
    assert result.status[0] is fitting.Status.CONVERGED
    gap = float(result.duality_gap)
    assert np.isnan(gap) if C == np.inf else 0 <= gap < 1e-12


@pytest.mark.parametrize(
    "penalty",
    [
        ElasticNet(1.0),
        ElasticNet(0.4),
        GroupL2(torch.arange(6) // 2),
        SparseGroupLasso(torch.arange(6) // 2, 0.3),
        Box(ElasticNet(0.5), torch.full((6,), -0.1), torch.full((6,), 0.2)),
    ],
    ids=lambda penalty: type(penalty).__name__,
)
@pytest.mark.parametrize("tol", [1e-2, 1e-4])
def test_duality_gap_bounds_the_suboptimality(penalty, tol):
    """The gap is in coefficients and thresholds together, and closes where the fit is exact."""
    X, y, weight = _problem()
    data = _data(X, y, weight)
    fits = [
        fitting.fit(data, CumulativeLogit.of(N_CLASSES), penalty, C=0.02, tol=t)
        for t in (tol, 1e-9)
    ]
    assert all(fit.status[0] is fitting.Status.CONVERGED for fit in fits)
    loose, tight = fits
    assert 0 <= float(tight.duality_gap) < 1e-13
    excess = float((loose.value - tight.value) / tight.value)
    assert -1e-13 <= excess <= float(loose.duality_gap) + 1e-15
    # no perturbation of the exact solution is better
    coef = tight.params.coef[0, 0]
    thresholds = _thresholds(tight)[0]
    loss = _loss((X, y, weight))

    def objective(coef, thresholds):
        penalised = float(penalty.value(torch.from_numpy(coef)[None, None])[0])
        return loss(coef, thresholds) + penalised / 0.02

    best = objective(coef.numpy(), thresholds)
    assert best == pytest.approx(float(tight.value), rel=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved = (coef + 1e-3 * torch.from_numpy(rng.normal(size=6)))[None, None]
        moved = penalty.feasible(moved, moved)[0, 0].numpy()
        assert objective(moved, thresholds + 1e-3 * rng.normal(size=3)) > best


def test_batch_equals_single_fits():
    X, y, _ = _problem()
    weight = np.random.default_rng(1).integers(1, 3, size=(len(y), 5)).astype(float)
    C = torch.tensor([0.1, 1.0, 10.0, 0.1, 1.0], dtype=torch.float64)
    loss = CumulativeLogit.of(N_CLASSES)
    for penalty in (L2(), ElasticNet(1.0)):
        together = fitting.fit(_data(X, y, weight), loss, penalty, C=C, tol=1e-9)
        for k in range(5):
            alone = fitting.fit(_data(X, y, weight[:, k]), loss, penalty, C=C[k], tol=1e-9)
            np.testing.assert_allclose(together.params.coef[k], alone.params.coef[0], atol=1e-8)
            np.testing.assert_allclose(_thresholds(together)[k], _thresholds(alone)[0], atol=1e-8)


def test_hessian_is_that_of_the_best_thresholds():
    X, y, weight = _problem()
    request = FitRequest.of(
        _data(X, y, weight), loss=CumulativeLogit.of(N_CLASSES), penalty=L2(), C=np.inf
    )
    objective = standardised(request)[1]
    params = 0.3 * torch.randn(1, 1, 7, generator=torch.Generator().manual_seed(0)).double()
    point = objective.evaluate(params)
    hessian = loss_hessian(objective, point)[0, 0, :, 0]
    product = hessian_product(objective, point)
    for j in range(6):
        unit = torch.zeros_like(params)
        unit[..., j] = 1e-4
        ahead, behind = (objective.evaluate(params + sign * unit).gradient for sign in (1, -1))
        slope = (ahead - behind)[0, 0, :-1] / 2e-4
        torch.testing.assert_close(hessian[:-1, j], slope, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(product(unit / 1e-4)[0, 0, :-1], slope, rtol=1e-5, atol=1e-4)
    part = loss_hessian(objective, point, torch.tensor([1, 4]))[0, 0, :, 0]
    torch.testing.assert_close(part[:2, :2], hessian[[1, 4]][:, [1, 4]])

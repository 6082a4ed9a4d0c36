"""Kernels of logits compute what the losses compute in torch, to rounding."""

import numpy as np
import pytest
import torch

from skorch_logreg.kernels.library import library
from skorch_logreg.kernels.logits import (
    cumulative_sums,
    loss_along,
    loss_of_moved,
    multiply_softmax_curvature,
    weighted_loss,
)
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import multiply_curvature

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels are built")

LOSSES = {"logistic": Binomial(), **{f"multinomial {k}": Multinomial(k) for k in (2, 3, 10, 700)}}
DTYPES = [torch.float64, torch.float32]
# relative rounding of sums of losses, and a weighted loss that may be taken for zero
LIMITS = {torch.float64: (1e-14, 1e-300), torch.float32: (3e-7, 1e-25)}


def problem(name, m, dtype=torch.float64, of_targets=False, of_weight=False, n=40):
    """Logits from small to saturated, their changes, targets and weights, some of them zero."""
    loss, rng = LOSSES[name], np.random.default_rng(m)
    size = 10.0 ** rng.uniform(-2, 3, size=(n, m, 1))
    logits = torch.from_numpy(rng.normal(size=(n, m, loss.n_outputs)) * size).to(dtype)
    change = torch.from_numpy(rng.normal(size=logits.shape)).to(dtype)
    classes = rng.integers(0, max(loss.n_outputs, 2), size=(n, m if of_targets else 1))
    weight = rng.random((n, m if of_weight else 1)) * (rng.random((n, 1)) < 0.8)
    y, weight = loss.encode(torch.from_numpy(classes)), torch.from_numpy(weight)
    if name == "logistic":  # kernels take numbers of one type
        y, weight = y.to(dtype), weight.to(dtype)
    return loss, logits, change, y, weight


@pytest.mark.parametrize("m", [1, 3, 300])
@pytest.mark.parametrize(("of_targets", "of_weight"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_residuals(name, dtype, of_targets, of_weight, m):
    loss, logits, _, y, weight = problem(name, m, dtype, of_targets, of_weight, n=5)
    losses, slopes = loss.value_residual(logits.double(), y)
    value, residual = weighted_loss(name.split()[0], logits, y, weight)
    # losses of one logit are computed in its type, those of classes in float64
    low, computed = dtype == torch.float32, logits.dtype if name == "logistic" else torch.float64
    rounding, tiny = LIMITS[computed]
    total = (losses * weight).sum(dim=0)
    torch.testing.assert_close(value, total, rtol=rounding, atol=tiny)
    assert residual.dtype == dtype
    wanted = slopes * weight[..., None]
    rtol, atol = (1e-13, 1e-300)
    if low:
        rtol, atol = (3e-7, tiny) if computed == dtype else (2e-7, torch.finfo(dtype).tiny)
    torch.testing.assert_close(residual.double(), wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ["logistic", "multinomial 700"])
def test_residuals_hold_no_subnormal_numbers(name):
    """Products with those take a hundred times as long."""
    loss, logits, _, y, weight = problem(name, 300, torch.float32, n=40)
    _, residual = weighted_loss(name.split()[0], logits, y, weight)
    tiny = torch.finfo(torch.float32).tiny
    assert bool((loss.value_residual(logits.double(), y)[1].abs() < tiny).any())
    assert not bool(((residual != 0) & (residual.abs() < tiny)).any())


@pytest.mark.parametrize("m", [1, 3, 300])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_along_a_direction(name, dtype, m):
    loss, logits, change, y, weight = problem(name, m, dtype, n=5, of_weight=True)
    step = torch.from_numpy(np.random.default_rng(0).random(m))
    found = loss_along(name.split()[0], logits, change, step, targets=y, weight=weight)
    computed = logits.dtype if name == "logistic" else torch.float64
    z = (logits.to(computed) + step[:, None].to(computed) * change.to(computed)).double()
    change = change.double()
    value, residual = loss.value_residual(z, y)
    curved = multiply_curvature(*loss.curvature(z), change)
    terms = value, (residual * change).sum(dim=-1), (curved * change).sum(dim=-1)
    for a, b in zip(found, terms, strict=True):
        size = (b.abs() * weight).sum(dim=0)
        error = 10 * LIMITS[computed][0] * size + LIMITS[computed][1]
        assert ((a - (b * weight).sum(dim=0)).abs() <= error).all()


@pytest.mark.parametrize("m", [1, 3, 300])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_logits_that_moved(name, dtype, m):
    loss, logits, change, y, weight = problem(name, m, dtype, n=300 if m < 300 else 20)
    weight = weight * torch.linspace(1, 2, m, dtype=weight.dtype)
    before, logits = logits, logits + change
    change, exact = logits.double() - before.double(), logits.double()
    residual = loss.value_residual(exact, y.double() if name == "logistic" else y)[1]
    if name == "logistic":
        left = residual.abs() * (exact * y).clamp(min=1.0)
    else:
        proba = exact.softmax(dim=-1)
        change -= (proba * change).sum(dim=-1, keepdim=True)
        below = exact.amax(dim=-1, keepdim=True) - exact
        own = torch.zeros_like(exact).scatter(-1, y.expand(-1, m, 1), 1.0)
        left = residual.abs() * torch.where(own > 0, below, 1.0).clamp(min=1.0)
    for limit in (0.5, 2.0, 10.0):
        found = loss_of_moved(name.split()[0], logits, before, limit, targets=y, weight=weight)
        far = (change.abs() > limit) & (weight > 0)[..., None]
        wanted = torch.where(far, left * weight[..., None], 0.0).sum(dim=(0, 2))
        rtol, atol = 3 * LIMITS[dtype][0], LIMITS[dtype][1]
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol)
        assert torch.equal(found > 0, far.any(dim=2).any(dim=0))


def test_the_loss_of_float32_logits_is_exact_to_four_units_in_the_last_place():
    margin = np.random.default_rng(0).normal(scale=20, size=4000).clip(-63, 63)
    margin[:5] = 0.0, 1e-30, 0.8813736, 0.88, 1.0
    logits = torch.from_numpy(margin).float().view(1, -1, 1)
    one = torch.ones(1, 1, 1)
    value, residual = weighted_loss("logistic", logits, one, one[0])
    exact = Binomial().value_residual(logits.double(), one.double())
    unit = 4 * torch.finfo(torch.float32).eps
    torch.testing.assert_close(value, exact[0][0], rtol=unit, atol=0)
    torch.testing.assert_close(residual.double(), exact[1], rtol=unit, atol=0)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "logistic"])
def test_products_with_the_curvature(name, dtype, m):
    loss, logits, change, _, weight = problem(name, m, dtype, of_weight=True)
    proba = loss.predict_proba(logits)
    exact = multiply_curvature(proba.double(), proba.double(), change.double())
    wanted = exact * weight[..., None]
    assert multiply_softmax_curvature(proba, change, weight)
    error = 10 * torch.finfo(dtype).eps * (proba.double() * weight[..., None])
    assert ((change - wanted).abs() <= error + torch.finfo(dtype).tiny).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_found_in_the_sums(name, bad, dtype):
    _, logits, change, y, weight = problem(name, 2, dtype)
    logits[3, 1, 0] = bad
    y[3], weight[3] = (-1.0 if name == "logistic" else 0), 1.0
    step = torch.ones(2, dtype=torch.float64)
    loss = name.split()[0]
    value, residual = weighted_loss(loss, logits, y, weight)
    along = loss_along(loss, logits, change, step, targets=y, weight=weight)
    assert value[0].isfinite()
    assert residual[:, 0].isfinite().all()
    if not (name == "logistic" and bad == float("inf")):  # its loss is zero there
        assert not value[1].isfinite()
        assert not along[0][1].isfinite()


def test_what_no_kernel_takes():
    _, logits, change, y, weight = problem("multinomial 3", 2)
    assert weighted_loss(None, logits, y, weight) is None  # soft labels
    assert weighted_loss("multinomial", logits.half(), y, weight) is None
    assert not multiply_softmax_curvature(logits, change.mT.contiguous().mT, weight)
    many = torch.zeros(2, 1, 3000, dtype=torch.float64)
    assert weighted_loss("multinomial", many, y[:2], weight[:2]) is None
    single, ends = logits[..., :1].contiguous().float(), torch.zeros(3, 2, 2, dtype=torch.float64)
    assert cumulative_sums(single, y, weight, ends) is None


def test_float32_logits_with_rows_in_float64_are_left_to_torch():
    """Which computes their losses in float64."""
    _, logits, _, y, weight = problem("logistic", 2, torch.float32)
    assert weighted_loss("logistic", logits, y, weight) is not None
    assert weighted_loss("logistic", logits, y.double(), weight) is None
    assert weighted_loss("logistic", logits, y, weight.double()) is None

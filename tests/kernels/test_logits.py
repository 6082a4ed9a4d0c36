"""Kernels of logits compute what the losses compute in torch, to rounding."""

import numpy as np
import pytest
import torch

from skorch_logreg.kernels.library import library
from skorch_logreg.kernels.logits import loss_along, multiply_softmax_curvature, weighted_loss
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import multiply_curvature

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels are built")

LOSSES = {"logistic": Binomial(), **{f"multinomial {k}": Multinomial(k) for k in (2, 3, 10, 700)}}
DTYPES = [torch.float64, torch.float32]


def problem(name, m, dtype=torch.float64, of_targets=False, of_weight=False, n=40):
    """Logits from small to saturated, their changes, targets and weights, some of them zero."""
    loss, rng = LOSSES[name], np.random.default_rng(m)
    size = 10.0 ** rng.uniform(-2, 3, size=(n, m, 1))
    logits = torch.from_numpy(rng.normal(size=(n, m, loss.n_outputs)) * size).to(dtype)
    change = torch.from_numpy(rng.normal(size=logits.shape)).to(dtype)
    classes = rng.integers(0, max(loss.n_outputs, 2), size=(n, m if of_targets else 1))
    weight = rng.random((n, m if of_weight else 1)) * (rng.random((n, 1)) < 0.8)
    return loss, logits, change, loss.encode(torch.from_numpy(classes)), torch.from_numpy(weight)


def cases():
    return [(name, dtype) for name in LOSSES for dtype in DTYPES[: 2 if " " in name else 1]]


@pytest.mark.parametrize("m", [1, 3, 300])
@pytest.mark.parametrize(("of_targets", "of_weight"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize(("name", "dtype"), cases(), ids=str)
def test_losses_and_residuals(name, dtype, of_targets, of_weight, m):
    loss, logits, _, y, weight = problem(name, m, dtype, of_targets, of_weight, n=5)
    losses, slopes = loss.value_residual(logits.double(), y)
    value, residual = weighted_loss(name.split()[0], logits, y, weight)
    torch.testing.assert_close(value, (losses * weight).sum(dim=0), rtol=1e-14, atol=1e-300)
    assert residual.dtype == dtype
    wanted, low = slopes * weight[..., None], dtype == torch.float32
    rtol, atol = (2e-7, torch.finfo(dtype).tiny) if low else (1e-13, 1e-300)
    torch.testing.assert_close(residual.double(), wanted, rtol=rtol, atol=atol)


def test_residuals_hold_no_subnormal_numbers():
    """Products with those take a hundred times as long."""
    loss, logits, _, y, weight = problem("multinomial 700", 3, torch.float32, n=40)
    _, residual = weighted_loss("multinomial", logits, y, weight)
    tiny = torch.finfo(torch.float32).tiny
    assert bool((loss.value_residual(logits.double(), y)[1].abs() < tiny).any())
    assert not bool(((residual != 0) & (residual.abs() < tiny)).any())


@pytest.mark.parametrize("m", [1, 3, 300])
@pytest.mark.parametrize(("name", "dtype"), cases(), ids=str)
def test_derivatives_along_a_direction(name, dtype, m):
    loss, logits, change, y, weight = problem(name, m, dtype, n=5, of_weight=True)
    step = torch.from_numpy(np.random.default_rng(0).random(m))
    found = loss_along(name.split()[0], logits, change, step, targets=y, weight=weight)
    z, change = logits.double() + step[:, None] * change.double(), change.double()
    value, residual = loss.value_residual(z, y)
    curved = multiply_curvature(*loss.curvature(z), change)
    terms = value, (residual * change).sum(dim=-1), (curved * change).sum(dim=-1)
    for a, b in zip(found, terms, strict=True):
        size = (b.abs() * weight).sum(dim=0)
        assert ((a - (b * weight).sum(dim=0)).abs() <= 1e-13 * size + 1e-300).all()


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


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_found_in_the_sums(name, bad):
    _, logits, change, y, weight = problem(name, 2)
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
    assert weighted_loss("logistic", logits[..., :1].contiguous().float(), weight, weight) is None

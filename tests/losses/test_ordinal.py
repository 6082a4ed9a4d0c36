"""The cumulative logistic loss: derivatives, digits, duality, and its kernel."""

import mpmath
import pytest
import torch

from skorch_logreg.kernels import logits as kernels
from skorch_logreg.losses import Binomial, CumulativeLogit

NUISANCE = torch.tensor([[-1.0, 1.5, 0.2]], dtype=torch.float64)


@pytest.fixture
def loss():
    return CumulativeLogit(NUISANCE)


def _rows(n=60, m=2, n_classes=4, size=3.0, by_model=False):
    generator = torch.Generator().manual_seed(n)
    z = size * torch.randn(n, m, 1, generator=generator, dtype=torch.float64)
    y = torch.randint(0, n_classes, (n, m if by_model else 1), generator=generator)
    return z, CumulativeLogit(NUISANCE).encode(y)


def _plain(nuisance, z, y):
    """The loss as the textbook has it, for autograd."""
    below = torch.sigmoid(nuisance.cumsum(dim=1) - z)
    below = torch.nn.functional.pad(below, (1, 0))
    above = torch.nn.functional.pad(below[..., 1:], (0, 1), value=1.0)
    return -(above - below).gather(-1, y.expand(-1, z.shape[1], 1))[..., 0].log()


@pytest.mark.parametrize("by_model", [False, True])
def test_derivatives_in_the_logit(loss, by_model):
    z, y = _rows(by_model=by_model)
    z.requires_grad_()
    plain = _plain(NUISANCE, z, y)
    value, residual = loss.value_residual(z.detach(), y)
    torch.testing.assert_close(value, plain.detach(), rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(loss.value(z.detach(), y), value, rtol=1e-15, atol=0)
    (slope,) = torch.autograd.grad(plain.sum(), z, create_graph=True)
    torch.testing.assert_close(residual, slope.detach(), rtol=1e-10, atol=1e-12)
    (bend,) = torch.autograd.grad(slope.sum(), z)
    again, curvature, rank_one = loss.residual_curvature(z.detach(), y)
    assert rank_one is None
    torch.testing.assert_close(again, residual, rtol=1e-14, atol=0)
    torch.testing.assert_close(curvature, bend, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(loss.curvature(z.detach(), y)[0], curvature, rtol=0, atol=0)


@pytest.mark.parametrize("by_model", [False, True])
def test_sums_in_the_thresholds(by_model):
    z, y = _rows(by_model=by_model)
    weight = torch.rand(len(z), 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    nuisance = torch.cat([NUISANCE, NUISANCE + 0.3]).requires_grad_()
    total = (_plain(nuisance, z, y) * weight).sum(dim=0)
    (slope,) = torch.autograd.grad(total.sum(), nuisance, create_graph=True)
    rows = [torch.autograd.grad(part, nuisance, retain_graph=True)[0] for part in slope.flatten()]
    bend = torch.stack(rows).view(2, 3, 2, 3)
    bend = torch.stack([bend[k, :, k] for k in range(2)])
    loss = CumulativeLogit(nuisance.detach())
    gradient, hessian = loss.nuisance_derivatives(loss.nuisance_sums(z, y, weight))
    torch.testing.assert_close(gradient, slope.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(hessian, bend, rtol=1e-8, atol=1e-8)
    value, residual = loss.weighted(z, y, weight)
    torch.testing.assert_close(value, total.detach(), rtol=1e-12, atol=0)
    wanted = loss.value_residual(z, y)[1] * weight[..., None]
    torch.testing.assert_close(residual, wanted, rtol=1e-13, atol=1e-16)


def test_mixed_derivatives(loss):
    z, y = _rows(m=1)
    z.requires_grad_()
    nuisance = NUISANCE.clone().requires_grad_()
    (slope,) = torch.autograd.grad(_plain(nuisance, z, y).sum(), nuisance, create_graph=True)
    wanted = [torch.autograd.grad(part, z, retain_graph=True)[0] for part in slope[0]]
    wanted = torch.cat(wanted, dim=-1)
    torch.testing.assert_close(loss.mixed(z.detach(), y), wanted, rtol=1e-8, atol=1e-10)


def test_fenchel_young(loss):
    z, y = _rows()
    value, residual = loss.value_residual(z.clone(), y)
    gap = value + loss.conjugate(residual, y) - (residual * z).sum(dim=-1)
    assert gap.abs().max() < 1e-13
    shrunk = value + loss.conjugate(0.9 * residual, y) - 0.9 * (residual * z).sum(dim=-1)
    assert (shrunk >= -1e-15).all()
    # in logit and thresholds together there is at least as much to lose
    one, less = torch.ones(2, dtype=torch.float64), torch.full((2,), 0.9, dtype=torch.float64)
    assert loss.scaled_gap(z, y, one).abs().max() < 1e-13
    joint = loss.scaled_gap(z, y, less)
    assert (joint >= shrunk - 1e-14).all()
    assert joint.max() > 1e-3


@pytest.mark.parametrize("z", [-1e300, -800.0, -40.5, -1e-9, 0.3, 39.5, 800.0, 1e300])
@pytest.mark.parametrize("interval", [1e-12, 1e-3, 1.0, 50.0])
@pytest.mark.parametrize("c", [0, 1, 2])
def test_digits(z, interval, c):
    """Promise 3: no digit is lost between close thresholds, nor far from them."""
    loss = CumulativeLogit(torch.tensor([[-0.5, interval]], dtype=torch.float64))
    logits, y = torch.full((1, 1, 1), z, dtype=torch.float64), torch.tensor([[[c]]])
    with mpmath.workdps(700):
        first = mpmath.mpf(-0.5)
        ends = [mpmath.mpf("-inf"), first, first + mpmath.mpf(interval), mpmath.mpf("inf")]

        def softplus(u):
            if u == mpmath.mpf("-inf"):
                return mpmath.mpf(0)
            return u + mpmath.log1p(mpmath.exp(-u)) if u > 0 else mpmath.log1p(mpmath.exp(u))

        # log(sigmoid(b) - sigmoid(a)) as differences of logarithms, each of them exact
        exact = softplus(z - ends[c + 1]) + softplus(ends[c] - z)
        if c == 1:
            exact -= mpmath.log(-mpmath.expm1(-mpmath.mpf(interval)))
        found = float(loss.value(logits, y))
        assert abs(found - exact) <= 1e-14 * exact + mpmath.mpf(1e-300)
    log_proba = float(loss.log_proba(logits[0])[0, c])
    assert log_proba == pytest.approx(-found, rel=1e-14, abs=1e-300)


def test_two_classes_are_the_binomial_loss():
    z, y = _rows(n_classes=2)
    threshold = 0.7
    ordinal = CumulativeLogit(torch.tensor([[threshold]], dtype=torch.float64))
    binomial = Binomial()
    for a, b in zip(
        ordinal.value_residual(z, y),
        binomial.value_residual(z - threshold, binomial.encode(y[..., 0])),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-16)
    proba = binomial.predict_proba(z - threshold)
    torch.testing.assert_close(ordinal.predict_proba(z), proba, rtol=1e-14, atol=0)


def test_probabilities_and_margin(loss):
    z, y = _rows(size=200.0)
    proba, log_proba = loss.predict_proba(z), loss.log_proba(z)
    torch.testing.assert_close(proba.sum(dim=-1), torch.ones_like(z[..., 0]), rtol=1e-14, atol=0)
    torch.testing.assert_close(log_proba.exp(), proba, rtol=1e-13, atol=1e-300)
    own = y.expand(-1, 2, 1)
    inside = torch.searchsorted(loss.thresholds[0], z) == own
    assert ((loss.margin(z, y) > 0) == inside[..., 0]).all()
    assert (loss.shares(y).argmax(dim=-1) == y[..., 0]).all()


def test_prior_has_the_shares_of_the_classes(loss):
    weight = torch.tensor([[1.0, 5.0, 2.0, 4.0], [3.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    at = loss.with_nuisance(loss.prior(weight))
    proba = at.predict_proba(torch.zeros(1, 2, 1, dtype=torch.float64))[0]
    torch.testing.assert_close(proba, weight / weight.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("by_model", [False, True])
def test_kernel_computes_what_torch_does(loss, by_model, monkeypatch):
    z, y = _rows(n=700, size=60.0, by_model=by_model)
    weight = torch.rand(len(z), 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = (loss.nuisance_sums(z, y, weight), *loss.weighted(z, y, weight))
    monkeypatch.setattr(kernels, "compiled", lambda name: None)
    wanted = (loss.nuisance_sums(z, y, weight), *loss.weighted(z, y, weight))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)

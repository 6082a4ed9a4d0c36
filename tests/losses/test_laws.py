"""What every loss owes: derivatives, a conjugate, and digits at any logit (promises 1 and 3)."""

import math

import mpmath
import numpy as np
import pytest
import torch

from skorch_logreg.losses import SoftMultinomial, class_weight
from tests.catalogue import LOSSES, shares


@pytest.fixture(params=LOSSES.values(), ids=LOSSES.keys())
def loss(request):
    return request.param


def _rows(loss, n=40, size=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = size * torch.randn(n, 2, loss.n_outputs, generator=generator, dtype=torch.float64)
    n_classes = max(loss.n_outputs, 2)
    classes = torch.randint(0, n_classes, (n,), generator=generator)
    if not type(loss).__name__.startswith("Soft"):
        share = torch.nn.functional.one_hot(classes, n_classes).double()
        return z, loss.encode(classes[:, None]), share
    y = torch.from_numpy(shares(classes.numpy(), n_classes, np.random.default_rng(seed)))
    if n_classes == 2:
        return z, loss.encode(y[:, None]), torch.stack([1 - y, y], dim=1)
    return z, loss.encode(y), y[:, 0]


def test_residual_is_the_derivative(loss):
    z, y, share = _rows(loss)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: _plain(logits, share), z)
    value = loss.value(z.detach(), y)
    same, residual = loss.value_residual(z.detach().clone(), y)
    torch.testing.assert_close(same, value, rtol=1e-14, atol=0)
    (expected,) = torch.autograd.grad(_plain(z, share).sum(), z)
    torch.testing.assert_close(residual, expected, rtol=1e-12, atol=1e-14)
    again, diagonal, rank_one = loss.residual_curvature(z.detach(), y)
    torch.testing.assert_close(again, residual, rtol=1e-14, atol=0)
    torch.testing.assert_close(diagonal, loss.curvature(z.detach())[0], rtol=1e-12, atol=1e-16)
    assert (rank_one is None) == (loss.n_outputs == 1)


def _plain(z, share):
    """The loss as the textbook has it, for autograd."""
    if z.shape[-1] == 1:
        both = torch.cat([z, -z], dim=-1)
        return (share[:, None] * torch.nn.functional.softplus(both, threshold=700.0)).sum(dim=-1)
    return torch.logsumexp(z, dim=-1) - (share[:, None] * z).sum(dim=-1)


def test_residual_of_a_target_of_almost_one_has_all_digits():
    """1 minus the target would be rounded to 16 digits of 1, which moves weakly held fits."""
    y = torch.tensor([[[1 - 4e-9, 1e-9, 3e-9]]], dtype=torch.float64)
    z = torch.tensor([[[0.0, math.log(2e-9), math.log(3e-9)]]], dtype=torch.float64)
    with mpmath.workdps(40):
        wrong = sum(mpmath.exp(mpmath.mpf(v)) for v in z[0, 0, 1:].tolist())
        expected = sum(mpmath.mpf(q) for q in y[0, 0, 1:].tolist()) - wrong / (1 + wrong)
    found = float(SoftMultinomial(3).value_residual(z, y)[1][0, 0, 0])
    assert found == pytest.approx(float(expected), rel=1e-14, abs=0)


def test_value_is_the_textbooks(loss):
    z, y, share = _rows(loss)
    torch.testing.assert_close(loss.value(z, y), _plain(z, share), rtol=1e-13, atol=1e-15)


def test_curvature_is_the_derivative_of_the_residual(loss):
    z, y, _ = _rows(loss, n=8)
    diagonal, rank_one = loss.curvature(z)
    hessian = torch.diag_embed(diagonal)
    if rank_one is not None:
        hessian = hessian - rank_one[..., :, None] * rank_one[..., None, :]
    h = 1e-5
    for k in range(loss.n_outputs):
        up, down = z.clone(), z.clone()
        up[..., k] += h
        down[..., k] -= h
        column = (loss.value_residual(up, y)[1] - loss.value_residual(down, y)[1]) / (2 * h)
        torch.testing.assert_close(hessian[..., k], column, rtol=1e-7, atol=1e-9)


def test_fenchel_young_is_tight_at_the_residual(loss):
    z, y, _ = _rows(loss)
    value, residual = loss.value_residual(z.clone(), y)
    gap = value + loss.conjugate(residual, y) - (residual * z).sum(dim=-1)
    assert gap.abs().max() < 1e-13
    shrunk = value + loss.conjugate(0.9 * residual, y) - 0.9 * (residual * z).sum(dim=-1)
    assert (shrunk >= -1e-15).all()
    assert shrunk.max() > 1e-4


@pytest.mark.parametrize("share", [1 + 2**-52, 1.0, 1 - 2**-52])
def test_conjugate_bears_the_rounding_of_a_residual(loss, share):
    """Rows that are certain and wrong have residuals of one, to the last bit or a bit beyond."""
    z, y, _ = _rows(loss, size=1e4)
    _, residual = loss.value_residual(z.clone(), y)
    assert (residual.abs() == 1).any()
    exact = loss.conjugate(residual * (1 - 2**-52), y)
    found = loss.conjugate(residual * share, y)
    assert found.isfinite().all()
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


def test_margin_tells_who_leads(loss):
    """The class that has the row alone; where several have, none does."""
    z, y, share = _rows(loss)
    leads = share.gather(1, loss.predict_proba(z).argmax(dim=-1)) == 1
    assert leads.any()
    assert ((loss.margin(z, y) > 0) == leads).all()
    order = loss.log_proba(z)
    shared = torch.where(share[:, None] > 0, order, torch.inf).amin(dim=-1)
    behind = order.amax(dim=-1) - shared
    several = (share > 0).sum(dim=1) > 1
    torch.testing.assert_close(loss.margin(z, y)[several], -behind[several])


def test_shares_are_those_that_were_encoded(loss):
    _, y, share = _rows(loss)
    torch.testing.assert_close(loss.shares(y)[:, 0], share.expand_as(loss.shares(y)[:, 0]))


def test_probabilities(loss):
    z, _, _ = _rows(loss, size=200.0)
    p, log_p = loss.predict_proba(z), loss.log_proba(z)
    torch.testing.assert_close(p.sum(dim=-1), torch.ones_like(p[..., 0]), rtol=1e-14, atol=0)
    torch.testing.assert_close(log_p.exp(), p, rtol=1e-13, atol=1e-300)
    assert log_p.isfinite().all()


@pytest.mark.parametrize("z", [-1e300, -710.0, -40.5, -1e-9, 0.0, 1e-9, 39.5, 710.0, 1e300])
@pytest.mark.parametrize("c", [0, 1])
def test_binomial_digits(z, c):
    """Promise 3: 1e-14 of the exact value, wherever the logit lies."""
    loss = LOSSES["binomial"]
    logits, y = torch.full((1, 1, 1), z, dtype=torch.float64), loss.encode(torch.tensor([[c]]))
    value, residual = loss.value_residual(logits.clone(), y)
    with mpmath.workdps(60):
        u = mpmath.mpf(z) if c == 0 else -mpmath.mpf(z)
        exact = u + mpmath.log1p(mpmath.exp(-u)) if u > 0 else mpmath.log1p(mpmath.exp(u))
        slope = 1 / (1 + mpmath.exp(-u)) * (1 if c == 0 else -1)
        assert abs(float(value) - float(exact)) <= 1e-14 * float(exact) + 1e-300
        assert abs(float(residual) - float(slope)) <= 1e-14


@pytest.mark.parametrize("z", [-1e300, -710.0, -40.5, -1e-9, 0.0, 1e-9, 39.5, 710.0, 1e300])
@pytest.mark.parametrize("q", [0.0, 1e-12, 0.3, 0.5, 1 - 2**-40, 1.0])
def test_soft_binomial_digits(z, q):
    """Promise 3: 1e-14 of the exact value, and of both classes' pulls."""
    loss = LOSSES["soft-binomial"]
    logits = torch.full((1, 1, 1), z, dtype=torch.float64)
    y = loss.encode(torch.full((1, 1), q, dtype=torch.float64))
    value, residual = loss.value_residual(logits.clone(), y)
    with mpmath.workdps(60):
        exact = sum(
            share * (u + mpmath.log1p(mpmath.exp(-u)) if u > 0 else mpmath.log1p(mpmath.exp(u)))
            for share, u in ((1 - mpmath.mpf(q), mpmath.mpf(z)), (mpmath.mpf(q), -mpmath.mpf(z)))
        )
        second = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
        first = 1 / (1 + mpmath.exp(mpmath.mpf(z)))
        up, down = (1 - mpmath.mpf(q)) * second, mpmath.mpf(q) * first
        assert abs(float(value) - float(exact)) <= 1e-14 * float(exact) + 1e-300
        assert abs(float(residual) - float(up - down)) <= 1e-15 * float(up + down) + 1e-300


@pytest.mark.parametrize("kind", ["binomial", "multinomial"])
def test_a_share_of_one_is_a_class(kind):
    """To the last digits, at small and large logits."""
    hard, soft = LOSSES[kind], LOSSES[f"soft-{kind}"]
    for size in (1.0, 30.0, 300.0):
        z, y, share = _rows(hard, size=size)
        own = soft.encode(share[:, 1:] if kind == "binomial" else share[:, None])
        value, residual = hard.value_residual(z, y)
        same, again = soft.value_residual(z, own)
        torch.testing.assert_close(same, value, rtol=1e-13, atol=0)
        torch.testing.assert_close(again, residual, rtol=1e-13, atol=1e-15)
        torch.testing.assert_close(
            soft.conjugate(again, own), hard.conjugate(residual, y), rtol=1e-13, atol=1e-14
        )
        torch.testing.assert_close(soft.margin(z, own), hard.margin(z, y), rtol=0, atol=0)


@pytest.mark.parametrize("z", [40.0, 300.0, 709.0])
@pytest.mark.parametrize("kind", ["multinomial", "soft-multinomial"])
def test_multinomial_digits_of_a_well_classified_row(z, kind):
    """The loss of a sure row is exp(-z), which a difference of logits would lose."""
    loss = LOSSES[kind]
    logits = torch.zeros(1, 1, 4, dtype=torch.float64)
    logits[..., 2] = z
    index = torch.tensor([[2]])
    y = loss.encode(index if kind == "multinomial" else torch.eye(4)[index])
    value, residual = loss.value_residual(logits, y)
    exact = math.log1p(3 * math.exp(-z))
    assert float(value) == pytest.approx(exact, rel=1e-13, abs=0)
    assert float(residual[..., 2]) == pytest.approx(-3 * math.exp(-z), rel=1e-13, abs=0)


def test_infinite_logits_give_no_nan(loss):
    """Promise 3: of the right class no loss, of the wrong one an infinite one."""
    if loss.n_outputs > 1:
        pytest.skip("softmax of two infinities has no limit")
    z = torch.tensor([torch.inf, -torch.inf], dtype=torch.float64)[:, None, None]
    y = loss.encode(torch.tensor([[1], [1]]))
    value, residual = loss.value_residual(z, y)
    assert float(value[0]) == 0.0
    assert float(value[1]) >= torch.finfo(torch.float64).max
    assert residual[:, 0, 0].tolist() == [0.0, -1.0]


def test_class_weights_are_counted(loss):
    """Of every model, with targets of its own or those of all."""
    _, y, share = _rows(loss)
    weight = torch.rand(len(y), 2, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(class_weight(loss, y, weight), weight.T @ share)
    both = class_weight(loss, y.expand(-1, 2, -1), weight)
    torch.testing.assert_close(both, weight.T @ share)
    same = weight[:1].expand(len(y), -1)  # as of rows without weights
    torch.testing.assert_close(class_weight(loss, y, same), same.T @ share)
    assert class_weight(loss, y[:0], same[:0]).tolist() == [[0.0] * share.shape[1]] * 2

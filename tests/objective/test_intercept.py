"""Best intercepts for given logits, however far: against a root finder and by their gradient."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from skorch_logreg.objective.intercept import best_shift


def softmax_terms(logits, targets, weight):
    """Gradient, Hessian and size of the multinomial loss, of logits and targets (n, m, K)."""
    looks = []

    def terms(shift):
        looks.append(shift.clone())
        p = torch.softmax(logits + shift, dim=-1)
        residual = (p - targets) * weight[:, None, None]
        heavy = p * weight[:, None, None]
        hessian = torch.diag_embed(heavy.sum(dim=0)) - torch.einsum("nmk,nml->mkl", heavy, p)
        return residual.sum(dim=0), hessian, residual.abs().sum(dim=(0, 2))

    return terms, looks


def logistic_terms(logits, targets, weight):
    """The same of two classes, of logits and targets (n, m)."""
    looks = []

    def terms(shift):
        looks.append(shift.clone())
        wrong = torch.sigmoid((logits + shift[:, 0]) * (1 - 2 * targets))
        residual = (1 - 2 * targets) * wrong * weight[:, None]
        bend = (wrong * (1 - wrong) * weight[:, None]).sum(dim=0)
        return residual.sum(dim=0)[:, None], bend[:, None, None], residual.abs().sum(dim=0)

    return terms, looks


@pytest.mark.parametrize("size", [1.0, 30.0, 100.0, 1000.0])
@pytest.mark.parametrize("seed", range(6))
def test_two_classes(size, seed):
    """All models of a batch, one of which is at its best from the beginning."""
    rng = np.random.default_rng(seed)
    logits = size * rng.normal(size=(100, 4)) + rng.uniform(-size, size, 4)
    y = rng.integers(0, 2, (100, 4)).astype(float)
    weight = rng.uniform(0.1, 3.0, 100)

    def slope(b, model):
        z = np.clip(logits[:, model] + b, -700, 700)
        return float(weight @ (1 / (1 + np.exp(-z)) - y[:, model]))

    best = [
        brentq(slope, -8 * size, 8 * size, args=(i,), xtol=1e-300, rtol=1e-15) for i in range(4)
    ]
    logits[:, 1] += best[1]
    best[1] = 0.0
    terms, looks = logistic_terms(*map(torch.from_numpy, (logits, y, weight)))
    found = best_shift(terms, torch.zeros(4, 1, dtype=torch.float64))
    gradient, _, total = terms(found)
    assert (gradient.abs().amax(dim=-1) <= 2e-14 * total).all()
    assert len(looks) <= 60
    # where nothing is curved any place is as good
    for model in range(4):
        assert abs(slope(float(found[model, 0]), model)) <= 1e-12 * total[model]


@pytest.mark.parametrize("n_classes", [3, 6])
@pytest.mark.parametrize("size", [1.0, 30.0, 100.0, 1000.0])
@pytest.mark.parametrize("seed", range(3))
def test_several_classes(n_classes, size, seed):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(size * rng.normal(size=(100, 3, n_classes)))
    logits[:, 2] /= 100
    y = rng.integers(0, n_classes, (100, 3))
    y[:n_classes] = np.arange(n_classes)[:, None]
    targets = torch.from_numpy(np.eye(n_classes)[y])
    terms, looks = softmax_terms(logits, targets, torch.from_numpy(rng.uniform(0.1, 3.0, 100)))
    found = best_shift(terms, torch.zeros(3, n_classes, dtype=torch.float64))
    gradient, _, total = terms(found)
    assert (gradient.abs().amax(dim=-1) <= 2e-14 * total).all()
    assert len(looks) <= 150


def test_an_ordinary_one_takes_few_looks():
    """Newton's method, whose last step is not looked at: no bracket is needed."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(1000, 1)))
    y = torch.from_numpy((rng.random((1000, 1)) < 0.2).astype(float))
    terms, looks = logistic_terms(logits, y, torch.ones(1000).double())
    found = best_shift(terms, torch.zeros(1, 1, dtype=torch.float64))
    assert len(looks) <= 5
    terms, looks = logistic_terms(logits + found, y, torch.ones(1000).double())
    assert best_shift(terms, torch.zeros(1, 1, dtype=torch.float64)).abs().max() < 1e-14
    assert len(looks) == 1


@pytest.mark.parametrize("rare", [1e-3, 1e-6, 1e-12])
def test_a_rare_class(rare):
    """Where the first Newton step overshoots, on the way there and back."""
    logits, y = torch.zeros(2, 1).double(), torch.tensor([[1.0], [0.0]]).double()
    weight = torch.tensor([rare, 1.0], dtype=torch.float64)
    for start in (0.0, 2 * np.log(rare)):
        terms, looks = logistic_terms(logits + start, y, weight)
        found = best_shift(terms, torch.zeros(1, 1, dtype=torch.float64))
        assert float(found) + start == pytest.approx(np.log(rare), rel=1e-13)
        assert len(looks) <= 35


@pytest.mark.parametrize("n_classes", [2, 3])
def test_an_optimum_at_infinity_ends(n_classes):
    """Of a class that no row has."""
    logits = torch.zeros(10, 1, n_classes).double()
    targets = torch.zeros_like(logits)
    targets[:, :, 0] = 1.0
    terms, looks = softmax_terms(logits, targets, torch.ones(10).double())
    found = best_shift(terms, torch.zeros(1, n_classes, dtype=torch.float64))
    assert found.isfinite().all()
    assert (found[0, 0] - found[0, 1:] > 30).all()
    assert len(looks) <= 201


def test_rows_without_weight_leave_the_start():
    logits, start = torch.ones(3, 2).double(), torch.tensor([[2.0], [3.0]]).double()
    terms, looks = logistic_terms(logits, torch.zeros(3, 2).double(), torch.zeros(3).double())
    assert torch.equal(best_shift(terms, start), start)
    assert len(looks) == 1


def test_what_is_not_finite_is_left():
    logits = torch.full((3, 1), torch.nan).double()
    terms, looks = logistic_terms(logits, torch.zeros(3, 1).double(), torch.ones(3).double())
    best_shift(terms, torch.zeros(1, 1, dtype=torch.float64))
    assert len(looks) <= 3


@pytest.mark.parametrize("n_classes", [3, 5])
def test_a_class_that_only_smoothed_labels_have(n_classes):
    """Its probability vanishes in all rows, and so does its curvature, but not its slope."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 1, n_classes, generator=generator, dtype=torch.float64)
    logits[..., -1] -= 700
    share = 1e-6
    targets = torch.full_like(logits, 0.0)
    targets[..., 0] = 1 - share
    targets[::2, :, :2] = (1 - share) / 2
    targets[..., -1] = share
    terms, _ = softmax_terms(logits, targets, torch.ones(20, dtype=torch.float64))
    gradient, _, size = terms(best_shift(terms, torch.zeros(1, n_classes, dtype=torch.float64)))
    assert gradient.abs().max() <= 2e-14 * size.max()

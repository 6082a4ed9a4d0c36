"""Strengths solved one after another are those solved by themselves (promise 8)."""

import numpy as np
import pytest
import torch

from skorch_logreg.data import from_arrays
from skorch_logreg.fitting import Status, fit
from skorch_logreg.fitting.exact import group_by_reg_strength
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import L2

N_CLASSES = 10


def _problem(n_folds=4, n=1500, p=8):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) * np.logspace(-1, 1, p)
    y = (2 * X @ rng.normal(size=(p, N_CLASSES)) + rng.gumbel(size=(n, N_CLASSES))).argmax(axis=1)
    masks = (np.arange(n)[:, None] % n_folds != np.arange(n_folds)).astype(float)
    return X, y, torch.from_numpy(masks)


def _objective(loss, reg_strength, weight, X, y):
    data = from_arrays(X, y, weight)
    data = data.standardised(data.center, data.scale, loss.encode(data.targets), len(reg_strength))
    return Objective(data, loss, L2(), reg_strength, True)


def test_models_are_the_same_in_any_order_of_strengths():
    X, y, masks = _problem()
    C = torch.tensor([10.0, 0.01, 1000.0, 0.1, 1.0], dtype=torch.float64)
    weight, Cs = masks.repeat_interleave(len(C), 1), C.repeat(masks.shape[1])
    loss = Multinomial(N_CLASSES)
    assert len(group_by_reg_strength(_objective(loss, 1 / Cs, weight, X, y))) == len(C)
    together = fit(from_arrays(X, y, weight), loss, L2(), C=Cs, tol=1e-8, max_iter=500)
    assert set(together.status) == {Status.CONVERGED}
    for i in range(0, len(Cs), 3):
        alone = fit(from_arrays(X, y, weight[:, i]), loss, L2(), C=Cs[i], tol=1e-9, max_iter=500)
        size = float(alone.params.coef.abs().max())
        torch.testing.assert_close(
            together.params.coef[i], alone.params.coef[0], rtol=0, atol=1e-7 * size
        )
        assert float(together.duality_gap[i]) <= 1e-12
        logits = torch.from_numpy(X) @ together.params.coef[i].T + together.params.intercept[i]
        found = together.logits[:, i] - together.logits[:, i].mean(dim=1, keepdim=True)
        torch.testing.assert_close(
            found, logits - logits.mean(dim=1, keepdim=True), rtol=1e-9, atol=1e-9
        )


def test_a_group_is_one_strength_and_the_strongest_comes_first():
    X, y, masks = _problem()
    reg_strength = torch.tensor([0.1, 10.0, 1.0], dtype=torch.float64).repeat(masks.shape[1])
    groups = group_by_reg_strength(
        _objective(Multinomial(N_CLASSES), reg_strength, masks.repeat_interleave(3, 1), X, y)
    )
    assert [float(reg_strength[group].unique()) for group in groups] == [10.0, 1.0, 0.1]
    assert torch.cat(groups).sort().values.equal(torch.arange(len(reg_strength)))


@pytest.mark.parametrize("case", ["two classes", "one strength", "groups of two sizes"])
def test_one_batch_where_turns_would_not_pay(case):
    X, y, masks = _problem()
    reg_strength = torch.tensor([0.1, 10.0], dtype=torch.float64).repeat(masks.shape[1])
    weight, loss = masks.repeat_interleave(2, 1), Multinomial(N_CLASSES)
    if case == "two classes":
        loss, y = Binomial(), (y > 4).astype(int)
    elif case == "one strength":
        reg_strength = torch.ones_like(reg_strength)
    else:
        reg_strength, weight = reg_strength[:-1], weight[:, :-1]
    (group,) = group_by_reg_strength(_objective(loss, reg_strength, weight, X, y))
    assert group.equal(torch.arange(len(reg_strength)))


def test_one_batch_mixes_curvatures_of_any_precision():
    X, y, _ = _problem(n=20_000, p=30)
    C = torch.logspace(-3, 1, 8, dtype=torch.float64)[[0, *range(8)]]  # two groups of two sizes
    solution = fit(from_arrays(X, y % 5), Multinomial(5), L2(), C=C)
    assert set(solution.status) == {Status.CONVERGED}

"""Test what `notebooks/migration.md` says of the objectives of other packages."""

import re
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

import skorch_logreg
from skorch_logreg import TorchLogisticClassifier, penalties, solvers
from skorch_logreg.penalties import GroupL2
from tests.estimators.data import binary, multi

EXACT = {"tol": 1e-8, "max_iter": 1000}


def log_loss(X, y, coef, intercept):
    """Mean over the rows, from its definition."""
    z = X @ coef.T + intercept
    if z.shape[1] == 1:
        z = np.hstack([np.zeros_like(z), z])
    return (np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]).mean()


def test_the_guide_names_classes_that_there_are():
    guide = Path(__file__).parents[1] / "notebooks" / "migration.md"
    used = [line.split(" | ")[1] for line in guide.read_text().splitlines() if " | " in line]
    names = re.findall(r"\b[A-Z][a-z]\w+(?=\()", " ".join(used))
    rooms = (skorch_logreg, solvers, penalties)
    assert len(names) > 10
    assert [name for name in names if not any(hasattr(room, name) for room in rooms)] == []


def is_minimum(objective, model):
    """Whether the derivative along random directions of what is not zero is nothing."""
    rng = np.random.default_rng(0)
    step = 1e-5
    slopes = []
    for _ in range(20):
        d = step * rng.normal(size=model.coef_.shape) * (model.coef_ != 0)
        e = step * rng.normal(size=model.intercept_.shape)
        there = objective(model.coef_ + d, model.intercept_ + e)
        back = objective(model.coef_ - d, model.intercept_ - e)
        slopes.append(abs(there - back) / (2 * step))
    return max(slopes) <= 1e-6


@pytest.mark.parametrize("r", [0.0, 0.5])
def test_sgd_classifier(r):
    X, y = binary()
    alpha = 0.02
    theirs = SGDClassifier(
        loss="log_loss", alpha=alpha, penalty="elasticnet", l1_ratio=r,
        max_iter=3000, tol=None, random_state=0,
    ).fit(X, y)  # fmt: skip
    ours = TorchLogisticClassifier(C=1 / (alpha * len(y)), l1_ratio=r).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-2)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=2e-2)


def test_weight_decay_of_a_training_loop():
    X, y = binary()
    decay = 0.05
    module = torch.nn.Linear(X.shape[1], 1, dtype=torch.float64)
    sgd = torch.optim.SGD(
        [{"params": module.weight, "weight_decay": decay}, {"params": module.bias}], lr=0.5
    )
    rows, labels = torch.from_numpy(X.copy()), torch.from_numpy(y.astype(float))
    for _ in range(1000):
        sgd.zero_grad()
        logits = module(rows)[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        sgd.step()
    ours = TorchLogisticClassifier(C=1 / (decay * len(y)), **EXACT).fit(X, y)
    np.testing.assert_allclose(module.weight.detach().numpy(), ours.coef_, rtol=1e-6)


def test_statsmodels():
    X, y = binary()
    logit = sm.Logit(y, sm.add_constant(X))
    ours = TorchLogisticClassifier(C=float("inf"), **EXACT).fit(X, y)
    params = logit.fit(disp=False).params
    np.testing.assert_allclose(np.r_[ours.intercept_, ours.coef_[0]], params, rtol=1e-5)
    a = 5.0
    theirs = logit.fit_regularized(alpha=a * (np.arange(5) > 0), disp=False, acc=1e-10)
    ours = TorchLogisticClassifier(C=1 / a, l1_ratio=1, **EXACT).fit(X, y)
    np.testing.assert_allclose(np.r_[ours.intercept_, ours.coef_[0]], theirs.params, atol=1e-4)
    weights = np.arange(len(y)) % 3
    glm = sm.GLM(y, sm.add_constant(X), family=sm.families.Binomial(), freq_weights=weights)
    ours = TorchLogisticClassifier(C=float("inf"), **EXACT).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(ours.coef_[0], glm.fit().params[1:], rtol=1e-5)


def test_statsmodels_of_more_classes():
    X, y = multi()
    params = sm.MNLogit(y, sm.add_constant(X)).fit(disp=False).params
    ours = TorchLogisticClassifier(C=float("inf"), **EXACT).fit(X, y)
    np.testing.assert_allclose((ours.coef_[1:] - ours.coef_[0]).T, params[1:], rtol=1e-4)


@pytest.mark.parametrize("a", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("data", [binary, multi])
def test_glmnet(data, a):
    """Its objective (Friedman, Hastie, Tibshirani 2010, equations 13 and 22), written out."""
    X, y = data()
    X = StandardScaler().fit_transform(X * [1, 10, 100, 1000])
    strength = 0.03

    def objective(coef, intercept):
        penalty = (1 - a) / 2 * (coef**2).sum() + a * np.abs(coef).sum()
        return log_loss(X, y, coef, intercept) + strength * penalty

    def model(strength):
        given = {"C": 1 / (len(y) * strength), "l1_ratio": a}
        return TorchLogisticClassifier(**given, **EXACT).fit(X, y)

    assert is_minimum(objective, model(strength))
    assert not is_minimum(objective, model(1.01 * strength))


def test_grouped_glmnet():
    X, y = multi()
    X = StandardScaler().fit_transform(X)
    strength = 0.03

    def objective(coef, intercept):
        norms = np.sqrt((coef**2).sum(axis=0))
        return log_loss(X, y, coef, intercept) + strength * norms.sum()

    def model(strength):
        penalty = GroupL2(range(X.shape[1]))
        given = {"penalty": penalty, "C": 1 / (len(y) * strength)}
        return TorchLogisticClassifier(**given, **EXACT).fit(X, y)

    assert is_minimum(objective, model(strength))
    assert not is_minimum(objective, model(1.01 * strength))

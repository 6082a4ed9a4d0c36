"""Lists of models: batches within a limit, equal to single fits, and classes that are absent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skorch_logreg.data import from_arrays
from skorch_logreg.fitting import Params, Status, fit
from skorch_logreg.fitting.batch import SATURATED_LOGIT, BatchFitter, Models
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.penalties import L2, ElasticNet

PENALTIES = [L2(), ElasticNet(0.5)]
FOLDS, CS = 3, 2


def fitter(n_classes, max_models=100, fit_intercept=True):
    """Folds of 60 rows; the last one lacks the last class."""
    rng = np.random.default_rng(0)
    X, index = rng.normal(size=(60, 3)), torch.from_numpy(rng.integers(0, n_classes, 60))
    weight = torch.from_numpy(rng.uniform(0.1, 2, size=(60, FOLDS)))
    weight[:, -1] *= index != n_classes - 1
    return BatchFitter(
        rows=lambda targets, weight: from_arrays(X, targets, weight),
        columns=lambda numbers: (index, weight[:, numbers]),
        loss=Binomial() if n_classes == 2 else Multinomial(n_classes),
        penalty=lambda number, device: PENALTIES[number],
        n_features=3,
        max_models=max_models,
        fit_intercept=fit_intercept,
        options={"tol": 1e-9, "bound": False},
    )


def models(**more):
    penalty, fold, c = np.indices((len(PENALTIES), FOLDS, CS)).reshape(3, -1)
    return Models(fold, torch.tensor([0.1, 2.0], dtype=torch.float64)[c], penalty, c, **more)


@pytest.mark.parametrize("max_models", [1, 2, 3, 5, 6, 100])
def test_batches_hold_every_model_once_and_groups_as_a_whole(max_models):
    given = models()
    batches = list(fitter(2, max_models).batches(given))
    assert sorted(np.concatenate(batches)) == list(range(12))
    for part in batches:
        assert len(part) <= max_models
        assert len(set(given.penalty[part])) == 1
        assert (np.diff(part) > 0).all()
        if max_models >= FOLDS:
            assert all((given.group[part] == c).sum() in (0, FOLDS) for c in range(CS))
    assert len(batches) == {1: 12, 2: 8, 3: 4, 5: 4, 6: 2, 100: 2}[max_models]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("max_models", [1, 3, 4, 100])
def test_any_batch_equals_single_fits(n_classes, max_models):
    given, seen = models(), []
    many = fitter(n_classes, max_models)
    found = many.fit_all(given, lambda part, result: seen.append((part, result)))
    for model in np.flatnonzero(given.column < FOLDS - 1):
        index, weight = many.columns(given.column[[model]])
        one = fit(
            many.rows(index, weight),
            many.loss,
            PENALTIES[given.penalty[model]],
            C=given.C[model],
            **many.options,
        )
        torch.testing.assert_close(found.params.coef[model], one.params.coef[0], rtol=0, atol=1e-7)
    assert found.n_passes == sum(result.n_passes for _, result in seen)
    assert set(found.status) == {Status.CONVERGED}
    for part, result in seen:
        torch.testing.assert_close(result.params.coef, found.params.coef[part], rtol=0, atol=0)
        assert result.logits.shape == (60, len(part), many.loss.n_outputs)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_an_absent_class_has_probability_zero(n_classes):
    many, given = fitter(n_classes), models()
    lacks = np.flatnonzero(given.column == FOLDS - 1)[:CS]
    result = many.fit(given, lacks)
    if n_classes == 2:
        assert (result.params.intercept == -SATURATED_LOGIT).all()
        assert (result.logits.sigmoid() == 0).all()
        assert result.n_passes == 0
    else:
        assert (result.logits.softmax(dim=2)[:, :, 2] == 0).all()
        assert (result.params.coef[:, 2] == 0).all()
    finite = replace(many, fit_intercept=False).fit(given, lacks)
    assert (finite.params.coef[:, -1] != 0).any()


def test_one_class_of_three_is_certain():
    many, given = fitter(3), models()
    only = replace(
        many, columns=lambda numbers: (torch.ones(60, dtype=torch.int64), torch.ones(60))
    )
    result = only.fit(given, np.arange(2))
    assert (result.logits.softmax(dim=2)[:, :, 1] == 1).all()
    torch.testing.assert_close(
        result.params.intercept.sum(dim=1), torch.zeros(2).double(), rtol=0, atol=1e-12
    )


def test_constant_models_are_not_fitted():
    constant = np.tile([1, -1, 0], 4)
    result = fitter(2, fit_intercept=False).fit(models(constant=constant), np.arange(3))
    torch.testing.assert_close(
        result.params.intercept[:, 0],
        torch.tensor([SATURATED_LOGIT, -SATURATED_LOGIT, 0], dtype=torch.float64),
    )
    assert (result.params.coef[:2] == 0).all()
    assert (result.params.coef[2] != 0).any()


def test_a_start_at_the_optimum_takes_no_iteration():
    given = models()
    found = fitter(3).fit_all(given)
    params = Params(found.params.coef, found.params.intercept)
    again = fitter(3).fit(replace(given, start=params), np.arange(4))
    assert (again.n_iter <= 1).all()


def sweep(max_models, Cs, n_classes=40, n=1500, p=80):
    """Fit two folds for every C, and return the result with the passes of every batch."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, n_classes, n)
    X = rng.normal(size=(n_classes, p))[index] + 2 * rng.normal(size=(n, p)) * np.logspace(0, 1, p)
    weight = torch.from_numpy((np.arange(n)[:, None] % 3 != np.arange(2)).astype(float))
    many = BatchFitter(
        rows=lambda targets, weight: from_arrays(X, targets, weight),
        columns=lambda numbers: (torch.from_numpy(index), weight[:, numbers]),
        loss=Multinomial(n_classes),
        penalty=lambda number, device: L2(),
        n_features=p,
        max_models=max_models,
        fit_intercept=True,
        options={"tol": 1e-3},
    )
    fold, c = np.indices((2, len(Cs))).reshape(2, -1)
    passes = []
    given = Models(fold, torch.as_tensor(Cs, dtype=torch.float64)[c], group=c)
    return many.fit_all(given, lambda part, result: passes.append(result.n_passes)), passes


@pytest.mark.parametrize("max_models", [1, 3])
def test_a_sweep_starts_every_batch_from_the_last(max_models):
    Cs = np.logspace(-4, 0, 7)
    found, passes = sweep(max_models, Cs)
    alone = [sweep(max_models, [C]) for C in Cs[::3]]
    assert set(found.status) == {Status.CONVERGED}
    for value, (one, _) in zip(found.value.reshape(2, -1)[:, ::3].T, alone, strict=True):
        torch.testing.assert_close(value, one.value, rtol=2e-5, atol=0)
    assert sum(passes) < 0.6 * len(Cs) * np.mean([sum(counts) for _, counts in alone])

"""Test the prior correction against fits to rows weighted to the true class rates."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    MultiLabel,
    NeuralLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
    correct_prior,
)
from tests.estimators.labels import labels

PRIORS = {2: 0.07, 3: np.array([0.1, 0.85, 0.05])}


def cells(n_classes, n=300, seed=0):
    """A column for every kind of row but one: no model fits better, so weights move it alone."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, n)
    shares = rng.dirichlet(3 * np.ones(n_classes), 4)
    y = np.array([rng.choice(n_classes, p=shares[k]) for k in kind])
    return np.eye(4)[kind][:, 1:], y


def rates(n_classes):
    prior = PRIORS[n_classes]
    return np.array([1 - prior, prior]) if n_classes == 2 else prior


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("by", ["y", "sample_prior"])
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_a_fit_to_weighted_rows(n_classes, by, make):
    """Exactly, where the model has a parameter for every kind of row."""
    X, y = cells(n_classes)
    own = np.bincount(y) / len(y)
    model = TorchLogisticClassifier(C=np.inf, tol=1e-9).fit(make(X), make(y))
    given = make(y) if by == "y" else own[1] if n_classes == 2 else own
    corrected = correct_prior(model, PRIORS[n_classes], **{by: given})
    weighted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(
        X, y, (rates(n_classes) / own)[y]
    )
    expected = weighted.predict_proba(X)
    found = np.asarray(corrected.predict_proba(make(X)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_array_equal(corrected.coef_, model.coef_)
    assert type(corrected.intercept_) is type(model.intercept_)
    assert float(corrected.intercept_.sum()) == pytest.approx(
        float(corrected.intercept_[0]) if n_classes == 2 else float(model.intercept_.sum()),
        abs=1e-9,
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_bayes_rule(n_classes):
    """Odds are multiplied by the ratio of the rates, whatever the penalty."""
    X, y = cells(n_classes)
    model = TorchLogisticClassifier(C=0.1).fit(X, y)
    p = model.predict_proba(X) * rates(n_classes) / (np.bincount(y) / len(y))
    corrected = correct_prior(model, PRIORS[n_classes], y=y)
    np.testing.assert_allclose(
        corrected.predict_proba(X), p / p.sum(axis=1, keepdims=True), rtol=1e-12
    )


def test_both_rates_of_two_classes():
    X, y = cells(2)
    model = TorchLogisticClassifier().fit(X, y)
    found = correct_prior(model, [0.9, 0.1], sample_prior=[0.6, 0.4]).intercept_
    expected = correct_prior(model, 0.1, sample_prior=0.4).intercept_
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.5, 1: 3.0}])
def test_it_undoes_class_weights(n_classes, weighted, class_weight):
    X, y = cells(n_classes)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else None
    own = np.bincount(y, weights=weight)
    own = own / own.sum()
    plain = TorchLogisticClassifier(C=np.inf, tol=1e-9).fit(X, y, weight)
    model = TorchLogisticClassifier(C=np.inf, tol=1e-9, class_weight=class_weight)
    model.fit(X, y, weight)
    prior = own[1] if n_classes == 2 else own
    corrected = correct_prior(model, prior, y=y, sample_weight=weight)
    np.testing.assert_allclose(corrected.predict_proba(X), plain.predict_proba(X), rtol=1e-5)


def test_case_control_rows_of_many():
    """Cases that are all kept beside a few of the rest: the population's intercept."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 3))
    coef, intercept = np.array([1.0, -0.5, 0.0]), -5.0
    y = rng.random(len(X)) < 1 / (1 + np.exp(-X @ coef - intercept))
    kept = y | (rng.random(len(X)) < 0.02)
    model = TorchLogisticClassifier(C=np.inf).fit(X[kept], y[kept])
    corrected = correct_prior(model, y.mean(), y=y[kept])
    assert abs(model.intercept_[0] - intercept) > 3
    assert corrected.intercept_[0] == pytest.approx(intercept, abs=0.15)
    assert corrected.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), rel=0.05)


def test_labels_each_by_its_own_rate():
    X, Y = labels()
    Y = Y.astype(float)
    Y[:10, 1] = np.nan
    model = MultiLabel().fit(X, Y)
    prior = [0.1, 0.2, 0.3]
    corrected = correct_prior(model, prior, y=Y)
    for k in range(3):
        known = ~np.isnan(Y[:, k])
        one = TorchLogisticClassifier().fit(X[known], Y[known, k])
        alone = correct_prior(one, prior[k], y=Y[known, k])
        shift = corrected.intercept_[k] - model.intercept_[k]
        assert shift == pytest.approx((alone.intercept_ - one.intercept_)[0], rel=1e-12)


def test_pipelines_labels_and_what_is_given_stays():
    X, y = cells(2)
    names = np.array(["no", "yes"])[y]
    model = make_pipeline(StandardScaler(), TorchLogisticClassifier()).fit(X, names)
    before = model[-1].intercept_.copy()
    corrected = correct_prior(model, 0.5, y=names)
    np.testing.assert_array_equal(model[-1].intercept_, before)
    shift = -np.log(y.mean() / (1 - y.mean()))
    np.testing.assert_allclose(corrected[-1].intercept_, before + shift, rtol=1e-12)
    column = correct_prior(model, 0.5, y=names[:, None])
    np.testing.assert_array_equal(column[-1].intercept_, corrected[-1].intercept_)
    single = TorchLogisticClassifier().fit(X.astype(np.float32), y)
    assert correct_prior(single, 0.5, y=y).intercept_.dtype == np.float32


@pytest.mark.parametrize("make", [pd.Series, dict])
@pytest.mark.parametrize("classes", [["hi", "lo", "mid"], [3, 4, 5], ["no", "yes"], [0, 1]])
def test_rates_by_the_names_of_classes(make, classes):
    X, index = cells(len(classes))
    y = pd.Series(np.array(classes)[index])
    model = TorchLogisticClassifier().fit(X, y)
    in_order = rates(len(classes))
    prior = make(dict(zip(classes[::-1], in_order[::-1], strict=True)))
    found = correct_prior(model, prior, sample_prior=y.value_counts(normalize=True))
    expected = correct_prior(model, PRIORS[len(classes)], y=y)
    np.testing.assert_allclose(found.intercept_, expected.intercept_, rtol=1e-12)
    with pytest.raises(ParameterError, match=f"prior has values for {classes[0]}; expected one"):
        correct_prior(model, make({classes[0]: 1.0}), y=y)


def test_rates_by_the_names_of_labels():
    X, Y = labels()
    Y = pd.DataFrame(Y, columns=list("abc"))
    model = MultiLabel().fit(X, Y)
    found = correct_prior(model, {"c": 0.3, "a": 0.1, "b": 0.2}, sample_prior=Y.mean()[::-1])
    expected = correct_prior(model, [0.1, 0.2, 0.3], y=Y)
    np.testing.assert_allclose(found.intercept_, expected.intercept_, rtol=1e-12)


@pytest.mark.parametrize(
    ("n_classes", "prior", "parameters", "text"),
    [
        (2, 0.0, {"sample_prior": 0.5}, r"prior is 0.0; it must lie in \(0, 1\)"),
        (2, np.nan, {"sample_prior": 0.5}, "prior is nan"),
        (2, [[0.5]], {"sample_prior": 0.5}, r"prior has shape \(1, 1\), expected \(\)"),
        (2, [0.5] * 3, {"sample_prior": 0.5}, r"prior has shape \(3,\), expected \(2,\)"),
        (2, [0.5, 0.6], {"sample_prior": 0.5}, "prior sums to 1.1"),
        (2, "a", {"sample_prior": 0.5}, "prior is 'a', expected rates"),
        (2, 0.5, {"sample_prior": 1.0}, "sample_prior is 1.0"),
        (2, 0.5, {}, "neither of y and sample_prior"),
        (2, 0.5, {"y": [0, 1], "sample_prior": 0.5}, "both of y and sample_prior"),
        (2, 0.5, {"sample_prior": 0.5, "sample_weight": [1.0]}, "sample_weight goes with y"),
        (2, 0.5, {"y": [0, 0]}, "the rate in y is 0.0"),
        (2, 0.5, {"y": ["a", "b"]}, "y holds"),
        (3, [0.5, 0.2, 0.2], {"sample_prior": [0.4, 0.3, 0.3]}, "prior sums to 0.9"),
        (3, 0.5, {"y": [0, 1, 2]}, r"prior has shape \(\), expected \(3,\)"),
    ],
)
def test_what_is_not_allowed(n_classes, prior, parameters, text):
    X, y = cells(n_classes)
    with pytest.raises(ParameterError, match=text):
        correct_prior(TorchLogisticClassifier().fit(X, y), prior, **parameters)


def test_what_has_no_intercept_to_correct():
    X, y = cells(2)
    for model in (TorchLogisticClassifier, LogisticRegression):
        with pytest.raises(ParameterError, match="fit_intercept=False"):
            correct_prior(model(fit_intercept=False).fit(X, y), 0.1, y=y)
    network = NeuralLogisticClassifier((2,)).fit(X, y)
    with pytest.raises(ParameterError, match="has no intercept_"):
        correct_prior(network, 0.1, y=y)
    with pytest.raises(NotFittedError):
        correct_prior(TorchLogisticClassifier(), 0.1, y=y)
    many = cells(3)
    with pytest.raises(ParameterError, match="each against the rest"):
        correct_prior(MultiLabel().fit(*many), PRIORS[3], y=many[1])
    X, Y = labels()
    with pytest.raises(ParameterError, match="give sample_prior"):
        correct_prior(MultiLabel(class_weight="balanced").fit(X, Y), [0.1] * 3, y=Y)
    with pytest.raises(ParameterError, match="fit_intercept=False"):
        correct_prior(MultiLabel(TorchLogisticClassifier(fit_intercept=False)).fit(X, Y), 0.1, y=Y)


@pytest.mark.parametrize("wrap", [lambda model: model, MultiLabel])
def test_rates_of_labels_that_were_smoothed_are_not_those_of_y(wrap):
    X, Y = labels()
    Y = Y[:, 0] if wrap is not MultiLabel else Y
    model = wrap(TorchLogisticClassifier(label_smoothing=0.2)).fit(X, Y)
    prior = 0.1 if Y.ndim == 1 else [0.1] * 3
    with pytest.raises(ParameterError, match=r"label_smoothing=0.2; give sample_prior"):
        correct_prior(model, prior, y=Y)


def test_rates_of_probabilities_are_given():
    X, y = cells(2)
    model = TorchLogisticClassifier(soft_labels=True).fit(X, 0.2 + 0.6 * y)
    with pytest.raises(ParameterError, match="soft_labels=True; give sample_prior"):
        correct_prior(model, 0.1, y=0.2 + 0.6 * y)
    moved = correct_prior(model, 0.1, sample_prior=0.5)
    np.testing.assert_allclose(moved.intercept_ - model.intercept_, np.log(0.1 / 0.9))

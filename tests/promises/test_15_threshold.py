"""Promise 15: `predict` is `predict_proba[:, 1] >= threshold`, ties included."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skorch_logreg import TorchLogisticClassifier
from tests.problems import load

few = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def fitted(dtype=np.float64):
    case = load("binary")
    X = case.X.astype(dtype)
    return TorchLogisticClassifier().fit(X, np.array(["no", "yes"])[case.y]), X


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("container", [np.array, sp.csr_array])
def test_15_ties_are_positive(dtype, container):
    """Every row's own probability as the threshold, so that every one of them is a tie."""
    model, X = fitted(dtype)
    p = model.predict_proba(container(X))[:, 1]
    for threshold in p:
        model.set_params(threshold=float(threshold))
        labels = model.predict(container(X))
        np.testing.assert_array_equal(labels == "yes", p >= threshold)


@few
@given(threshold=st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_15_any_threshold(threshold):
    model, X = fitted()
    far = np.r_[X, 30 * X, 1e3 * X]
    p = model.predict_proba(far)[:, 1]
    model.set_params(threshold=threshold)
    np.testing.assert_array_equal(model.predict(far) == "yes", p >= threshold)


def test_15_one_half_is_a_logit_of_zero():
    """The deliberate departure from scikit-learn: a logit of exactly 0 is positive."""
    model, X = fitted()
    model.coef_[...], model.intercept_[...] = 0, 0
    assert (model.predict(X) == "yes").all()
    model.intercept_[...] = -1e-15
    assert (model.predict(X) == "no").all()


def test_15_decided_in_logit_space():
    """Thresholds of which the probabilities on the other side are a rounded 1 or a tiny number."""
    model, X = fitted()
    model.coef_[...] = 0
    for logit in (-700.0, -300.0, -40.0, 30.0):
        threshold = float(1 / (1 + np.exp(-logit)))
        model.set_params(threshold=threshold)
        model.intercept_[...] = logit - 1e-2 * abs(logit)
        assert (model.predict(X[:3]) == "no").all()
        model.intercept_[...] = logit + 1e-2 * abs(logit)
        assert (model.predict(X[:3]) == "yes").all()


def test_15_setting_it_needs_no_refit_and_changes_nothing_else():
    model, X = fitted()
    p, z = model.predict_proba(X), model.decision_function(X)
    strict = TorchLogisticClassifier(threshold=0.9).fit(X, model.predict(X))
    assert strict.threshold == 0.9
    for threshold in (0.1, 0.9):
        model.threshold = threshold
        np.testing.assert_array_equal(model.predict(X) == "yes", p[:, 1] >= threshold)
        np.testing.assert_array_equal(model.predict_proba(X), p)
        np.testing.assert_array_equal(model.decision_function(X), z)


def test_15_it_does_not_reach_the_fit():
    case = load("binary")
    a, b = (TorchLogisticClassifier(threshold=t).fit(case.X, case.y) for t in (0.5, 0.01))
    np.testing.assert_array_equal(a.coef_, b.coef_)
    assert b.predict(case.X).sum() > a.predict(case.X).sum()
    assert b.score(case.X, case.y) == np.mean(b.predict(case.X) == case.y)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, np.inf, "0.5", None])
def test_15_outside_the_range_is_an_error_even_after_fit(threshold):
    model, X = fitted()
    model.threshold = threshold
    with pytest.raises(ValueError, match="threshold"):
        model.predict(X)
    with pytest.raises(ValueError, match="threshold"):
        model.fit(X, X[:, 0] > 0)


def test_15_three_classes_take_no_threshold():
    case = load("three_classes")
    with pytest.raises(ValueError, match="threshold"):
        TorchLogisticClassifier(threshold=0.4).fit(case.X, case.y)
    model = TorchLogisticClassifier().fit(case.X, case.y)
    model.threshold = 0.4
    with pytest.raises(ValueError, match="threshold"):
        model.predict(case.X)

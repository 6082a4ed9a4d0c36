"""Test that the analysis of a fit that did not converge warns once or raises an error."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    OffsetLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
    bootstrap,
    influence,
    likelihood_ratio_test,
    marginal_effects,
    profile_intervals,
    summary,
    variance_inflation,
)
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import SGD, Adam


def rows(n=200):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return X, (5 * X[:, 0] + rng.logistic(size=n) > 0).astype(int)


def fitted(X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return TorchLogisticClassifier(**{"C": np.inf} | options).fit(X, y)


def complete(X, y):
    """Rows that the first column separates."""
    return X, (X[:, 0] > 0).astype(int)


def quasi(X, y):
    """A column of zeros and ones whose ones are of one class."""
    rare = np.zeros(len(y))
    rare[np.flatnonzero(y == 0)[:9]] = 1.0
    return np.column_stack([X[:, 1:], rare]), y


def declared(model):
    """A model that says that it has not converged, as a fit to separable rows does."""
    model.converged_ = False
    return model


def partly_fitted(X, y):
    return TorchLogisticClassifier(C=np.inf).partial_fit(X, y, classes=[0, 1])


CASES = {
    "max_iter": (lambda X, y: (fitted(X, y, max_iter=2, tol=1e-10), X, y), "max_iter = 2"),
    "ridge": (lambda X, y: (fitted(X, y, C=9.0, max_iter=1, tol=1e-10), X, y), "max_iter = 1"),
    "complete": (
        lambda X, y: (fitted(*complete(X, y)), *complete(X, y)),
        "completely separable.*firth",
    ),
    "quasi": (
        lambda X, y: (declared(fitted(*quasi(X, y))), *quasi(X, y)),
        "x2.* separate the classes.*firth",
    ),
    "mini-batches": (lambda X, y: (fitted(X, y, solver=SGD(epochs=3)), X, y), "mini-batches"),
    "partial_fit": (lambda X, y: (partly_fitted(X, y), X, y), "mini-batches.* exact solver"),
    "scikit-learn's, of separable rows": (
        lambda X, y: (LogisticRegression(C=np.inf).fit(*complete(X, y)), *complete(X, y)),
        "completely separable",
    ),
    "declared": (lambda X, y: (declared(fitted(X, y)), X, y), "warning of its fit"),
    "declared, after epochs": (
        lambda X, y: (declared(fitted(X, y, solver=Adam(epochs=101, finish="exact"))), X, y),
        "warning of its fit",
    ),
    "max_iter, after epochs": (
        lambda X, y: (
            fitted(X, y, solver=Adam(epochs=3, finish="exact"), max_iter=1, tol=1e-12),
            X,
            y,
        ),
        "max_iter = 1",
    ),
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("analyse", [summary, marginal_effects, influence])
def test_said_in_one_warning_and_in_the_result(analyse, kind):
    make, reason = CASES[kind]
    model, X, y = make(*rows())
    # influence of rows whose probability rounds to 1 is no matter of this test
    with (
        np.errstate(invalid="ignore"),
        pytest.warns(ConvergenceWarning, match=f"did not converge.*{reason}") as caught,
    ):
        found = analyse(model, X, y)
    (warning,) = caught
    assert warning.filename == __file__
    assert found.convergence_message in str(warning.message)
    optimality = getattr(model, "optimality_", np.nan)
    if np.isfinite(optimality):
        assert f"optimality_ = {optimality:.2g}" in found.convergence_message
    if analyse is summary:
        assert str(found).endswith(found.convergence_message)
        if np.isfinite(found.covariance).all():
            assert str(variance_inflation(found)).endswith(found.convergence_message)


@pytest.mark.parametrize("kind", CASES)
def test_refused_where_a_result_cannot_say_it(kind):
    make, reason = CASES[kind]
    model, X, y = make(*rows())
    if kind != "ridge":
        with pytest.raises(ParameterError, match=reason):
            profile_intervals(model, X, y)
    if "scikit" not in kind:
        with pytest.raises(ParameterError, match=r"did not converge|finish='exact'"):
            bootstrap(model, X, y, n_resamples=2)


@pytest.mark.parametrize("kind", ["max_iter", "complete"])
@pytest.mark.parametrize("which", ["larger", "smaller"])
def test_a_likelihood_ratio_needs_two_maxima(which, kind):
    make, reason = CASES[kind]
    model, X, y = make(*rows())
    with pytest.warns(ConvergenceWarning):
        found = {"larger": summary(model, X, y)}
    found["smaller"] = summary(fitted(X[:, 1:], y), X[:, 1:], y)
    if which == "smaller":
        found = {"larger": found["smaller"], "smaller": found["larger"]}
    with pytest.raises(ParameterError, match=f"{which} is not at the maximum.*{reason}"):
        likelihood_ratio_test(found["larger"], found["smaller"])


@pytest.mark.parametrize("wrap", [TorchLogisticClassifier, LogisticRegression])
@pytest.mark.parametrize("C", [1.0, np.inf])
def test_nothing_is_said_of_a_fit_that_converged(wrap, C):
    """Warnings are errors here."""
    X, y = rows()
    model = make_pipeline(StandardScaler(), wrap(C=C)).fit(X, y)
    found = summary(model, X, y)
    assert found.convergence_message is None
    assert "converge" not in str(found)
    X, y = complete(X, y)
    X[:, 0] += y
    ridge = wrap(C=10.0, tol=1e-6).fit(X, y)
    assert ridge.score(X, y) == 1
    assert summary(ridge, X, y).convergence_message is None
    exact = TorchLogisticClassifier(solver=Adam(epochs=2, finish="exact")).fit(X, y)
    assert summary(exact, X, y).convergence_message is None


def test_rows_that_do_not_count_do_not_hide_separation():
    X, y = complete(*rows())
    weight = np.ones(len(y))
    y[:5], weight[:5] = 1 - y[:5], 0.0
    model = fitted(X[5:], y[5:])
    del model.converged_  # as of scikit-learn: the rows tell
    with pytest.warns(ConvergenceWarning, match="completely separable"):
        summary(model, X, y, sample_weight=weight)
    assert summary(model, X, y).convergence_message is None
    one = y == 1  # no plane is needed for rows of one class
    assert summary(model, X[one], y[one], sample_weight=weight[one]).convergence_message is None


def test_columns_are_named():
    X, y = quasi(*rows())
    X = pd.DataFrame(X, columns=["age", "income", "rare"])
    model = declared(fitted(X, y, penalty_factor=[1.0, 1.0, 0.0], C=1.0))
    with pytest.warns(ConvergenceWarning, match=r"\): rare separate"):
        summary(model, X, y)
    ridge = declared(fitted(X, y, penalty_factor=[1.0, 1.0, 0.1], C=1.0))
    with pytest.warns(ConvergenceWarning, match="warning of its fit"):
        summary(ridge, X, y)


def test_the_unconverged_figures_are_not_the_maximum_s():
    """What the message is for: the figures look like any others."""
    X, y = rows()
    far = fitted(X, y, max_iter=2, tol=1e-10)
    with pytest.warns(ConvergenceWarning):
        found = summary(far, X, y)
    assert found.p_value[0] < 1e-3
    best = summary(fitted(X, y, tol=1e-10), X, y)
    assert abs(found.coef[0] - best.coef[0]) > best.standard_error[0]


def test_means_over_folds_and_rows_held_out_are_refused():
    X, y = rows()
    chosen = TorchLogisticClassifierCV(
        Cs=[0.5], cv=2, l1_ratios=(0,), refit=False, scoring="neg_log_loss",
        use_legacy_attributes=False,
    ).fit(X, y)  # fmt: skip
    solver = Adam(epochs=2, validation_fraction=0.2, finish="exact")
    held_out = TorchLogisticClassifier(solver=solver).fit(X, y)
    assert held_out.converged_
    for analyse in (summary, marginal_effects, influence, bootstrap):
        with pytest.raises(ParameterError, match="refit=False"):
            analyse(chosen, X, y)
        with pytest.raises(ParameterError, match="validation_fraction"):
            analyse(held_out, X, y)


@pytest.mark.parametrize("analyse", [summary, marginal_effects, influence, bootstrap])
def test_columns_in_another_order_are_refused(analyse):
    X, y = rows()
    X = pd.DataFrame(X, columns=["a", "b", "c"])
    model = TorchLogisticClassifier().fit(X, y)
    with pytest.raises(ValueError, match="feature names should match"):
        analyse(model, X[["b", "a", "c"]], y)


def test_a_separating_plane_is_one_whatever_the_offset():
    """An offset that is finite stays behind as the coefficients grow."""
    X, y = complete(*rows())
    offset = np.where(y == 1, -9.0, 9.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = OffsetLogisticClassifier(C=np.inf).fit(X, y, offset=offset)
    model.coef_[:], model.intercept_[:], model.converged_ = [20.0, 0.0, 0.0], 0.0, True
    assert not (offset * (2 * y - 1) + 20 * abs(X[:, 0]) > 0).all()
    with pytest.warns(ConvergenceWarning, match="completely separable"):
        summary(model, X, y, offset=offset)
    apart = 2.0 * np.where(y == 1, 9.0, -9.0)
    X, y = rows()
    model = OffsetLogisticClassifier(C=np.inf).fit(X, y, offset=0 * apart)
    assert summary(model, X, y, offset=apart).convergence_message is None


def test_an_offset_that_the_fit_had_not_is_refused():
    X, y = rows()
    with pytest.raises(ParameterError, match="fitted without one"):
        summary(fitted(X, y), X, y, offset=np.ones(len(y)))

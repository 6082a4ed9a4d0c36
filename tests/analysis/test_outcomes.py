"""The inference of many outcomes in one batch is that of each outcome by itself."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import statsmodels.api as sm
import torch
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    ConstantLabelWarning,
    MultiLabel,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
    firth,
    likelihood_ratio_test,
    summary,
    variance_inflation,
    wald_test,
)
from skorch_logreg.analysis.jeffreys import JeffreysLikelihood
from skorch_logreg.analysis.jeffreys_batch import JeffreysBatch
from skorch_logreg.analysis.likelihood import maximise
from skorch_logreg.exceptions import ParameterError

FREE = TorchLogisticClassifier(C=np.inf, tol=1e-10)
NAMES = list("abc")
FIGURES = ["coef", "covariance", "p_value", "interval", "odds_ratio", "aic", "bic", "pseudo_r2"]
FIGURES += ["log_likelihood", "null_log_likelihood", "n_samples", "df_model"]


def outcomes(n=300, seed=0):
    """Three outcomes, of which "b" is not known in some rows."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1, 10, 0.1] + [0, 5, 0]
    logits = X / [1, 10, 0.1] @ rng.normal(size=(3, 3)) - [0, 1, 2]
    Y = pd.DataFrame((logits + rng.logistic(size=(n, 3)) > 0) * 1.0, columns=NAMES)
    Y.loc[:40, "b"] = np.nan
    return X, Y


def assert_like_single_fits(found, X, Y, single, options, weight=None):
    for name, model in single.items():
        known = Y[name].notna().to_numpy()
        own = None if weight is None else weight[known]
        part = {key: value[known] if key == "groups" else value for key, value in options.items()}
        y = Y[name][known].astype(int)
        expected = summary(
            model.fit(X[known], y, sample_weight=own), X[known], y, sample_weight=own, **part
        )
        for figure in FIGURES:
            np.testing.assert_allclose(
                getattr(found[name], figure), getattr(expected, figure), rtol=1e-8, atol=1e-12
            )


@pytest.mark.parametrize("covariance", ["model", "posterior", "sandwich", "HC3", "cluster"])
@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_like_single_fits(covariance, wrap, weighted):
    X, Y = outcomes()
    X = wrap(X)
    options = {"covariance": covariance}
    if covariance == "cluster":
        options["groups"] = np.arange(len(Y)) // 5
    weight = np.random.default_rng(1).integers(0, 3, len(Y)) if weighted else None
    model = MultiLabel(FREE).fit(X, Y, sample_weight=weight)
    found = summary(model, X, Y, sample_weight=weight, **options)
    assert_like_single_fits(found, X, Y, dict.fromkeys(NAMES, FREE), options, weight)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0}])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_penalties_class_weights_and_no_intercept(class_weight, fit_intercept):
    X, Y = outcomes()
    C = [0.5, np.inf, 2.0]
    each = {"fit_intercept": fit_intercept, "penalty_factor": [1.0, 2.0, 0.0], "tol": 1e-10}
    model = MultiLabel(TorchLogisticClassifier(**each), C=C, class_weight=class_weight).fit(X, Y)
    single = {
        name: TorchLogisticClassifier(C=own, class_weight=class_weight, **each)
        for name, own in zip(NAMES, C, strict=True)
    }
    assert_like_single_fits(summary(model, X, Y), X, Y, single, {})
    options = {"covariance": "HC1", "weight_type": "probability"}
    assert_like_single_fits(summary(model, X, Y, **options), X, Y, single, options)


def test_chosen_penalties():
    X, Y = outcomes()
    Y = Y.fillna(0)
    model = MultiLabel(TorchLogisticClassifierCV(Cs=[0.01, 10], cv=3, tol=1e-10)).fit(X, Y)
    single = {
        name: TorchLogisticClassifier(C=C, tol=1e-10)
        for name, C in zip(NAMES, model.C_, strict=True)
    }
    assert_like_single_fits(summary(model, X, Y), X, Y, single, {})


def test_batches_and_float32_rows(monkeypatch):
    X, Y = outcomes()
    model = MultiLabel(FREE, memory_budget=1).fit(X, Y)
    monkeypatch.setattr("skorch_logreg.analysis.outcomes.PIECE_ENTRIES", 7)
    assert_like_single_fits(summary(model, X, Y), X, Y, dict.fromkeys(NAMES, FREE), {})


def test_the_table_is_that_of_statsmodels_with_adjusted_p_values():
    X, Y = outcomes()
    X = pd.DataFrame(X, columns=["u", "v", "w"])
    model = make_pipeline(StandardScaler(), MultiLabel(FREE)).fit(X, Y)
    found = summary(model, X, Y)
    frame = found.to_frame()
    assert frame.index.names == ["outcome", "term"]
    design = sm.add_constant(X.apply(stats.zscore), prepend=False)
    for name in NAMES:
        known = Y[name].notna()
        expected = sm.Logit(Y[name][known], design[known]).fit(disp=0, tol=1e-12)
        assert list(frame.loc[name].index) == ["u", "v", "w", "intercept"]
        columns = ["coef", "std err", "z", "p", "lower", "upper"]
        values = expected.params, expected.bse, expected.tvalues, expected.pvalues
        table = np.column_stack([*values, expected.conf_int()])
        np.testing.assert_allclose(frame.loc[name, columns], table, rtol=1e-6)
    single = summary(FREE.fit(X, Y["a"].astype(int)), X, Y["a"].astype(int)).to_frame()
    assert list(frame.columns) == [*single.columns, "adjusted p"]
    for term in ("u", "intercept"):
        p_value = frame["p"].xs(term, level="term")
        expected = stats.false_discovery_control(p_value)
        np.testing.assert_allclose(frame["adjusted p"].xs(term, level="term"), expected)
    assert str(found).count("\n") > 12
    assert "a: u" in str(found)


def test_outcomes_without_valid_errors_say_why():
    X, Y = outcomes()
    Y["separated"] = (X[:, 0] > 0) * 1.0
    Y["constant"] = 0.0
    weight = np.random.default_rng(1).random(len(Y))
    with pytest.warns((ConvergenceWarning, ConstantLabelWarning)):
        model = MultiLabel(FREE).fit(X, Y, sample_weight=weight)
    with pytest.warns(ConvergenceWarning, match="2 of 5 outcomes have no valid standard errors"):
        found = summary(model, X, Y, sample_weight=weight)
    assert list(found.messages) == ["separated", "constant"]
    assert "the classes are completely separable" in found.messages["separated"]
    assert found.messages["constant"] == "it has one value in all rows of positive weight."
    assert np.isnan(found["constant"].standard_error).all()
    assert np.isnan(found.adjusted_p[-1]).all()
    assert "separated: TorchLogisticClassifier did not converge" in str(found)
    assert "completely separable" in found["separated"].convergence_message
    assert_like_single_fits(found, X, Y, dict.fromkeys(NAMES, FREE), {}, weight)


def test_collinear_columns_say_so_for_every_outcome():
    X, Y = outcomes()
    X = np.column_stack([X, X[:, 0]])
    model = MultiLabel(TorchLogisticClassifier(C=np.inf)).fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="3 of 3"):
        found = summary(model, X, Y)
    assert np.isnan(found.standard_error).all()
    assert "x0, x3 are constant or collinear" in found.messages["a"]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("covariance", ["model", "sandwich"])
def test_a_constant_column_has_no_test_and_leaves_the_others_theirs(covariance, fit_intercept):
    X, Y = outcomes()
    one = 1.0 * fit_intercept  # without an intercept only a column of zeros has no effect
    rare = np.where(Y["b"].isna(), 1.0 + one, one)  # constant in the known rows of "b"
    X = np.column_stack([X, np.full(len(Y), one), rare])
    options = {"fit_intercept": fit_intercept, "tol": 1e-10}
    found = summary(
        MultiLabel(TorchLogisticClassifier(**options)).fit(X, Y), X, Y, covariance=covariance
    )
    is_test = np.ones((3, len(found.names)), dtype=bool)
    is_test[:, 3] = is_test[1, 4] = False
    assert (found.standard_error[~is_test] == 0).all()
    for figure in (found.z, found.p_value, found.adjusted_p):
        np.testing.assert_array_equal(np.isnan(figure), ~is_test)
    for j in (0, 1, 2, 4):
        known = is_test[:, j]
        expected = stats.false_discovery_control(found.p_value[known, j])
        np.testing.assert_allclose(found.adjusted_p[known, j], expected)
    assert found.messages == {}
    assert "no z and p for x3, x4: the variance is zero, as of a constant column" in str(found)
    single = TorchLogisticClassifier(**options)
    assert_like_single_fits(found, X, Y, dict.fromkeys(NAMES, single), {"covariance": covariance})


def test_refusals():
    X, Y = outcomes()
    model = MultiLabel(FREE).fit(X, Y)
    with pytest.raises(ParameterError, match="fit it to an indicator"):
        summary(MultiLabel(FREE).fit(X, Y["a"]), X, Y["a"])
    with pytest.raises(ParameterError, match="has a network"):
        summary(MultiLabel(NeuralLogisticClassifier((2,), max_iter=1)).fit(X, Y), X, Y)
    with pytest.raises(ParameterError, match="offset is given"):
        summary(model, X, Y, offset=np.zeros(len(X)))
    with pytest.raises(ValueError, match="3 features and 2 outcomes, but the model has 3 and 3"):
        summary(model, X, Y[["a", "b"]])
    with pytest.raises(ParameterError, match="l1_ratio=1.0"):
        summary(MultiLabel(TorchLogisticClassifier(l1_ratio=1.0)).fit(X, Y), X, Y)
    with pytest.raises(ParameterError, match=r"groups has shape \(3,\)"):
        summary(model, X, Y, covariance="cluster", groups=np.zeros(3))
    with pytest.raises(ParameterError, match="The outcome is 'd'"):
        summary(model, X, Y)["d"]
    table = summary(model, X, Y)
    for of_one in (
        lambda: wald_test(table, "x0 = 0"),
        lambda: variance_inflation(table),
        lambda: likelihood_ratio_test(table, table["a"]),
    ):
        with pytest.raises(
            ParameterError, match=r"has 3 outcomes; choose the table of one: .*\['a'\]"
        ):
            of_one()


@pytest.mark.parametrize("intervals", ["wald", "profile"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
def test_firth_of_outcomes_is_that_of_each(intervals, fit_intercept, weighted):
    X, Y = outcomes(80)
    Y["separated"] = (X[:, 0] > 0) * 1.0
    Y["one event"] = np.arange(80) == 50
    Y["constant"] = 1.0
    weight = np.random.default_rng(1).integers(0, 3, len(Y)) if weighted else np.ones(len(Y))
    options = {"intervals": intervals, "fit_intercept": fit_intercept, "level": 0.9}
    found = firth(X, Y.astype(float), sample_weight=weight, **options)
    for name in Y.columns[:-1]:
        known = Y[name].notna().to_numpy()
        y = Y[name][known].astype(int)
        expected = firth(X[known], y, sample_weight=weight[known], **options)
        for figure in ("coef", "standard_error", "interval", "statistic", "p_value"):
            np.testing.assert_allclose(
                getattr(found[name], figure), getattr(expected, figure), rtol=1e-8, atol=1e-10
            )
        assert found[name].log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-10)
    assert found.messages == {"constant": "y holds 1 classes; firth is for two."}
    frame = found.to_frame()
    assert list(frame.columns) == [*expected.to_frame().columns, "adjusted p"]
    assert frame.loc["constant"].isna().all(axis=None)
    p_value = frame["p"].xs("x1", level="term").drop("constant")
    adjusted = frame["adjusted p"].xs("x1", level="term").drop("constant")
    np.testing.assert_allclose(adjusted, stats.false_discovery_control(p_value))
    assert "constant: y holds 1 classes" in str(found)


def test_firth_of_outcomes_with_collinear_columns_is_refused():
    X, Y = outcomes(80)
    with pytest.raises(ValueError, match=r"collinear or constant: x0, x3\."):
        firth(np.column_stack([X, X[:, 0]]), Y)


def test_firth_of_a_batch_needs_no_further_steps():
    X, Y = outcomes()
    y = Y[["a", "c"]].to_numpy().astype(int)
    names, ones = list("xyz") + ["intercept"], np.ones(len(y))
    likelihoods = [
        JeffreysLikelihood.from_data(X, column == 1, ones, names, True) for column in y.T
    ]
    Z = torch.from_numpy(likelihoods[0].Z)
    batch = JeffreysBatch(Z, torch.from_numpy(1.0 - 2.0 * y), torch.ones(len(y), 1))
    theta, inverse, value = (found.numpy() for found in batch.maximise())
    for k, likelihood in enumerate(likelihoods):
        expected = maximise(likelihood, np.zeros(4), np.eye(4))
        np.testing.assert_allclose(theta[k], expected, rtol=1e-8)
        np.testing.assert_allclose(inverse[k], likelihood.covariance(expected), rtol=1e-8)
        assert value[k] == pytest.approx(likelihood.value(expected), rel=1e-12)


def test_firth_of_a_rare_outcome_takes_the_last_steps_alone():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(500, 8))
    Y = np.zeros((500, 2))
    Y[:2, 0], Y[::2, 1] = 1, 1
    found = firth(X, Y, intervals="wald")
    expected = firth(X, Y[:, 0], intervals="wald")
    np.testing.assert_allclose(found[0].coef, expected.coef, rtol=1e-8)
    np.testing.assert_allclose(found[0].standard_error, expected.standard_error, rtol=1e-8)

"""Test standard errors, tests, intervals and effects against statsmodels on its data sets."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import statsmodels.api as sm
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    BatchedGridSearchCV,
    ConstantLabelWarning,
    MultiLabel,
    OffsetLogisticClassifier,
    OrdinalLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
    analysis_of_deviance,
    bootstrap,
    influence,
    likelihood_ratio_test,
    marginal_effects,
    prediction_intervals,
    profile_intervals,
    summary,
    variance_inflation,
)
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.penalties import GroupL2

FREE = TorchLogisticClassifier(C=np.inf, tol=1e-10)
GOLDEN = 1e-6


def spector():
    held = sm.datasets.spector.load_pandas()
    return held.exog, held.endog


def anes96():
    held = sm.datasets.anes96.load_pandas()
    return held.exog[["logpopul", "selfLR", "age", "educ", "income"]], held.endog


def with_constant(X):
    return sm.add_constant(X, prepend=False)


def close(found, expected, tolerance=GOLDEN):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-12)


KINDS = {
    "model": {},
    "sandwich": {"cov_type": "HC0"},
    "cluster": {"cov_type": "cluster", "cov_kwds": {"groups": np.arange(32) // 4}},
}


@pytest.mark.parametrize("wrap", [lambda X: X, lambda X: X.to_numpy(), sp.csr_matrix])
@pytest.mark.parametrize("covariance", KINDS)
def test_two_classes(covariance, wrap):
    X, y = spector()
    expected = sm.Logit(y, with_constant(X)).fit(disp=0, tol=1e-12, **KINDS[covariance])
    groups = np.arange(32) // 4 if covariance == "cluster" else None
    model = FREE.fit(wrap(X), y)
    found = summary(model, wrap(X), y, covariance=covariance, groups=groups)
    close(found.coef, expected.params)
    close(found.covariance, expected.cov_params())
    close(found.standard_error, expected.bse)
    close(found.p_value, expected.pvalues)
    close(found.interval, expected.conf_int())
    close(found.odds_ratio, np.exp(expected.params))
    close(found.log_likelihood, expected.llf)
    close(found.null_log_likelihood, expected.llnull)
    close([found.aic, found.bic], [expected.aic, expected.bic])
    close(found.pseudo_r2, expected.prsquared)
    assert found.df_model == expected.df_model


@pytest.mark.parametrize("covariance", ["model", "sandwich"])
def test_several_classes_against_the_first(covariance):
    X, y = anes96()
    expected = sm.MNLogit(y, with_constant(X)).fit(disp=0, tol=1e-12, **KINDS[covariance])
    found = summary(FREE.fit(X, y), X, y, covariance=covariance)
    close(found.coef, expected.params.to_numpy().T.ravel())
    close(found.covariance, expected.cov_params())
    close([found.aic, found.bic], [expected.aic, expected.bic])
    assert found.names[:2] == ("1.0: logpopul", "1.0: selfLR")
    assert found.names[-1] == "6.0: intercept"


def test_without_an_intercept():
    X, y = spector()
    model = TorchLogisticClassifier(C=np.inf, tol=1e-10, fit_intercept=False).fit(X, y)
    expected = sm.Logit(y, X).fit(disp=0, tol=1e-12)
    found = summary(model, X, y)
    close(found.coef, expected.params)
    close(found.covariance, expected.cov_params())
    assert found.names == tuple(X.columns)


def test_units_and_means_do_not_matter():
    X, y = spector()
    found = summary(FREE.fit(X, y), X, y)
    moved = X.to_numpy() * [1e8, 1.0, 1e-8] + [0, 1e6, 0]
    far = summary(FREE.fit(moved, y), moved, y)
    close(far.z[:-1], found.z[:-1], 1e-5)
    near, far = (marginal_effects(FREE.fit(rows, y), rows, y) for rows in (X, moved))
    close(far.z, near.z, 1e-8)


@pytest.mark.parametrize("covariance", ["model", "sandwich"])
def test_weights_are_repetitions(covariance):
    X, y = spector()
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    model = TorchLogisticClassifier(C=np.inf, tol=1e-10).fit(X, y, weight)
    found = summary(model, X, y, sample_weight=weight, covariance=covariance)
    again = np.repeat(np.arange(len(y)), weight)
    expected = summary(model, X.iloc[again], y.iloc[again], covariance=covariance)
    close(found.covariance, expected.covariance)
    close([found.aic, found.bic], [expected.aic, expected.bic])


def dense_ridge(model, X, y):
    """Information and penalty of [X 1] at the model's coefficients."""
    Z = np.column_stack([X, np.ones(len(X))])
    p = model.predict_proba(X)[:, 1]
    information = (Z * (p * (1 - p))[:, None]).T @ Z
    return information, np.diag(np.append(np.full(X.shape[1], 1 / model.C), 0.0))


@pytest.mark.parametrize("make", [TorchLogisticClassifier, LogisticRegression])
def test_ridge_has_conventions(make):
    X, y = spector()
    X = X.to_numpy()
    model = make(C=0.5, tol=1e-8).fit(X, y)
    information, penalty = dense_ridge(model, X, y)
    bread = np.linalg.inv(information + penalty)
    close(summary(model, X, y, covariance="posterior").covariance, bread)
    found = summary(model, X, y)
    close(found.covariance, bread @ information @ bread)
    close(found.df_model, np.trace(bread @ information) - 1)
    assert "inverse Hessian x Fisher information" in found.convention
    if make is TorchLogisticClassifier:
        assert "inverse Fisher information" in summary(FREE.fit(X, y), X, y).convention


@pytest.mark.parametrize("covariance", ["model", "sandwich", "posterior"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("make", [TorchLogisticClassifier, OrdinalLogisticClassifier])
def test_a_constant_column_has_no_test_under_a_penalty(make, constant, covariance):
    X, y = anes96()
    model = make(tol=1e-6)
    y = np.minimum(y, 2)  # three classes
    X = X.assign(same=constant)
    found = summary(model.fit(X, y), X, y, covariance=covariance)
    is_same = np.array([name.endswith("same") for name in found.names])
    if covariance == "posterior":  # its variance is that of the prior
        variance = 1.0 if make is OrdinalLogisticClassifier else 2.0
        close(found.standard_error[is_same] ** 2, variance)
        close(found.p_value[is_same], 1.0)
        assert "no z and p" not in str(found)
        return
    assert (found.standard_error[is_same] == 0).all()
    np.testing.assert_array_equal(np.isnan(found.z), is_same)
    np.testing.assert_array_equal(np.isnan(found.p_value), is_same)
    assert "same: the variance is zero, as of a constant column" in str(found)
    others = summary(model.fit(X.drop(columns="same"), y), X.drop(columns="same"), y)
    if covariance == "model":
        close(found.p_value[~is_same], others.p_value, 1e-4)
        effects = marginal_effects(model.fit(X, y), X, y)
        np.testing.assert_array_equal(
            np.isnan(effects.z), [name.endswith("same") for name in effects.names]
        )


def test_a_pipeline_is_analysed_where_its_classifier_is():
    X, y = spector()
    pipeline = make_pipeline(StandardScaler(), TorchLogisticClassifier(C=np.inf, tol=1e-10))
    found = summary(pipeline.fit(X, y), X, y)
    close(found.z[:-1], summary(FREE.fit(X, y), X, y).z[:-1])


def test_likelihood_ratio():
    X, y = spector()
    larger = summary(FREE.fit(X, y), X, y)
    smaller = summary(FREE.fit(X[["GPA"]], y), X[["GPA"]], y)
    test = likelihood_ratio_test(larger, smaller)
    statistic, df, p = test.statistic, test.df, test.p_value
    full, part = (sm.Logit(y, with_constant(Z)).fit(disp=0) for Z in (X, X[["GPA"]]))
    close(statistic, 2 * (full.llf - part.llf))
    assert df == 2
    close(p, stats.chi2.sf(statistic, 2))
    with pytest.raises(ParameterError, match="features and more"):
        likelihood_ratio_test(smaller, larger)
    ridge = summary(TorchLogisticClassifier().fit(X, y), X, y)
    with pytest.raises(ParameterError, match="without a penalty"):
        likelihood_ratio_test(ridge, smaller)
    known = OffsetLogisticClassifier(C=np.inf).fit(X[["TUCE"]], y, offset=20 * (y - 0.5))
    with pytest.raises(ParameterError, match="they differ in rows, weights or offset"):
        likelihood_ratio_test(larger, summary(known, X[["TUCE"]], y, offset=20 * (y - 0.5)))


@pytest.mark.parametrize("discrete", [False, True])
def test_marginal_effects(discrete):
    X, y = spector()
    expected = sm.Logit(y, with_constant(X)).fit(disp=0, tol=1e-12).get_margeff(dummy=discrete)
    found = marginal_effects(FREE.fit(X, y), X, y, discrete=[2] if discrete else [])
    close(found.effect, expected.margeff)
    close(found.standard_error, expected.margeff_se)
    close(found.p_value, expected.pvalues)
    close(found.interval, expected.conf_int())
    extended = pd.concat([X, X[:1] + 7]), np.append(y, 1), np.arange(33) < 32
    weighted = marginal_effects(FREE, *extended[:2], sample_weight=extended[2], discrete=[2])
    close(weighted.effect, marginal_effects(FREE, X, y, discrete=[2]).effect)
    with pytest.raises(ParameterError, match="discrete has column GPA"):
        marginal_effects(FREE, X, y, discrete=[0])
    with pytest.raises(ParameterError, match="level=95"):
        marginal_effects(FREE, X, y, level=95)


@pytest.mark.parametrize("discrete", [False, True])
def test_marginal_effects_on_several_classes(discrete):
    X, y = anes96()
    X = X.assign(young=(X["age"] < 40) * 1.0)
    expected = sm.MNLogit(y, with_constant(X)).fit(disp=0, tol=1e-12, maxiter=99)
    expected = expected.get_margeff(dummy=discrete)
    found = marginal_effects(FREE.fit(X, y), X, y, discrete=["young"] if discrete else [])
    assert found.names[:2] == ("0.0: logpopul", "0.0: selfLR")
    close(found.effect.reshape(7, -1), expected.margeff.T, 1e-5)
    close(found.standard_error.reshape(7, -1), expected.margeff_se.T, 1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_errors_of_effects_are_those_of_the_delta_method(n_classes):
    """With a ridge, weights and no intercept, against derivatives by differences."""
    X, y = anes96()
    X, y = StandardScaler().fit_transform(X), np.digitize(y, [2, 5][: n_classes - 1])
    X[:, 1] = X[:, 1] > 0
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    model = TorchLogisticClassifier(C=0.1, tol=1e-10, fit_intercept=False)
    model.fit(X, y, sample_weight=weight)
    found = marginal_effects(model, X, y, sample_weight=weight, discrete=[1])
    covariance = summary(model, X, y, sample_weight=weight).covariance
    at, n_params = model.coef_.copy(), covariance.shape[0]
    jacobian = []
    for step in 1e-5 * np.eye(n_params):
        sides = []
        for sign in (1, -1):  # differences from the first class change its others only
            model.coef_ = at + sign * np.vstack(
                [np.zeros((n_classes - 2 and 1, 5)), step.reshape(-1, 5)]
            )
            sides.append(marginal_effects(model, X, y, sample_weight=weight, discrete=[1]).effect)
        jacobian.append((sides[0] - sides[1]) / 2e-5)
    expected = np.transpose(jacobian) @ covariance @ jacobian
    close(found.covariance, expected, 1e-5)


@pytest.mark.parametrize("covariance", KINDS)
def test_prediction_intervals(covariance):
    X, y = spector()
    expected = sm.Logit(y, with_constant(X)).fit(disp=0, tol=1e-12, **KINDS[covariance])
    expected = expected.get_prediction(with_constant(X)[:9])
    groups = np.arange(32) // 4 if covariance == "cluster" else None
    options = {"covariance": covariance, "groups": groups, "level": 0.9}
    found = prediction_intervals(FREE.fit(X, y), X, y, X[:9], **options)
    close(found.probability[:, 0], expected.predicted)
    close(found.standard_error[:, 0], expected.se)
    design = with_constant(X)[:9].to_numpy()
    spread = summary(FREE, X, y, covariance=covariance, groups=groups).covariance
    half = stats.norm.ppf(0.95) * np.sqrt(np.einsum("ij,jk,ik->i", design, spread, design))
    limits = (
        np.log(expected.predicted / (1 - expected.predicted))[:, None] + [-1, 1] * half[:, None]
    )
    close(found.interval[:, 0], 1 / (1 + np.exp(-limits)))
    close(found.to_frame()["upper"], found.interval[:, 0, 1])
    assert found.classes.tolist() == [1]


def test_prediction_intervals_of_several_classes():
    X, y = anes96()
    X, y = X[::3], np.digitize(y[::3], [2, 5])
    fit = sm.MNLogit(y, with_constant(X)).fit(disp=0, tol=1e-12, maxiter=99)
    design, at = with_constant(X)[:5].to_numpy(), fit.params.to_numpy().ravel("F")

    def log_odds(params):
        logits = np.column_stack([np.zeros(5), design @ params.reshape(2, -1).T])
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return np.log(proba / (1 - proba))

    steps = 1e-5 * np.eye(len(at))
    jacobian = np.array([log_odds(at + step) - log_odds(at - step) for step in steps]) / 2e-5
    variance = np.einsum("aik,ab,bik->ik", jacobian, fit.cov_params(), jacobian)
    center, half = log_odds(at), stats.norm.ppf(0.975) * np.sqrt(variance)
    model = make_pipeline(StandardScaler(), FREE).fit(X, y)
    found = prediction_intervals(model, X, y, X[:5])
    close(found.probability, 1 / (1 + np.exp(-center)), 1e-5)
    close(found.interval[..., 0], 1 / (1 + np.exp(half - center)), 1e-5)
    close(found.interval[..., 1], 1 / (1 + np.exp(-half - center)), 1e-5)
    assert list(found.to_frame().index[:4]) == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_prediction_intervals_refuse_other_rows():
    X, y = spector()
    model = FREE.fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match="X_new has 2 features, but the model has 3"):
        prediction_intervals(model, X.to_numpy(), y, X.to_numpy()[:, :2])
    with pytest.raises(ParameterError, match="level=2"):
        prediction_intervals(model, X.to_numpy(), y, X.to_numpy(), level=2)


def inflation_by_regression(model, X, fit_intercept=True):
    """1 / (1 - R^2) of the regression of each column on the others."""
    weight, found = model.predict_proba(X).prod(axis=1), []
    for name in X:
        others = X.drop(columns=name)
        others = with_constant(others) if fit_intercept else others
        found.append(1 / (1 - sm.WLS(X[name], others, weights=weight).fit().rsquared))
    return found


@pytest.mark.parametrize("covariance", ["model", "posterior", "sandwich"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [np.inf, 0.1])
def test_variance_inflation(C, fit_intercept, covariance):
    X, y = spector()
    X = X.assign(near=X["GPA"] + 0.1 * np.sin(np.arange(len(X))))
    model = TorchLogisticClassifier(C=C, fit_intercept=fit_intercept, tol=1e-10).fit(X, y)
    found = variance_inflation(summary(model, X, y, covariance=covariance))
    close(found.factor, inflation_by_regression(model, X, fit_intercept))
    assert list(found.to_frame().index) == list(X)


def test_variance_inflation_of_collinear_and_constant_columns_under_a_penalty():
    X, y = spector()
    X = X.assign(sum=X["GPA"] - 2 * X["TUCE"], same=0.1)
    model = TorchLogisticClassifier().fit(X, y)
    found = variance_inflation(summary(model, X, y)).to_frame()["factor"]
    assert np.isinf(found[["GPA", "TUCE", "sum"]]).all()
    assert np.isnan(found["same"])
    weight = model.predict_proba(X).prod(axis=1)
    fit = sm.WLS(X["PSI"], with_constant(X[["GPA", "TUCE"]]), weights=weight).fit()
    assert found["PSI"] == pytest.approx(1 / (1 - fit.rsquared))


def test_variance_inflation_of_ordered_classes_and_of_one_outcome():
    X, y = anes96()
    found = summary(OrdinalLogisticClassifier(C=np.inf, tol=1e-10).fit(X, y), X, y)
    covariance = found.covariance[:5, :5]
    error = np.sqrt(np.diag(covariance))
    expected = np.diag(np.linalg.inv(covariance / np.outer(error, error)))
    close(variance_inflation(found).factor, expected)
    Y = np.column_stack([y > 1, y > 3])
    each = MultiLabel(TorchLogisticClassifier(tol=1e-10)).fit(X, Y)
    for k, factor in enumerate(variance_inflation(summary(each, X, Y)[k]).factor for k in range(2)):
        close(factor, inflation_by_regression(each.label_estimator(k), X))


def test_variance_inflation_of_an_outcome_without_information():
    """A loop over outcomes goes on where one of them is constant."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    Y = np.column_stack([rng.random(200) < 0.5, np.ones(200)]).astype(int)
    with pytest.warns(ConstantLabelWarning):
        model = MultiLabel(TorchLogisticClassifier()).fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="1: it has one value"):
        found = summary(model, X, Y)
    assert np.isfinite(variance_inflation(found[0]).factor).all()
    assert np.isnan(variance_inflation(found[1]).factor).all()


def test_variance_inflation_is_for_one_output():
    X, y = anes96()
    with pytest.raises(ParameterError, match="the model has 7"):
        variance_inflation(summary(FREE.fit(X, y), X, y))


def test_analysis_of_deviance():
    X, y = spector()
    columns = {"gpa": ["GPA"], "with tuce": ["GPA", "TUCE"], "all": ["GPA", "TUCE", "PSI"]}
    fits = {name: summary(FREE.fit(X[own], y), X[own], y) for name, own in columns.items()}
    found = analysis_of_deviance(fits)
    theirs = [sm.Logit(y, with_constant(X[own])).fit(disp=0) for own in columns.values()]
    deviance = np.array([-2 * fit.llf for fit in theirs])
    close(found.deviance, deviance)
    close(found.n_params, [2, 3, 4])
    close(found.statistic[1:], -np.diff(deviance), 1e-5)
    close(found.p_value[1:], stats.chi2.sf(-np.diff(deviance), 1), 1e-5)
    assert np.isnan(found.p_value[0])
    assert found.names == tuple(columns)
    with pytest.raises(ParameterError, match="features and more"):
        analysis_of_deviance(dict(reversed(fits.items())))


def test_influence():
    X, y = spector()
    fit = sm.GLM(y, with_constant(X), family=sm.families.Binomial()).fit(tol=1e-12)
    expected = fit.get_influence(observed=False)
    found = influence(FREE.fit(X, y), X, y)
    close(found.leverage, expected.hat_matrix_diag)
    close(found.cooks_distance, expected.cooks_distance[0])
    close(found.pearson, fit.resid_pearson)
    close(found.deviance, fit.resid_deviance)


def test_the_profile_falls_by_the_quantile_at_both_ends():
    X, y = spector()
    ends = profile_intervals(FREE.fit(X, y), X, y, level=0.9).interval
    Z, best = with_constant(X).to_numpy(), sm.Logit(y, with_constant(X)).fit(disp=0).llf
    for j, pair in enumerate(ends):
        for end in pair:
            held = sm.GLM(
                y, np.delete(Z, j, axis=1), offset=Z[:, j] * end, family=sm.families.Binomial()
            ).fit(tol=1e-12)
            close(2 * (best - held.llf), stats.chi2.ppf(0.9, 1))
    with pytest.raises(ParameterError, match="without a penalty"):
        profile_intervals(TorchLogisticClassifier().fit(X, y), X, y)


def test_tables():
    X, y = spector()
    found = summary(FREE.fit(X, y), X, y)
    table = found.to_frame()
    assert isinstance(table, pd.DataFrame)
    assert table.index.tolist() == ["GPA", "TUCE", "PSI", "intercept"]
    close(table["coef"], found.coef)
    text = str(found)
    assert "GPA" in text
    assert "pseudo R2 0.374" in text


def lasso(X, y):
    return TorchLogisticClassifier(l1_ratio=1.0).fit(X, y), X, y


@pytest.mark.parametrize(("covariance", "power"), [("HC2", 1), ("HC3", 2)])
def test_corrections_by_the_leverage(covariance, power):
    """The formulas of R's sandwich, whose hat values are those of the weighted least squares."""
    X, y = spector()
    fitted = sm.Logit(y, with_constant(X)).fit(disp=0, tol=1e-12)
    Z, p = with_constant(X).to_numpy(), fitted.predict()
    bread = np.linalg.inv((Z * (p * (1 - p))[:, None]).T @ Z)
    hat = p * (1 - p) * ((Z @ bread) * Z).sum(axis=1)
    scores = Z * ((y - p) / (1 - hat) ** (power / 2)).to_numpy()[:, None]
    found = summary(FREE.fit(X, y), X, y, covariance=covariance)
    close(found.covariance, bread @ scores.T @ scores @ bread)
    assert covariance in str(found)
    plain, first = (summary(FREE, X, y, covariance=kind) for kind in ("sandwich", "HC1"))
    close(first.covariance, plain.covariance * 32 / 28)


@pytest.mark.parametrize("covariance", ["HC1", "HC2", "HC3"])
def test_corrections_count_repeated_rows(covariance):
    X, y = spector()
    weight = np.arange(len(y)) % 3
    again = np.repeat(np.arange(len(y)), weight)
    model = TorchLogisticClassifier(C=float("inf"), tol=1e-9).fit(X, y, sample_weight=weight)
    found = summary(model, X, y, sample_weight=weight, covariance=covariance)
    X, y = X.iloc[again], y.iloc[again]
    close(found.covariance, summary(model, X, y, covariance=covariance).covariance)


REFUSED = {
    "lasso": (lasso, {}, "l1_ratio=1.0"),
    "groups": (
        lambda X, y: (TorchLogisticClassifier(penalty=GroupL2([[0, 1], [2]])).fit(X, y), X, y),
        {},
        "normal distribution",
    ),
    "bounds": (
        lambda X, y: (TorchLogisticClassifier(bounds=(0, None)).fit(X, y), X, y),
        {},
        "bounds",
    ),
    "soft": (
        lambda X, y: (TorchLogisticClassifier(label_smoothing=0.1).fit(X, y), X, y),
        {},
        "label_smoothing=0.1",
    ),
    "excluded": (
        lambda X, y: (
            TorchLogisticClassifier(penalty_factor=[1.0, np.inf, 1.0]).fit(X, y),
            X,
            y,
        ),
        {},
        "penalty_factor is inf",
    ),
    "covariance": (lambda X, y: (FREE.fit(X, y), X, y), {"covariance": "hc4"}, "covariance='hc4'"),
    "classes": (
        lambda X, y: (FREE.fit(X, np.arange(32) % 3), X, np.arange(32) % 3),
        {"covariance": "HC3"},
        "covariance='HC3' is for two classes",
    ),
    "no groups": (lambda X, y: (FREE.fit(X, y), X, y), {"covariance": "cluster"}, "needs them"),
    "missing group": (
        lambda X, y: (FREE.fit(X, y), X, y),
        {"covariance": "cluster", "groups": [None, "a"] * 2 + ["b"] * 28},
        "groups is missing in 2 rows",
    ),
    "nan group": (
        lambda X, y: (FREE.fit(X, y), X, y),
        {"covariance": "cluster", "groups": [np.nan] * 3 + [0.0] * 29},
        "groups is missing in 3 rows",
    ),
    "level": (lambda X, y: (FREE.fit(X, y), X, y), {"level": 95}, "level=95"),
    "features": (lambda X, y: (FREE.fit(X, y), X[["GPA"]], y), {}, "X has 1 features"),
    "labels": (lambda X, y: (FREE.fit(X, y), X, y + 1), {}, "y holds"),
    "collinear": (
        lambda X, y: (
            FREE.fit(np.column_stack([X, X.GPA]), y),
            np.column_stack([X, X.GPA]),
            y,
        ),
        {},
        "x0, x3 are constant or collinear",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_such_standard_errors_is_refused(what):
    make, options, match = REFUSED[what]
    with pytest.raises(ValueError, match=match):
        summary(*make(*spector()), **options)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_cross_validation_chose_is_analysed(legacy):
    X, y = spector()
    chosen = TorchLogisticClassifierCV(
        Cs=[0.5], cv=2, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=legacy,
        tol=1e-9,
    ).fit(X, y)  # fmt: skip
    plain = TorchLogisticClassifier(C=0.5, tol=1e-9).fit(X, y)
    search = BatchedGridSearchCV(TorchLogisticClassifier(tol=1e-9), {"C": [0.5]}, cv=2).fit(X, y)
    expected = summary(plain, X, y).standard_error
    close(summary(chosen, X, y).standard_error, expected)
    close(summary(search, X, y).standard_error, expected)


def test_balanced_classes_count_weights():
    X, y = spector()
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    model = TorchLogisticClassifier(C=np.inf, class_weight="balanced", tol=1e-10)
    found = summary(model.fit(X, y, weight), X, y, sample_weight=weight)
    again = np.repeat(np.arange(len(y)), weight.astype(int))
    known = summary(model.fit(X.iloc[again], y.iloc[again]), X.iloc[again], y.iloc[again])
    close(found.covariance, known.covariance)
    total = np.array([weight[y == k].sum() for k in (0, 1)])
    expected = sm.GLM(
        y, with_constant(X), family=sm.families.Binomial(),
        freq_weights=weight * (total.sum() / (2 * total))[y.astype(int)],
    ).fit(tol=1e-12)  # fmt: skip
    close(found.standard_error, expected.bse)


def test_class_weights_are_no_numbers_of_rows():
    """A sandwich squares them, and averages and numbers of rows are without them."""
    X, y = spector()
    by_class = {0: 1.0, 1: 25.0}
    model = TorchLogisticClassifier(C=np.inf, class_weight=by_class, tol=1e-10).fit(X, y)
    weight = np.where(y == 1, 25.0, 1.0)
    binomial = sm.families.Binomial()
    expected = sm.GLM(y, with_constant(X), family=binomial, var_weights=weight)
    expected = expected.fit(tol=1e-12, cov_type="HC0").bse
    found = summary(model, X, y, covariance="sandwich")
    close(found.standard_error, expected)
    assert found.n_samples == len(y)
    many = MultiLabel(model).fit(X, np.asarray(y)[:, None])
    of_many = summary(many, X, np.asarray(y)[:, None], covariance="sandwich")
    close(of_many.standard_error[0], expected)
    assert summary(many, X, np.asarray(y)[:, None]).n_samples == len(y)
    slope = np.prod(model.predict_proba(X), axis=1).mean()
    close(marginal_effects(model, X, y).effect, slope * model.coef_[0])
    plain = summary(model, X, y)
    assert "class weights are taken for numbers of rows" in str(plain)
    one = X.iloc[:, :1]
    with pytest.raises(ParameterError, match="without class_weight"):
        likelihood_ratio_test(plain, summary(model.fit(one, y), one, y))


@pytest.mark.parametrize("analyse", [marginal_effects, influence, profile_intervals, bootstrap])
def test_an_offset_is_not_forgotten(analyse):
    X, y = spector()
    model = OffsetLogisticClassifier(C=np.inf).fit(X, y, offset=np.ones(len(y)))
    with pytest.raises(ParameterError, match="fitted with an offset"):
        analyse(model, X, y)
    with pytest.raises(ParameterError, match="fitted with an offset"):
        summary(model, X, y)
    with pytest.raises(ParameterError, match=r"offset\[1\] is nan"):
        summary(model, X, y, offset=np.where(np.arange(len(y)) == 1, np.nan, 1.0))


@pytest.mark.parametrize("analyse", [summary, bootstrap])
def test_liblinear_has_another_objective(analyse):
    X, y = spector()
    with pytest.raises(ParameterError, match="penalises the intercept"):
        analyse(TorchLogisticClassifier(solver="liblinear").fit(X, y), X, y)


def test_odds_ratios_beyond_float64_are_printed_from_their_logarithms():
    """Where a feature is small, a difference of one is a large one."""
    X, y = spector()
    X = X[["GPA", "TUCE"]] * [1e-8, 1.0]
    found = summary(FREE.fit(X, y), X, y)
    assert found.odds_ratio[0] == np.inf
    close(found.odds_ratio[1:], np.exp(found.coef[1:]))
    line = str(found).splitlines()[1]
    assert line.endswith(f" e^{found.coef[0]:.3g}")
    assert "beyond the range of float64" in str(found)
    X["GPA"] *= -1
    found = summary(FREE.fit(X, y), X, y)
    assert found.odds_ratio[0] == 0
    assert str(found).splitlines()[1].endswith(f" e^{found.coef[0]:.3g}")
    assert "e^" not in str(summary(FREE.fit(X[["TUCE"]], y), X[["TUCE"]], y))


def test_an_offset_that_may_not_be_written_to_is_taken_without_a_warning():
    X = np.random.default_rng(0).normal(size=(80, 2))
    y = np.arange(80) % 2
    offset = pd.Series(np.linspace(0, 1, 80))
    model = OffsetLogisticClassifier(C=np.inf).fit(X, y, offset=offset)
    assert np.isfinite(summary(model, X, y, offset=offset).p_value).all()

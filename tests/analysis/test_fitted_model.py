"""Test the analysis of the final classifier of pipelines and searches, with its feature names."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    NeuralLogisticClassifier,
    OffsetLogisticClassifier,
    TorchLogisticClassifier,
    bootstrap,
    influence,
    marginal_effects,
    profile_intervals,
    summary,
)
from skorch_logreg.exceptions import ParameterError

FREE = TorchLogisticClassifier(C=np.inf, tol=1e-9)


def rows(n=120):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["age", "income"])
    X["sex"] = rng.integers(0, 2, n)
    return X, (X["age"] + X["sex"] + rng.logistic(size=n) > 0).astype(int)


def resampled(model, X, y):
    return bootstrap(model, X, y, n_resamples=3, random_state=0).coefs


ANALYSES = {
    "summary": lambda *args: summary(*args).covariance,
    "marginal_effects": lambda *args: marginal_effects(*args).covariance,
    "influence": lambda *args: influence(*args).cooks_distance,
    "profile_intervals": lambda *args: profile_intervals(*args).interval,
    "bootstrap": resampled,
}
WRAPPED = {
    "one step": make_pipeline(FREE),
    "one step in one step": make_pipeline(make_pipeline(FREE)),
    "passthrough": make_pipeline("passthrough", FREE),
    "search of a pipeline": BatchedGridSearchCV(
        make_pipeline(FREE), {"torchlogisticclassifier__C": [np.inf]}, cv=2
    ),
    "pipeline of a search": make_pipeline(BatchedGridSearchCV(FREE, {"C": [np.inf]}, cv=2)),
}


@pytest.mark.parametrize("kind", WRAPPED)
@pytest.mark.parametrize("analysis", ANALYSES)
def test_whatever_is_around_a_classifier(analysis, kind):
    X, y = rows()
    analyse = ANALYSES[analysis]
    found = analyse(WRAPPED[kind].fit(X, y), X, y)
    np.testing.assert_allclose(found, analyse(FREE.fit(X, y), X, y), rtol=1e-6)


def test_names_are_those_of_the_steps():
    X, y = rows()
    X["city"] = np.where(X["sex"] == 1, "x", "y")
    encoder = make_column_transformer(
        (StandardScaler(), ["age", "income"]),
        (OneHotEncoder(drop="first"), ["city"]),
        verbose_feature_names_out=False,
    )
    model = make_pipeline(encoder, TorchLogisticClassifier()).fit(X, y)
    names = ("age", "income", "city_y")
    assert summary(model, X, y).names == (*names, "intercept")
    effects = marginal_effects(model, X, y, discrete=["city_y"])
    assert effects.names == names
    assert summary(make_pipeline(FREE).fit(X[["age"]], y), X[["age"]], y).names[0] == "age"


@pytest.mark.parametrize("discrete", [["sex"], "sex", [-1], (np.int64(2),), 2])
def test_discrete_columns_by_name(discrete):
    X, y = rows()
    found = marginal_effects(FREE.fit(X, y), X, y, discrete=discrete)
    fit = sm.Logit(y, sm.add_constant(X, prepend=False)).fit(disp=0, tol=1e-12)
    expected = fit.get_margeff(dummy=True)
    np.testing.assert_allclose(found.effect, expected.margeff, rtol=1e-6)
    np.testing.assert_allclose(found.standard_error, expected.margeff_se, rtol=1e-6)


@pytest.mark.parametrize("column", ["six", "intercept", 3, -4, True, np.True_, 1.0, None])
def test_discrete_columns_that_there_are_not(column):
    X, y = rows()
    with pytest.raises(ParameterError, match="is not a column: expected an index from 0 to 2.*sex"):
        marginal_effects(FREE.fit(X, y), X, y, discrete=[column])


@pytest.mark.parametrize("offset", [False, True])
def test_rows_of_one_class_have_no_pseudo_r2(offset):
    X, y = rows()
    added = np.linspace(-1, 1, len(y)) if offset else None
    make = OffsetLogisticClassifier if offset else TorchLogisticClassifier
    model = make(C=np.inf).fit(X, y, **({"offset": added} if offset else {}))
    weight = (y == 1).astype(float)
    for kept, own in ((y == 1, None), (y < 2, weight)):
        of_kept = None if added is None else added[kept]
        found = summary(model, X[kept], y[kept], sample_weight=own, offset=of_kept)
        assert found.null_log_likelihood == 0
        assert np.isnan(found.pseudo_r2)
        assert "pseudo R2 nan" in str(found)
        assert np.isfinite(found.standard_error).all()


def test_what_has_no_coefficients_is_refused():
    X, y = rows()
    network = NeuralLogisticClassifier((3,)).fit(X, y)
    for other, missing in ((LinearSVC(), "predict_proba"), (SGDClassifier("log_loss"), "solver")):
        with pytest.raises(ParameterError, match=f"has no {missing}; expected a logistic"):
            summary(other.fit(X, y), X, y)
    labels = MultiLabel().fit(X, np.column_stack([y, 1 - y]))
    for analyse in (summary, bootstrap):
        with pytest.raises(ParameterError, match="NeuralLogisticClassifier has no coef_"):
            analyse(make_pipeline(network), X, y)
    for analyse in (marginal_effects, bootstrap):
        with pytest.raises(ParameterError, match="MultiLabel has many models"):
            analyse(labels, X, y)


def test_scikit_learns_in_a_pipeline_of_one_step():
    X, y = rows()
    model = LogisticRegression(C=0.5, tol=1e-9)
    expected = summary(model.fit(X, y), X, y)
    found = summary(make_pipeline(model).fit(X, y), X, y)
    np.testing.assert_allclose(found.covariance, expected.covariance)
    assert found.names == ("age", "income", "sex", "intercept")

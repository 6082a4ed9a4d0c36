"""Formulas: columns, names and fits against statsmodels, errors, and scikit-learn's checks."""

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import statsmodels.formula.api as smf
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skorch_logreg import (
    FormulaFeatures,
    ParameterError,
    TorchLogisticClassifier,
    logit,
    marginal_effects,
    summary,
    wald_test,
)

TERMS = "a * b + C(g) + bs(x, 4)"


def rows(n=400):
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    data["x"] = rng.uniform(0, 5, n)
    data["g"] = rng.choice(list("uvw"), n)
    data["unused"] = np.nan
    logits = data["a"] * (1 + data["b"]) + np.sin(data["x"]) + (data["g"] == "v")
    data["sick"] = (logits + rng.logistic(size=n) > 0).astype(int)
    data["mean r"] = data["x"] ** 2
    return data


@parametrize_with_checks([FormulaFeatures("x0")])
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "terms", ["a * b + C(g) + bs(x, df=4)", "0 + g + a:b", "np.log(x) + I(a**2)", "g * a - 1"]
)
def test_fits_are_those_of_statsmodels(terms):
    data = rows()
    expected = smf.logit(f"sick ~ {terms}", data).fit(disp=0, tol=1e-12)
    model = logit(f"sick ~ {terms}", data, tol=1e-10)
    found = summary(model, data, data["sick"])
    assert found.log_likelihood == pytest.approx(expected.llf, rel=1e-9)
    assert model["classifier"].fit_intercept == ("Intercept" in expected.params)
    np.testing.assert_allclose(
        model.predict_proba(data)[:, 1], expected.predict(data), rtol=1e-6, atol=1e-9
    )
    ours = dict(zip(found.names, found.coef, strict=True))
    ours["Intercept"] = ours.pop("intercept", None)
    for name, coef in expected.params.items():
        if "bs(" not in name:  # formulaic numbers its columns in another way
            np.testing.assert_allclose(ours[name], coef, rtol=1e-5)


def test_tables_speak_the_formulas_names():
    data = rows()
    model = logit(f"sick ~ {TERMS}", data)
    names = model["features"].get_feature_names_out().tolist()
    assert names[:5] == ["a", "b", "C(g)[T.v]", "C(g)[T.w]", "bs(x, 4)[1]"]
    assert names[-1] == "a:b"
    found = summary(model, data, data["sick"])
    assert list(found.names) == [*names, "intercept"]
    assert list(marginal_effects(model, data, data["sick"]).names) == names
    test = wald_test(found, "`C(g)[T.v]` = `C(g)[T.w]`, `a:b` = 1")
    assert test.difference[0] == pytest.approx(found.coef[2] - found.coef[3])
    assert model["classifier"].coef_.shape == (1, len(names))
    assert model.feature_names_in_.tolist() == ["a", "b", "x", "g"]


@pytest.mark.parametrize(
    ("terms", "full"),
    [
        (".", "a + b + x + g + `mean r`"),
        ("0 + . - `mean r`", "0 + a + b + x + g"),
        ("np.log(x) + .:a", "np.log(x) + (a + b + x + g + `mean r`):a"),
        ("I(.5 * a) + I(1. * b) + `mean r`", "I(.5 * a) + I(1. * b) + `mean r`"),
    ],
)
def test_a_point_is_all_other_columns(terms, full):
    data = rows().drop(columns="unused")
    found, expected = logit(f"sick ~ {terms}", data), logit(f"sick ~ {full}", data)
    names = expected[0].get_feature_names_out()
    assert found[0].get_feature_names_out().tolist() == names.tolist()
    np.testing.assert_array_equal(found.predict_proba(data), expected.predict_proba(data))
    np.testing.assert_array_equal(
        clone(found).fit(data, data["sick"]).predict_proba(data.drop(columns="sick")),
        expected.predict_proba(data),
    )
    features = FormulaFeatures(terms).fit(data.drop(columns="sick"))
    assert features.get_feature_names_out().tolist() == names.tolist()
    np.testing.assert_array_equal(features.transform(data), expected[0].transform(data))


def test_new_rows_have_the_levels_knots_and_means_of_the_fit():
    data = rows()
    features = FormulaFeatures("C(g) + bs(x, 4) + scale(a) + `mean r`").fit(data)
    whole = features.transform(data)
    np.testing.assert_array_equal(features.transform(data[7:9]), whole[7:9])
    loaded = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(loaded.transform(data), whole)
    unfitted = clone(features)
    assert not hasattr(unfitted, "spec_")
    assert whole.shape == (400, len(features.get_feature_names_out()))


def test_sparse_output_and_output_as_a_frame():
    data = rows()
    dense = FormulaFeatures(TERMS).fit_transform(data)
    sparse = FormulaFeatures(TERMS, sparse_output=True).fit_transform(data)
    assert isinstance(sparse, sp.csr_array)
    np.testing.assert_allclose(sparse.toarray(), dense)
    frame = FormulaFeatures(TERMS).set_output(transform="pandas").fit_transform(data)
    assert frame.columns[0] == "a"
    terms = "a * b + C(g) + bs(x, 4, extrapolation='extend')"
    model = make_pipeline(FormulaFeatures(terms, sparse_output=True), TorchLogisticClassifier())
    search = GridSearchCV(model, {"torchlogisticclassifier__C": [0.1, 1]}, cv=3)
    assert search.fit(data, data["sick"]).best_score_ > 0.6


def test_arrays_have_columns_by_number():
    X = rows()[["a", "b"]].to_numpy()
    found = FormulaFeatures("x0 * x1").fit_transform(X)
    np.testing.assert_allclose(found, np.column_stack([X, X[:, 0] * X[:, 1]]))


def test_parameters_and_weights_of_logit():
    data = rows()
    weight = np.random.default_rng(1).integers(0, 3, len(data))
    model = logit("sick ~ a + b", data, C=0.5, l1_ratio=1.0, sample_weight=weight, tol=1e-8)
    expected = TorchLogisticClassifier(C=0.5, l1_ratio=1.0, tol=1e-8)
    expected.fit(data[["a", "b"]], data["sick"], sample_weight=weight)
    np.testing.assert_allclose(model["classifier"].coef_, expected.coef_, rtol=1e-8)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("sick ~ a + zz", "`zz` is not present|zz"),
        ("sick ~ a * (", "cannot be read"),
        ("a + b", "has no outcome"),
        ("ill ~ a", "has the outcome 'ill', expected a column"),
        ("a ~ b", "must have two values"),
        ("unused ~ a", "and missing ones"),
        ("sick ~ a + unused", "null values"),
        ("sick ~ 1", "has no features"),
        ("sick ~ a | b", "has several parts"),
    ],
)
def test_refused_formulas(formula, message):
    with pytest.raises(ParameterError, match=message):
        logit(formula, rows())


@pytest.mark.parametrize("kind", ["boolean", "string", "Int64"])
def test_missing_outcomes_of_pandas_are_refused(kind):
    data = rows()
    data["sick"] = data["sick"].astype(int).astype(kind).mask(data.index == 0)
    with pytest.raises(ParameterError, match="and missing ones"):
        logit("sick ~ a", data)


def test_a_fit_that_fails_leaves_the_features_as_they_were():
    features = FormulaFeatures("a").fit(rows())
    before = dict(vars(features))
    with pytest.raises(ParameterError, match="names 'a', which X lacks"):
        features.fit(np.zeros((5, 3)))
    assert vars(features) == before


def test_refused_rows():
    data = rows()
    with pytest.raises(ParameterError, match=r"two values of one type .* \[1, 'a'\]"):
        logit("mixed ~ a", data.assign(mixed=[1, "a"] * (len(data) // 2)))
    with pytest.raises(ParameterError, match="'multiply'"):
        logit("sick ~ day", data.assign(day=pd.Timestamp("2020-01-01")))
    with pytest.raises(ParameterError, match="has an outcome; see logit"):
        FormulaFeatures("sick ~ a").fit(data)
    features = FormulaFeatures("g + a + bs(x, 4)").fit(data)
    for change, message in (
        ({"g": "new"}, "'new'"),
        ({"g": None}, "null values"),
        ({"a": np.nan}, "null values"),
        ({"x": 9.0}, "beyond"),
    ):
        with pytest.raises(ParameterError, match=message):
            features.transform(data[:3].assign(**change))
    with pytest.raises(ParameterError, match="names 'g', which X lacks; its columns are a, x"):
        features.transform(data[["a", "x"]])


@pytest.mark.parametrize("terms", ["stage", "stage * x", "0 + stage"])
def test_numbers_in_place_of_categories_are_refused(terms):
    """As a CSV file gives them back; formulaic writes them into the columns of all levels."""
    train = pd.DataFrame({"stage": list("123") * 4, "x": range(12)})
    features = FormulaFeatures(terms).fit(train)
    wanted = features.transform(train)
    for _ in range(2):
        with pytest.raises(ParameterError, match="'stage' is numerical in X and was categorical"):
            features.transform(train.astype({"stage": int}))
    np.testing.assert_array_equal(features.transform(train), wanted)
    with pytest.raises(ParameterError, match="generated too many columns"):
        FormulaFeatures("x").fit(train).transform(train.astype({"x": str}))


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    with pytest.raises(ImportError, match=r"skorch-logreg\[formula\]"):
        logit("sick ~ a", rows())

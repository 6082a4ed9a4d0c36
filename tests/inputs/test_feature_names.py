"""Penalty factors, bounds and groups by the names of features equal those by their places."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    ParameterError,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
    bootstrap,
    regularization_path,
    summary,
)
from skorch_logreg.penalties import GroupL2, SparseGroupLasso
from skorch_logreg.solvers import SGD

NAMES = ["height", "age", "income", "city_a", "city_b", "city_c"]
PAIRS = {
    "penalty_factor": ({"age": 0, "city_b": np.inf}, [1, 0, 1, 1, np.inf, 1]),
    "bounds": (
        {"age": (None, 0.1), "city_a": (0, np.inf)},
        ([None, None, None, 0, None, None], [None, 0.1, None, None, None, None]),
    ),
    "penalty": (
        GroupL2({"city": NAMES[3:], "size": ["height", "income"]}),
        GroupL2([0, 2, 0, 1, 1, 1]),
    ),
    "names in lists": (
        SparseGroupLasso([["age"], NAMES[3:], ["income", "height"]]),
        SparseGroupLasso([[1], [3, 4, 5], [0, 2]]),
    ),
}


def rows(n=150):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["age", "income", "height"])
    X["city"] = rng.choice(list("abc"), n)
    return X, ((X["age"] + (X["city"] == "a") + rng.logistic(size=n)) > 0).astype(int)


def encoder():
    """In another order than the columns of X."""
    return make_column_transformer(
        (StandardScaler(), ["height"]),
        ("passthrough", ["age", "income"]),
        (OneHotEncoder(sparse_output=False), ["city"]),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")


@pytest.mark.parametrize("parameter", PAIRS)
def test_names_behind_a_column_transformer(parameter):
    X, y = rows()
    by_name, by_place = PAIRS[parameter]
    parameter = "penalty" if "names" in parameter else parameter
    coefs = []
    for value in (by_name, by_place):
        model = make_pipeline(encoder(), TorchLogisticClassifier(C=0.1, **{parameter: value}))
        coefs.append(clone(model).fit(X, y)[-1].coef_)
    np.testing.assert_array_equal(*coefs)
    cv = TorchLogisticClassifierCV(Cs=2, cv=2, l1_ratios=(0,), **{parameter: by_name})
    assert np.isfinite(make_pipeline(encoder(), cv).fit(X, y)[-1].coef_).all()


def test_names_in_all_that_fit_with_a_penalty_factor():
    X, y = rows()
    Z = encoder().fit_transform(X)
    by_name, by_place = {"age": 0}, [1, 0, 1, 1, 1, 1]
    grids = [{"penalty_factor": [None, factor], "C": [0.1, 1]} for factor in (by_name, by_place)]
    searches = [
        BatchedGridSearchCV(TorchLogisticClassifier(), grid, cv=2).fit(Z, y) for grid in grids
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_array_equal(*scores)
    results = [
        (
            MultiLabel(model).fit(Z, np.column_stack([y, 1 - y])).coef_,
            regularization_path(Z, y, Cs=3, penalty_factor=factor).coefs,
            bootstrap(model.fit(Z, y), Z, y, n_resamples=3, random_state=0).coefs,
            summary(model, Z, y).covariance,
        )
        for factor in (by_name, by_place)
        for model in [TorchLogisticClassifier(penalty_factor=factor)]
    ]
    for named, placed in zip(*results, strict=True):
        np.testing.assert_array_equal(named, placed)
    grouped = TorchLogisticClassifier(penalty=PAIRS["penalty"][0]).fit(Z, y)
    assert bootstrap(grouped, Z, y, n_resamples=3, random_state=0).coefs.shape == (3, 1, 6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"penalty_factor": {"Age": 0}}, "penalty_factor is 'Age'; it must be one of 'height', "),
        ({"bounds": {"Age": (0, 1)}}, "bounds is 'Age'; it must be one of 'height', 'age', 'inc"),
        ({"bounds": {"age": 1}}, r"bounds\['age'\] is 1; expected a pair"),
        ({"bounds": {"age": (1, 0)}}, r"feature 'age' are \(1.0, 0.0\): low must not exceed high"),
        ({"penalty_factor": {"income": -1}}, r"penalty_factor\['income'\] is -1.0; factors must"),
        (
            {"penalty_factor": {"age": np.inf}, "solver": SGD()},
            r"penalty_factor\['age'\] is inf, which excludes",
        ),
        (
            {"penalty_factor": {"age": np.inf}, "bounds": {"age": (1, 2)}},
            r"penalty_factor\['age'\] is inf.*bounds are \(1.0, 2.0\)",
        ),
        ({"penalty": GroupL2({"a": ["Age"]})}, r"groups\['a'\] is 'Age'; it must be one of"),
        ({"penalty": GroupL2({"a": "age"})}, r"groups\['a'\] is 'age'; expected a list"),
        ({"penalty": GroupL2({"a": ["age"], "b": [1]})}, r"in groups\['a'\] and in groups\['b'\]"),
    ],
)
def test_names_that_are_not_allowed(options, text):
    X, y = rows()
    model = TorchLogisticClassifier(**options)
    with pytest.raises(ParameterError, match=text):
        make_pipeline(encoder(), model).fit(X, y)


@pytest.mark.parametrize("parameter", PAIRS)
def test_rows_without_names(parameter):
    X, y = rows()
    value = PAIRS[parameter][0]
    parameter = "penalty" if "names" in parameter else parameter
    model = TorchLogisticClassifier(**{parameter: value})
    with pytest.raises(ParameterError, match="but X has no names of features.*set_output"):
        model.fit(encoder().fit_transform(X).to_numpy(), y)


def test_a_lazy_frame_of_polars_is_refused_by_name():
    polars = pytest.importorskip("polars")
    X, y = rows()
    frame = polars.DataFrame({name: X[name].to_numpy() for name in ("age", "income")})
    model = TorchLogisticClassifier(penalty_factor={"age": 0}).fit(frame, y.to_numpy())
    assert model.feature_names_in_.tolist() == ["age", "income"]
    for call in (lambda X: model.fit(X, y), model.predict):
        with pytest.raises(ParameterError, match=r"LazyFrame.*pass X.collect\(\)"):
            call(frame.lazy())
    lazy = polars.DataFrame({"y": y.to_numpy()}).lazy()
    for given in ({"y": lazy}, {"y": y.to_numpy(), "sample_weight": lazy}):
        with pytest.raises(ParameterError, match=r"A LazyFrame holds no values"):
            TorchLogisticClassifier().fit(frame, **given)


@pytest.mark.parametrize("parameter", ["penalty_factor", "bounds", "penalty"])
def test_a_series_goes_by_its_names(parameter):
    rng = np.random.default_rng(0)
    X, y = pd.DataFrame(rng.normal(size=(80, 3)), columns=list("abc")), rng.integers(0, 2, 80)
    by_name, by_place = {
        "penalty_factor": (pd.Series({"c": 5.0, "a": 0.5}), [0.5, 1, 5]),
        "bounds": ((pd.Series({"c": 0.1, "a": 0.2}), None), ([0.2, None, 0.1], None)),
        "penalty": (GroupL2(pd.Series({"c": 1, "b": 0, "a": 1})), GroupL2([1, 0, 1])),
    }[parameter]
    fits = [
        TorchLogisticClassifier(**{parameter: value}).fit(X, y) for value in (by_name, by_place)
    ]
    np.testing.assert_array_equal(*[fit.coef_ for fit in fits])
    with pytest.raises(ParameterError, match="no names"):
        TorchLogisticClassifier(**{parameter: by_name}).fit(X.to_numpy(), y)


def test_a_name_of_two_features_is_refused():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 3)), rng.integers(0, 2, 80)
    with pytest.raises(ParameterError, match="names 'a', which 2 features of X are"):
        regularization_path(X, y, feature_names=list("aab"), penalty_factor={"a": 0})

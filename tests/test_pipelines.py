"""The classifier at the end of pipelines and searches gets its own rows, and names of columns."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skorch_logreg import pipelines


def rows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"])
    X["city"] = rng.choice(["x", "y"], 60)
    return X, (X["a"] + rng.logistic(size=60) > 0).astype(int)


def columns():
    return make_column_transformer(
        (StandardScaler(), ["a", "b", "c"]),
        (OneHotEncoder(drop="first"), ["city"]),
        verbose_feature_names_out=False,
    )


def search(model):
    return GridSearchCV(model, {}, cv=2)


LAST = LogisticRegression()
ABC = ["a", "b", "c"]
WRAPPED = {
    "bare": (lambda: LAST, ABC),
    "one step": (lambda: make_pipeline(LAST), ABC),
    "one step in one step": (lambda: make_pipeline(make_pipeline(LAST)), ABC),
    "passthrough": (lambda: make_pipeline("passthrough", LAST), ABC),
    "two steps": (lambda: make_pipeline(StandardScaler(), LAST), ABC),
    "data frame": (
        lambda: make_pipeline(StandardScaler().set_output(transform="pandas"), LAST),
        ABC,
    ),
    "inner": (lambda: make_pipeline(make_pipeline(StandardScaler(), LAST)), ABC),
    "outer and inner": (
        lambda: make_pipeline(StandardScaler(), make_pipeline(PCA(2), LAST)),
        ["pca0", "pca1"],
    ),
    "selected": (
        lambda: make_pipeline(SelectKBest(k=1), make_pipeline(StandardScaler(), LAST)),
        ["a"],
    ),
    "search": (lambda: search(make_pipeline(StandardScaler(), LAST)), ABC),
    "search in a pipeline": (lambda: make_pipeline(StandardScaler(), search(LAST)), ABC),
    "search in a search": (lambda: search(search(make_pipeline(LAST))), ABC),
    "no names": (
        lambda: make_pipeline(FunctionTransformer(np.asarray), StandardScaler(), LAST),
        ["x0", "x1", "x2"],
    ),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_the_last_step_its_rows_and_its_names(kind):
    make, names = WRAPPED[kind]
    X, y = rows()
    X = X[ABC]
    model = make().fit(X, y)
    last = pipelines.last_step(model)
    assert type(last) is LogisticRegression
    assert last.n_features_in_ == len(names)
    own = pipelines.transform_before_last(model, X)
    np.testing.assert_array_equal(last.decision_function(own), model.decision_function(X))
    assert pipelines.feature_names(model, len(names)).tolist() == names


def test_names_of_encoded_columns():
    X, y = rows()
    model = Pipeline([("encode", columns()), ("classify", LAST)]).fit(X, y)
    assert pipelines.feature_names(model, 4).tolist() == ["a", "b", "c", "city_y"]


def test_names_that_are_not_as_many_are_not_the_features():
    assert pipelines.feature_names(None, 2).tolist() == ["x0", "x1"]
    X, y = rows()
    model = make_pipeline(columns(), LAST).fit(X, y)
    assert pipelines.feature_names(model, 2).tolist() == ["x0", "x1"]

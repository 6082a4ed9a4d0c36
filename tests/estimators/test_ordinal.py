"""`OrdinalLogisticClassifier` against R, statsmodels and the classifier of two classes."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from statsmodels.miscmodels.ordinal_model import OrderedModel

from skorch_logreg import (
    BatchedGridSearchCV,
    OrdinalLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
)
from skorch_logreg.data import ArrayChunks
from skorch_logreg.penalties import GroupL2
from skorch_logreg.recession import ordered

# MASS::housing, Copenhagen: satisfaction (low, medium, high) of residents, by contact with others
# (low, high), type of housing (tower, apartment, atrium, terrace) and influence (low, medium, high)
HOUSING = """
21 21 28  34 22 36  10 11 36    61 23 17  43 35 40  26 18 54
13  9 10   8  8 12   6  7  9    18  6  7  15 13 13   7  5 11
14 19 37  17 23 40   3  5 23    78 46 43  48 45 86  15 25 62
20 23 20  10 22 24   7 10 21    57 23 13  31 21 13   5  6 13
"""
SATISFACTION = ["Low", "Medium", "High"]


def housing():
    """Return dummy variables, satisfaction, and frequencies of the 72 cells."""
    levels = [
        ["Low", "High"],
        ["Tower", "Apartment", "Atrium", "Terrace"],
        SATISFACTION,
        SATISFACTION,
    ]
    cells = pd.MultiIndex.from_product(levels, names=["Cont", "Type", "Infl", "Sat"])
    table = cells.to_frame(index=False)
    for name, of_name in zip(table.columns, levels, strict=True):
        table[name] = pd.Categorical(table[name], of_name)
    X = pd.get_dummies(table[["Infl", "Type", "Cont"]], drop_first=True, dtype=float, prefix_sep="")
    return X, table["Sat"].astype(str).to_numpy(), np.array(HOUSING.split(), dtype=float)


def problem(n=400, p=5, n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    latent = X @ rng.normal(size=p) + rng.logistic(size=n)
    return X, np.searchsorted(np.quantile(latent, np.arange(1, n_classes) / n_classes), latent)


def exact(**parameters):
    return OrdinalLogisticClassifier(**{"C": np.inf, "tol": 1e-9} | parameters)


def test_housing_is_that_of_polr():
    """The figures of ``example(polr)`` in R: Venables and Ripley (2002), section 7.3."""
    X, y, weight = housing()
    model = exact(categories=SATISFACTION).fit(X, y, sample_weight=weight)
    published = {
        "InflMedium": 0.566394,
        "InflHigh": 1.288819,
        "TypeApartment": -0.572350,
        "TypeAtrium": -0.366186,
        "TypeTerrace": -1.091015,
        "ContHigh": 0.360284,
    }
    found = dict(zip(model.feature_names_in_, model.coef_[0], strict=True))
    assert found == pytest.approx(published, abs=1e-4)
    np.testing.assert_allclose(model.thresholds_, [-0.496135, 0.690708], atol=1e-4)
    assert list(model.classes_) == SATISFACTION
    log_proba = model.predict_log_proba(X)[range(72), [SATISFACTION.index(name) for name in y]]
    assert -2 * weight @ log_proba == pytest.approx(3479.149, abs=1e-3)  # the residual deviance


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_equals_ordered_model(n_classes):
    X, y = problem(n_classes=n_classes)
    model = exact().fit(X, y)
    judge = OrderedModel(y, X, distr="logit")
    found = judge.fit(method="newton", tol=1e-9, disp=False)
    np.testing.assert_allclose(model.coef_[0], found.params[:5], atol=1e-6)
    ends = judge.transform_threshold_params(found.params[5:])[1:-1]
    np.testing.assert_allclose(model.thresholds_, ends, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), found.predict(X), atol=1e-6)


@pytest.mark.parametrize(
    "parameters",
    [
        {"C": 0.1},
        {"C": np.inf},
        {"C": 0.1, "l1_ratio": 1.0},
        {"C": 0.1, "l1_ratio": 0.4, "penalty_factor": [1.0, 0.0, 2.0, 1.0, np.inf]},
        {"bounds": (0, 0.5)},
        {"class_weight": "balanced"},
        {"class_weight": {0: 3.0}},
        {"penalty": GroupL2([[0, 1], [2, 3, 4]]), "C": 0.1},
    ],
    ids=str,
)
def test_two_classes_are_the_binary_classifier(parameters):
    X, y = problem(n_classes=2)
    weight = np.random.default_rng(0).integers(0, 3, size=len(y))
    ordinal = OrdinalLogisticClassifier(tol=1e-8, **parameters).fit(X, y, sample_weight=weight)
    binary = TorchLogisticClassifier(tol=1e-8, **parameters).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(ordinal.coef_, binary.coef_, atol=1e-7)
    np.testing.assert_allclose(ordinal.thresholds_, -binary.intercept_, atol=1e-7)
    np.testing.assert_allclose(ordinal.decision_function(X), binary.decision_function(X), atol=1e-6)
    assert (ordinal.predict(X) == binary.predict(X)).all()


@pytest.mark.parametrize("parameters", [{}, {"l1_ratio": 1.0}, {"class_weight": "balanced"}])
def test_weights_are_repetitions(parameters):
    X, y = problem()
    weight = np.random.default_rng(0).integers(0, 4, size=len(y))
    model = exact(C=0.3, **parameters)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    repeated = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-8)
    np.testing.assert_allclose(weighted.thresholds_, repeated.thresholds_, atol=1e-8)


@pytest.mark.parametrize("parameters", [{}, {"l1_ratio": 0.5}])
@pytest.mark.parametrize("kind", ["csr", "csc", "fortran", "frame", "chunks", "dask"])
def test_the_container_does_not_matter(kind, parameters):
    X, y = problem()
    X[X < 0.3] = 0.0
    model = exact(C=0.3, **parameters)
    wanted = clone(model).fit(X, y)
    if kind == "dask":
        array = pytest.importorskip("dask.array")
        held, labels = array.from_array(X, chunks=(90, 5)), array.from_array(y, chunks=90)
    else:
        make = {
            "csr": sp.csr_array,
            "csc": sp.csc_matrix,
            "fortran": np.asfortranarray,
            "frame": lambda rows: pd.DataFrame(rows, columns=list("abcde")),
            "chunks": lambda rows: ArrayChunks(rows, 70),
        }
        held, labels = make[kind](X), y
    found = clone(model).fit(held, labels)
    np.testing.assert_allclose(found.coef_, wanted.coef_, atol=1e-8)
    np.testing.assert_allclose(found.thresholds_, wanted.thresholds_, atol=1e-8)
    proba = np.asarray(found.predict_proba(held))
    np.testing.assert_allclose(proba, wanted.predict_proba(X), atol=1e-8)
    assert (np.asarray(found.predict(held)) == wanted.predict(X)).all()


def test_float32():
    X, y = problem()
    model = OrdinalLogisticClassifier(tol=1e-6).fit(X.astype(np.float32), y)
    wanted = OrdinalLogisticClassifier(tol=1e-6).fit(X, y)
    assert (model.coef_.dtype, model.thresholds_.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(model.coef_, wanted.coef_, atol=1e-4)
    np.testing.assert_allclose(model.thresholds_, wanted.thresholds_, atol=1e-4)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e4, 3e5])
def test_the_gap_counts_what_float32_rounds(mean):
    """Thresholds lie at the mean times the coefficient: those of a rare class are close."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=2000)
    y = np.searchsorted([0.0, 0.01], z + rng.logistic(size=2000))
    X = (z + mean).astype(np.float32)[:, None]
    model = OrdinalLogisticClassifier(C=1.0, tol=1e-7).fit(X, y)
    best = OrdinalLogisticClassifier(C=1.0, tol=1e-7).fit(X.astype(float), y)
    assert np.diff(model.thresholds_)[0] > 0
    assert np.isfinite(model.predict_log_proba(X)).all()

    def value(of):
        ends = np.concatenate([[-np.inf], of.thresholds_, [np.inf]])
        logits = X.astype(float) @ of.coef_[0].astype(float)
        loss = -np.log(expit(ends[y + 1] - logits) - expit(ends[y] - logits)).sum()
        return loss + np.square(of.coef_.astype(float)).sum() / 2

    assert (value(model) - value(best)) / value(best) <= model.duality_gap_ + 1e-11


def test_ugly_scales():
    """Promise 6: a column times 1e8, and means of 1e6 deviations."""
    X, y = problem()
    plain, ugly = exact().fit(X, y), exact()
    unit, mean = np.array([1e8, 1e-8, 1.0, 1.0, 1.0]), np.array([0.0, 0.0, 1e6, 0.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ugly.fit(X * unit + mean, y)
    np.testing.assert_allclose(ugly.coef_ * unit, plain.coef_, rtol=1e-6)
    shift = ugly.coef_ @ mean
    np.testing.assert_allclose(ugly.thresholds_ - shift, plain.thresholds_, rtol=1e-6)


def test_an_ordered_categorical_has_its_own_order():
    X, y = problem(n_classes=3)
    names = ["low", "mid", "high"]
    given = OrdinalLogisticClassifier(categories=names).fit(X, np.array(names)[y])
    of_y = pd.Series(pd.Categorical.from_codes(y, [*names, "none"], ordered=True))
    found = OrdinalLogisticClassifier().fit(X, of_y)
    assert found.classes_.tolist() == names
    np.testing.assert_array_equal(found.coef_, given.coef_)
    search = BatchedGridSearchCV(OrdinalLogisticClassifier(), {"C": [0.1, 1.0]}).fit(X, of_y)
    theirs = GridSearchCV(OrdinalLogisticClassifier(), {"C": [0.1, 1.0]}).fit(X, of_y)
    scores = (each.cv_results_["mean_test_score"] for each in (search, theirs))
    np.testing.assert_array_equal(*scores)


def test_categories_reverse_the_model():
    X, y = problem()
    plain, reversed_ = exact(C=1.0).fit(X, y), exact(C=1.0, categories=[3, 2, 1, 0]).fit(X, y)
    assert reversed_.classes_.tolist() == [3, 2, 1, 0]
    np.testing.assert_allclose(reversed_.coef_, -plain.coef_, atol=1e-8)
    np.testing.assert_allclose(reversed_.thresholds_, -plain.thresholds_[::-1], atol=1e-8)
    assert (plain.predict(X) == reversed_.predict(X)).all()


def test_predictions():
    X, y = problem()
    model = OrdinalLogisticClassifier().fit(X, y)
    scores = model.linear_predictor(X)
    np.testing.assert_allclose(scores, X @ model.coef_[0])
    below = 1 / (1 + np.exp(scores[:, None] - model.thresholds_))
    proba = np.diff(np.column_stack([0 * scores, below, 1 + 0 * scores]))
    np.testing.assert_allclose(model.predict_proba(X), proba, atol=1e-12)
    np.testing.assert_allclose(model.decision_function(X), np.log(proba), atol=1e-10)
    assert (model.predict(X) == model.classes_[proba.argmax(axis=1)]).all()


def test_travels_and_is_searched():
    X, y = problem()
    model = OrdinalLogisticClassifier(C=0.5, categories=[0, 1, 2, 3]).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
    search = GridSearchCV(OrdinalLogisticClassifier(), {"C": [0.01, 1.0]}, cv=3).fit(X, y)
    assert search.best_estimator_.converged_
    scores = cross_val_score(OrdinalLogisticClassifier(), X, y, scoring="neg_log_loss", cv=3)
    assert (scores > -np.log(4)).all()


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2]),
        ([0, 1, 2, 2, 3, 4], [0, 0, 0, 1, 1, 2]),
        ([0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 2, 1]),
    ],
)
@pytest.mark.parametrize("factor", [None, [0.0, 1.0]])
def test_no_minimiser(x, y, factor):
    """Promise 18: complete and quasi-complete separation, of the column without a penalty."""
    X = np.column_stack([x, [0, 1, 1, 0, 0, 1]]).astype(float)[:, : 1 if factor is None else 2]
    C = np.inf if factor is None else 1.0
    with pytest.warns(ConvergenceWarning, match="separable") as caught:
        model = OrdinalLogisticClassifier(C=C, penalty_factor=factor).fit(X, y)
    assert len(caught) == 1
    assert "columns x0)" in str(caught[0].message)
    assert not model.converged_
    assert np.isfinite(model.coef_).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert OrdinalLogisticClassifier().fit(X, y).converged_


@pytest.mark.parametrize("y", [[0, 1, 0, 1, 2, 2], [0, 0, 0, 1, 2, 1], [1, 0, 2, 0, 2, 1]])
@pytest.mark.parametrize("tol", [1e-2, 1e-9])
def test_one_threshold_alone_is_not_separated(y, tol):
    """All thresholds share the direction, so that those which overlap determine it."""
    X = np.arange(6.0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert exact(tol=tol).fit(X, y).converged_


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_a_newton_step_saves_linear_programmes(l1_ratio, monkeypatch):
    X, y = problem()
    searches = []
    monkeypatch.setattr(ordered, "find_direction", lambda *args, **kw: searches.append(args))
    assert exact(tol=1e-4, l1_ratio=l1_ratio).fit(X, y).converged_
    assert searches == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"categories": [0, 1, 2]}, "y holds 3, which is not among categories"),
        ({"categories": [0, 1, 2, 3, 4]}, "categories has 4, but y has no such row"),
        ({"categories": [0, 1, 1, 2, 3]}, "holds a class twice"),
        ({"penalty": GroupL2([[0, 1]]), "l1_ratio": 0.5}, "leave l1_ratio at 0"),
        ({"penalty_factor": [1.0]}, "penalty_factor has shape"),
    ],
)
def test_errors(parameters, message):
    X, y = problem()
    with pytest.raises(ValueError, match=message):
        OrdinalLogisticClassifier(**parameters).fit(X, y)


def test_classes_without_weight_are_refused():
    X, y = problem()
    with pytest.raises(ParameterError, match="class .*2.* has no row of positive weight"):
        OrdinalLogisticClassifier().fit(X, y, sample_weight=(y != 2).astype(float))


@parametrize_with_checks(
    [OrdinalLogisticClassifier(**kw) for kw in ({}, {"l1_ratio": 0.5, "class_weight": "balanced"})]
)
def test_sklearn_checks(estimator, check):
    if getattr(check, "func", check).__name__.startswith("check_sample_weight_equivalence"):
        estimator.set_params(tol=1e-10, max_iter=10_000)  # it compares two fits to 1e-7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # some checks set max_iter=1
        check(estimator)

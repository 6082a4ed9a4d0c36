"""Cross-validated fits: scikit-learn's numbers and layouts, the choice, and manners."""

import pickle
import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.model_selection import ShuffleSplit

from skorch_logreg import DeviceError, ParameterError, TorchLogisticClassifier, fitting
from skorch_logreg import TorchLogisticClassifierCV as OursCV
from skorch_logreg.estimators.cv.grid import choose, choose_by_fold
from skorch_logreg.solvers import LBFGS
from tests.estimators.cv.comparison import (
    GRID,
    TIGHT,
    assert_close,
    data,
    ours,
    sample_weight,
    sklearns,
)
from tests.estimators.data import assert_same_state, state

# ---------------------------------------------------------------- scikit-learn's numbers


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_and_paths_are_scikit_learns(n_classes, form, weighted, class_weight):
    X, y = data(n_classes)
    weight = sample_weight() if weighted else None
    options = {"class_weight": class_weight, "Cs": 4}
    model = ours(**options).fit(form(X), y, weight)
    expected = sklearns(**options).fit(X, y, weight)
    assert_close(model.scores_, expected.scores_)
    assert_close(model.coefs_paths_, expected.coefs_paths_, atol=1e-5)
    assert model.C_ == expected.C_
    assert_close(model.coef_, expected.coef_)
    assert_close(model.intercept_, expected.intercept_)
    assert model.converged_


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("l1_ratios", [None, (0,), np.array([0.0, 0.5])], ids=["none", "l2", "two"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.filterwarnings("ignore:'?l1_ratios=None:FutureWarning")
@pytest.mark.filterwarnings("ignore:The max_iter was reached:sklearn.exceptions.ConvergenceWarning")
def test_attributes_have_scikit_learns_layout(n_classes, l1_ratios, fit_intercept, refit, legacy):
    X, y = data(n_classes, labels=True)
    mixed = isinstance(l1_ratios, np.ndarray)
    options = {
        "Cs": [0.1, 0.3],
        "cv": 2,
        "l1_ratios": l1_ratios,
        "fit_intercept": fit_intercept,
        "refit": refit,
        "use_legacy_attributes": legacy,
    }
    solver = {"solver": "saga", "tol": 1e-7, "max_iter": 2000} if mixed else {}
    model = ours(**options).fit(X, y)
    expected = sklearns(**options, **solver).fit(X, y)
    for name in ["C_", "l1_ratio_", "Cs_", "l1_ratios_", "scores_", "coefs_paths_", "n_iter_"]:
        got, wanted = getattr(model, name), getattr(expected, name)
        assert type(got) is type(wanted), name
        if name == "n_iter_":
            assert got.shape == wanted.shape
            assert got.dtype == np.int32
        elif np.asarray(wanted).dtype == object and not isinstance(wanted, dict):
            np.testing.assert_array_equal(got, wanted)
        else:
            tolerance = 2e-4 if mixed else 1e-6
            assert_close(got, wanted, rtol=tolerance, atol=tolerance)
    tolerance = 1e-3 if mixed else 1e-6
    assert_close(model.coef_, expected.coef_, rtol=tolerance, atol=tolerance)
    assert_close(model.intercept_, expected.intercept_, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(model.classes_, expected.classes_)


@pytest.mark.parametrize("l1_ratio", [0, 1])
def test_liblinear_keeps_its_objective(l1_ratio):
    X, y = data(2)
    options = {"solver": "liblinear", "l1_ratios": (l1_ratio,), "intercept_scaling": 0.5}
    model = ours(**options).fit(X, y)
    expected = sklearns(**options, random_state=0, tol=1e-9, max_iter=10_000).fit(X, y)
    assert_close(model.scores_, expected.scores_, rtol=1e-5)
    assert_close(model.coefs_paths_, expected.coefs_paths_, atol=1e-4)
    # its refit forgets intercept_scaling
    alone = TorchLogisticClassifier(
        solver="liblinear", l1_ratio=l1_ratio, intercept_scaling=0.5, C=model.C_, **TIGHT
    ).fit(X, y)
    assert_close(model.coef_, alone.coef_)
    assert_close(model.intercept_, alone.intercept_)


@pytest.mark.parametrize("options", [{}, {"penalty_factor": [1, 0, 2, 0.5]}, {"device": "cpu"}])
@pytest.mark.parametrize("l1_ratio", [0, 0.4, 1])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_model_is_the_one_fitted_alone(n_classes, l1_ratio, options):
    """Promise 8, over folds and Cs: to 1e-8 of a solo fit on the fold's rows."""
    X, y = data(n_classes)
    weight = sample_weight()
    splits = list(ShuffleSplit(3, random_state=0).split(X))
    # without a gap there is no proof beyond the rounding of the objective
    no_gap = l1_ratio > 0 and 0 in options.get("penalty_factor", ())
    near = {"rtol": 2e-6, "atol": 1e-6} if no_gap else {"rtol": 1e-7, "atol": 1e-8}
    model = ours(l1_ratios=(l1_ratio,), cv=splits, **options).fit(X, y, weight)
    for fold, (train, test) in enumerate(splits):
        for c, C in enumerate(GRID["Cs"]):
            alone = TorchLogisticClassifier(C=C, l1_ratio=l1_ratio, **TIGHT, **options)
            alone.fit(X[train], y[train], weight[train])
            path = model.coefs_paths_[fold, 0, c]
            np.testing.assert_allclose(path[:, :-1], alone.coef_, **near)
            np.testing.assert_allclose(path[:, -1], alone.intercept_, **near)
            score = -log_loss(y[test], alone.predict_proba(X[test]), sample_weight=weight[test])
            np.testing.assert_allclose(model.scores_[fold, 0, c], score, rtol=1e-7)
    alone = TorchLogisticClassifier(C=model.C_, l1_ratio=l1_ratio, **TIGHT, **options)
    alone.fit(X, y, weight)
    np.testing.assert_allclose(model.coef_, alone.coef_, **near)
    assert model.optimality_ <= TIGHT["tol"]
    assert np.isfinite(model.duality_gap_) == np.isfinite(alone.duality_gap_)


def test_defaults_are_those_of_the_installed_scikit_learn():
    X, y = data(3)
    theirs = LogisticRegressionCV().get_params()
    assert {"solver", *theirs} <= OursCV().get_params().keys()
    assert OursCV().get_params() | theirs == OursCV(solver="lbfgs").get_params()
    model = OursCV(cv=2).fit(X, y)  # without a warning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = LogisticRegressionCV(cv=2, max_iter=1000).fit(X, y)
    for name in ["scores_", "C_", "l1_ratio_", "n_iter_"]:
        assert np.shape(getattr(model, name)) == np.shape(getattr(expected, name))
    assert_close(model.scores_, expected.scores_)


def test_no_penalty_is_a_candidate():
    X, y = data(2)
    model = ours(Cs=[1.0, np.inf]).fit(X, y)
    expected = sklearns(Cs=[1.0, 1e12]).fit(X, y)
    assert_close(model.scores_, expected.scores_)
    assert_close(model.coefs_paths_, expected.coefs_paths_, atol=1e-5)


def test_solver_objects_and_names():
    X, y = data(2)
    expected = ours().fit(X, y)
    for solver in [LBFGS(), "newton-cg", "sag", "saga", "lbfgs"]:
        model = ours(solver=solver, tol=1e-9).fit(X, y)
        assert_close(model.scores_, expected.scores_, rtol=1e-8)


# ---------------------------------------------------------------- the choice


def test_best_is_the_first_of_equals():
    scores = np.zeros((2, 2, 3))
    scores[:, 1, 1] = scores[:, 0, 2] = scores[:, 0, 1] = 1
    assert choose(scores, np.array([3.0, 2.0, 1.0]), "best") == (0, 1)
    scores[1, 0, 1] = 0.9
    assert choose(scores, np.array([3.0, 2.0, 1.0]), "best") == (1, 1)
    assert choose_by_fold(scores) == [(0, 1), (1, 1)]


def test_one_standard_error():
    Cs = np.array([10.0, 0.1, 1.0, 0.01])
    mean = np.array([0.9, 0.8, 0.85, 0.1])  # 0.05 below the best
    spread = np.array([-0.1, 0.0, 0.1])
    scores = (mean + spread[:, None])[:, None, :]
    error = spread.std(ddof=1) / np.sqrt(3)
    assert spread.std() / np.sqrt(3) < 0.05 < error < 0.1
    assert choose(scores, Cs, "best") == (0, 0)
    assert choose(scores, Cs, "1se") == (0, 2)
    worse = np.concatenate([scores - 0.01, scores], axis=1)
    worse[:, 0, 3] += 10 * 0.079  # within the error, at another l1_ratio
    assert choose(worse, Cs, "1se") == (1, 2)
    with pytest.raises(ParameterError, match="at least 2 folds"):
        choose(scores[:1], Cs, "1se")


def test_1se_is_simpler_and_as_good():
    X, y = data(2)
    options = {"Cs": np.logspace(-2, 1, 12), "cv": 5}
    best = ours(**options).fit(X, y)
    model = ours(**options, selection="1se").fit(X, y)
    np.testing.assert_array_equal(model.scores_, best.scores_)
    assert model.C_ < best.C_
    mean = model.scores_[:, 0].mean(axis=0)
    error = model.scores_[:, 0, mean.argmax()].std(ddof=1) / np.sqrt(5)
    chosen = list(model.Cs_).index(model.C_)
    assert mean[chosen] >= mean.max() - error > mean[chosen - 1]
    alone = TorchLogisticClassifier(C=model.C_, **TIGHT).fit(X, y)
    np.testing.assert_allclose(model.coef_, alone.coef_, rtol=1e-7)
    with pytest.raises(ParameterError, match="refit=True"):
        ours(selection="1se", refit=False).fit(X, y)


def test_the_refit_starts_from_the_folds(monkeypatch):
    X, y = data(3)
    starts = []
    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", lambda *a, **k: starts.append(k["start"]) or fit(*a, **k))
    model = ours().fit(X, y)
    assert starts[0] is None
    mean = model.coefs_paths_[:, 0, list(model.Cs_).index(model.C_)].mean(axis=0)
    np.testing.assert_allclose(starts[1].coef[0], mean[:, :-1], rtol=1e-12)
    np.testing.assert_allclose(starts[1].intercept[0], mean[:, -1], rtol=1e-12)


# ---------------------------------------------------------------- manners


def test_float32_stays():
    X, y = data(3)
    model = ours(tol=1e-6).fit(X.astype(np.float32), y)
    expected = ours().fit(X, y)
    assert model.coef_.dtype == model.intercept_.dtype == np.float32
    assert model.scores_.dtype == model.coefs_paths_.dtype == np.float64
    assert_close(model.scores_, expected.scores_, rtol=1e-5)
    assert_close(model.coef_, expected.coef_, rtol=1e-4, atol=1e-4)
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    custom = ours(tol=1e-6, scoring="f1_macro").fit(X.astype(np.float32), y)
    assert_close(custom.scores_, ours(scoring="f1_macro").fit(X, y).scores_, rtol=1e-5)


def test_one_convergence_warning_counts_the_models():
    X, y = data(2)
    with pytest.warns(ConvergenceWarning) as caught:
        model = ours(max_iter=1, Cs=[1e-6, 1.0, 1e4]).fit(X, y)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert re.search(
        r"\d of 10 models failed to converge\. The worst reached optimality_ = \S+ where tol = "
        r"\S+ was asked for: max_iter was reached\. Increase .* \(max_iter=1\)",
        message,
    )
    assert caught[0].filename == __file__
    assert not model.converged_
    assert model.optimality_ > TIGHT["tol"]


def test_an_average_has_converged_if_all_its_models_have():
    X, y = data(2)
    cv = [(np.arange(45), np.arange(45, 90)), (np.arange(45, 90), np.arange(44))]
    options = {"cv": cv, "max_iter": 1, "tol": 1e-4, "Cs": [1e-9, 1e4], "refit": False}

    def torn(estimator, X, y):  # the folds choose different Cs
        return estimator.C if len(y) == 45 else -estimator.C

    with pytest.warns(ConvergenceWarning, match="2 of 4 models"):
        model = ours(**options, scoring=torn).fit(X, y)
    assert model.C_ == pytest.approx(5e3)
    assert not model.converged_
    assert model.optimality_ > 1e-4
    with pytest.warns(ConvergenceWarning, match="2 of 4 models"):
        model = ours(**options, scoring=lambda estimator, X, y: -estimator.C).fit(X, y)
    assert model.converged_
    assert model.optimality_ <= 1e-4


def test_deprecations_have_scikit_learns_words():
    """Except for those of defaults that will change, which only scikit-learn announces."""
    X, y = data(2)
    settings = [
        {},
        {"l1_ratios": None},
        {"penalty": "l2"},
        {"penalty": "l2", "l1_ratios": (0.3, 0.1)},
        {"penalty": "elasticnet", "l1_ratios": (0.5,), "solver": "saga", "Cs": [1e-3]},
        {"penalty": "l1", "l1_ratios": None, "solver": "liblinear"},
    ]
    for setting in settings:
        said = []
        for cls in (OursCV, LogisticRegressionCV):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model = cls(**({"Cs": [0.1], "cv": 2} | setting)).fit(X, y)
            said.append(
                [
                    (w.category, str(w.message).replace(cls.__name__, "It"))
                    for w in caught
                    if w.category is not ConvergenceWarning
                    and "The default value" not in str(w.message)
                ]
            )
            assert all(w.filename == __file__ for w in caught) or cls is not OursCV
            assert type(model.scores_) is dict
        assert said[0] == said[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"Cs": [1.0, 0.0]}, "Cs holds 0.0; its values must be positive"),
        ({"Cs": [np.nan]}, "Cs holds nan"),
        ({"Cs": []}, "Cs has shape"),
        ({"Cs": [[1.0]]}, "Cs has shape"),
        ({"Cs": ["much"]}, "Cs must be a number or hold numbers"),
        ({"l1_ratios": [0.5, 1.5]}, "l1_ratios must be an array-like of numbers"),
        ({"l1_ratios": []}, "l1_ratios must be an array-like of numbers"),
        ({"solver": "lbfgs", "l1_ratios": [0.5]}, "Solver lbfgs supports only"),
        ({"solver": "liblinear", "Cs": [np.inf]}, "is not supported for the liblinear"),
        ({"solver": "lbfgs", "dual": True}, "supports only dual=False"),
        ({"solver": LBFGS}, "is not a solver"),
        ({"selection": "2se"}, "'selection' parameter"),
        ({"memory_budget": 0}, "'memory_budget' parameter"),
        ({"scoring": "beauty"}, "'scoring' parameter"),
        ({"class_weight": {5: 1.0}}, "must have the class labels as keys"),
        ({"class_weight": {0: -1.0}}, "class_weight gives class 0"),
        ({"penalty_factor": [1.0]}, "penalty_factor has shape"),
        ({"device": "meta"}, "device='meta'"),
    ],
)
def test_bad_parameters_leave_the_model_as_it_was(options, said):
    X, y = data(2)
    model = ours().fit(X, y)
    before = state(model)
    model.set_params(**options)
    with pytest.raises(ValueError, match=said):
        model.fit(X, y)
    assert_same_state(state(model), before)


def test_bad_data():
    X, y = data(3)
    with pytest.raises(ValueError, match="needs samples of at least 2 classes"):
        ours().fit(X, np.zeros(90))
    with pytest.raises(ValueError, match="does not support multiclass"):
        ours(solver="liblinear").fit(X, y)
    with pytest.raises(ValueError, match="Negative values"):
        ours().fit(X, y, -np.ones(90))
    with pytest.raises(ValueError, match="at least one non-zero"):
        ours().fit(X, y, np.zeros(90))
    with pytest.raises(DeviceError):
        ours(device="cuda:77").fit(X, y)


def test_interrupted_by_its_scorer_it_is_as_it_was():
    X, y = data(2)
    model = ours().fit(X, y)
    before = state(model)

    def rude(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.set_params(scoring=rude).fit(X[:, :2], data(3)[1])
    assert_same_state(state(model), before)


def test_travels():
    X, y = data(3)
    model = ours().fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert clone(model).get_params() == model.get_params()
    with torch.inference_mode():
        np.testing.assert_allclose(
            model.module_(torch.from_numpy(X.copy())).numpy(), model.decision_function(X)
        )


def test_tags():
    tags = OursCV().__sklearn_tags__()
    assert tags.input_tags.sparse
    assert tags.classifier_tags.multi_class
    assert not tags.array_api_support
    assert not OursCV(solver="liblinear").__sklearn_tags__().classifier_tags.multi_class


@pytest.mark.parametrize("metric", ["neg_log_loss", "f1_macro"])
def test_torch_tensors(metric):
    X, y = data(3)
    expected = ours(scoring=metric).fit(X, y)
    tensors = torch.from_numpy(X.copy()), torch.from_numpy(y.copy())
    plain = ours(scoring=metric).fit(*tensors)
    np.testing.assert_allclose(plain.coef_, expected.coef_, rtol=1e-10)
    with config_context(array_api_dispatch=True):
        model = ours(scoring=metric).fit(*tensors)
        assert isinstance(model.coef_, torch.Tensor)
        assert isinstance(model.predict(tensors[0]), torch.Tensor)
        np.testing.assert_allclose(model.scores_, expected.scores_, rtol=1e-10)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-10)


def test_the_same_call_gives_the_same_bits():
    X, y = data(3)
    one, two = ours().fit(X, y), ours().fit(X, y)
    assert_same_state(state(one), state(two))


@pytest.mark.parametrize("legacy", [False, True])
def test_fitted_arrays_are_each_their_own(legacy):
    X, y = data(3)
    model = ours(use_legacy_attributes=legacy, Cs=np.array([0.1, 1.0])).fit(X, y)
    arrays = [model.coef_, model.intercept_, model.Cs_, model.n_iter_]
    for table in (model.scores_, model.coefs_paths_):
        arrays += table.values() if legacy else [table]
    for i, one in enumerate(arrays):
        assert one.flags.writeable
        assert not any(np.shares_memory(one, other) for other in arrays[:i])
    assert not np.shares_memory(model.Cs_, model.Cs)


def test_verbose_prints_a_line_an_iteration(capsys):
    X, y = load_iris(return_X_y=True)
    model = OursCV(Cs=3, cv=2, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False)
    model.fit(X, y)
    assert capsys.readouterr().out == ""
    model.set_params(verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[TorchLogisticClassifierCV] iteration 1: 6 models at work")
    assert len(lines) >= model.n_iter_.max()


def test_a_fold_that_lacks_a_class_does_not_rule_the_means_of_folds():
    """``refit=False`` averages the folds: one of a hundred must not forbid a class."""
    y = np.repeat(np.arange(3), 50)
    X = np.random.default_rng(0).normal(size=(150, 2)) * 0.3 + 4 * y[:, None]
    every = np.arange(150)
    folds = [(np.arange(100), every), *[(every, every)] * 99]
    model = OursCV(
        Cs=[1.0],
        l1_ratios=(0,),
        scoring="accuracy",
        use_legacy_attributes=False,
        refit=False,
        cv=folds,
    ).fit(X, y)
    assert model.score(X, y) == 1


def test_one_class_is_refused_in_the_words_of_scikit_learn():
    X, y = np.ones((20, 2)), np.zeros(20)
    options = {"Cs": [1.0], "l1_ratios": (0,), "use_legacy_attributes": False}
    with pytest.raises(ValueError, match=r"one class: 0\.0\.$"):
        OursCV(**options, scoring="neg_log_loss").fit(X, y)

"""Many labels at once: against one fit a label, of scikit-learn and of ours."""

import copy
import io
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import skops.io
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    hamming_loss,
    make_scorer,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.utils.data import DataLoader, TensorDataset

import skorch_logreg
from skorch_logreg import (
    ConstantLabelWarning,
    DeviceError,
    MultiLabel,
    NeuralLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
    VersionMismatchWarning,
    fitting,
)
from skorch_logreg.estimators.multilabel import prediction as label_prediction
from skorch_logreg.fitting import ROW_BYTES
from skorch_logreg.solvers import Adam
from tests.estimators.data import assert_same_state, binary, multi, state
from tests.estimators.labels import labels

TIGHT = {"tol": 1e-9, "max_iter": 1000}


def several(estimator=None, **kwargs):
    return MultiLabel(TorchLogisticClassifier(**TIGHT | (estimator or {})), **kwargs)


def judges(X, Y, sample_weight=None, **kwargs):
    """scikit-learn's models, one a label."""
    options = {"tol": 1e-12, "max_iter": 10_000, "solver": "newton-cholesky"} | kwargs
    if options.pop("l1_ratio", 0):
        options |= {"solver": "saga", "l1_ratio": 1, "tol": 1e-10, "max_iter": 100_000}
    return [LogisticRegression(**options).fit(X, y, sample_weight) for y in Y.T]


def assert_equal_to(model, alone, rtol=1e-6):
    coef = np.vstack([one.coef_ for one in alone])
    intercept = np.concatenate([one.intercept_ for one in alone])
    np.testing.assert_allclose(model.coef_, coef, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=rtol, atol=rtol)


# ---------------------------------------------------------------- the models


@pytest.mark.parametrize("form", [np.array, sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"C": 0.01},
        {"fit_intercept": False},
        {"class_weight": "balanced"},
        {"class_weight": {0: 0.5, 1: 3.0}},
        {"l1_ratio": 1.0, "C": 0.1},
        {"solver": "liblinear", "intercept_scaling": 2.0},
    ],
    ids=str,
)
def test_equal_to_scikit_learn(form, options):
    X, Y = labels()
    model = several(options).fit(form(X), Y)
    if options.get("solver") == "liblinear":
        options = options | {"tol": 1e-10, "random_state": 0}
    tolerance = 1e-4 if "solver" in options or "l1_ratio" in options else 1e-6
    assert_equal_to(model, judges(X, Y, **options), tolerance)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_weights_and_masks_equal_scikit_learn(form, class_weight):
    """Balanced weights are of the known cells of each label."""
    X, Y = labels()
    rng = np.random.default_rng(0)
    weight, known = rng.integers(0, 4, len(X)).astype(float), rng.random(Y.shape) < 0.7
    model = several(class_weight=class_weight).fit(form(X), Y, weight, label_mask=known)
    options = {"tol": 1e-12, "solver": "newton-cholesky"}
    alone = []
    for k in range(3):
        rows, y = known[:, k], Y[:, k]
        balance = np.ones(len(X))
        if class_weight:
            totals = np.bincount(y[rows], weights=weight[rows])
            balance = (totals.sum() / (2 * totals))[y]
        one = LogisticRegression(**options)
        alone.append(one.fit(X[rows], y[rows], sample_weight=(weight * balance)[rows]))
    assert_equal_to(model, alone)


def test_a_label_of_its_own_strength_and_weights():
    X, Y = labels()
    C, class_weight = np.array([0.01, 1.0, 50.0]), [{1: 3.0}, None, "balanced"]
    model = several({"C": 7.0, "class_weight": {0: 2.0}}, C=C, class_weight=class_weight)
    model.fit(X, Y)
    for k, weights in enumerate([{1: 3.0}, {0: 2.0}, "balanced"]):
        alone = TorchLogisticClassifier(C=C[k], class_weight=weights, **TIGHT).fit(X, Y[:, k])
        np.testing.assert_allclose(model.coef_[k], alone.coef_[0], rtol=1e-7)
    one = several(C=0.3).fit(X, Y)
    np.testing.assert_array_equal(one.coef_, several({"C": 0.3}).fit(X, Y).coef_)


def test_no_penalty_for_one_label():
    X, Y = labels()
    model = several(C=[0.1, np.inf, 0.1]).fit(X, Y)
    free = TorchLogisticClassifier(C=np.inf, **TIGHT).fit(X, Y[:, 1])
    np.testing.assert_allclose(model.coef_[1], free.coef_[0], rtol=1e-7)
    with pytest.raises(ValueError, match="not supported for the liblinear solver"):
        several({"solver": "liblinear"}, C=[0.1, np.inf, 0.1]).fit(X, Y)
    with pytest.warns(FutureWarning, match="'penalty' was deprecated"):
        none = several({"penalty": None}).fit(X, Y)
    np.testing.assert_allclose(none.coef_[1], free.coef_[0], rtol=1e-7)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"])
def test_every_solver_takes_labels(solver):
    X, Y = labels()
    model = several({"solver": solver, "tol": 1e-7}).fit(X, Y)
    assert model.converged_.all()
    assert (model.optimality_ <= 1e-7).all()
    np.testing.assert_allclose(model.coef_, several().fit(X, Y).coef_, rtol=1e-5, atol=1e-7)


def test_strengths_of_features():
    X, Y = labels()
    model = several({"penalty_factor": [0, 1, 10, 1e6]}).fit(X, Y)
    alone = TorchLogisticClassifier(penalty_factor=[0, 1, 10, 1e6], **TIGHT).fit(X, Y[:, 2])
    np.testing.assert_allclose(model.coef_[2], alone.coef_[0], rtol=1e-7)
    with pytest.raises(ParameterError, match="penalty_factor"):
        several({"penalty_factor": [1, 2]}).fit(X, Y)


@pytest.mark.parametrize("budget", [1, ROW_BYTES * 120 * 2, None])
def test_any_budget_gives_the_same_models(budget):
    X, Y = labels(n_labels=7)
    model = several(memory_budget=budget).fit(X, Y)
    np.testing.assert_allclose(model.coef_, several().fit(X, Y).coef_, rtol=1e-8, atol=1e-10)
    expected = several().fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    # each read of X counts, whoever shares it
    assert (model.n_passes_ > expected.n_passes_) == (budget is not None)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_prediction_keeps_to_the_budget(form, monkeypatch):
    """Rows go in parts; the answer is the same."""
    X, Y = labels()
    model = several().fit(X, form(Y))
    whole = model.predict(X)
    affine, rows = label_prediction.checked_logits, []
    monkeypatch.setattr(
        label_prediction,
        "checked_logits",
        lambda X, *args: rows.append(X.shape[0]) or affine(X, *args),
    )
    model.memory_budget = ROW_BYTES * 3 * 7
    parts = model.predict(form(X))
    assert max(rows) == 7
    assert sum(rows) == len(X)
    assert type(parts) is type(whole)
    assert (parts != whole).sum() == 0


def test_float32():
    X, Y = labels()
    model = several({"tol": 1e-6}).fit(X.astype(np.float32), Y)
    assert model.coef_.dtype == model.intercept_.dtype == np.float32
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(model.coef_, several().fit(X, Y).coef_, rtol=1e-5, atol=1e-6)


def test_warm_start():
    """From the previous models; a label that was certain starts anew."""
    X, Y = labels()
    constant = Y.copy()
    constant[:, 1] = 1
    model = several({"warm_start": True})
    with pytest.warns(ConstantLabelWarning):
        model.fit(X, constant)
    model.fit(X, Y)
    assert model.n_iter_[0] == 0
    assert model.n_iter_[1] > 0
    np.testing.assert_allclose(model.coef_, several().fit(X, Y).coef_, rtol=1e-7)
    with pytest.raises(ValueError, match=r"shape \(3, 5\), expected shape \(2, 5\)"):
        model.fit(X, Y[:, :2])
    liblinear = several({"warm_start": True, "solver": "liblinear"}).fit(X, Y)
    assert liblinear.fit(X, Y[:, :2]).n_iter_.min() > 0


def test_device():
    X, Y = labels()
    same = several({"device": "cpu"}).fit(X, Y)
    np.testing.assert_array_equal(same.coef_, several().fit(X, Y).coef_)
    with pytest.raises(DeviceError):
        several({"device": "nonsense"}).fit(X, Y)


def test_verbose(capsys):
    X, Y = labels()
    several().fit(X, Y)
    assert capsys.readouterr().out == ""
    several({"verbose": 1}).fit(X, Y)
    assert "[MultiLabel] labels 0 to 2, iteration 1: 3 models at work" in capsys.readouterr().out


def test_fitted_attributes():
    X, Y = labels()
    model = MultiLabel().fit(pd.DataFrame(X).add_prefix("f"), Y)
    assert model.coef_.shape == (3, 4)
    assert model.coef_.flags.writeable
    assert model.intercept_.shape == (3,)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.n_labels_ == 3
    assert model.n_features_in_ == 4
    assert model.feature_names_in_.tolist() == ["f0", "f1", "f2", "f3"]
    assert model.n_iter_.dtype == np.int32
    assert model.converged_.dtype == bool
    assert model.converged_.all()
    for name in ("n_iter_", "converged_", "optimality_"):
        assert getattr(model, name).shape == (3,)
    assert (model.optimality_ <= 1e-4).all()
    assert isinstance(model.n_passes_, int)
    module = model.module_
    assert (module.in_features, module.out_features) == (4, 3)
    logits = module(torch.tensor(X)).detach().numpy()
    np.testing.assert_array_equal(logits, model.decision_function(pd.DataFrame(X).add_prefix("f")))
    module.weight.data[:] = 0
    assert not model.coef_.any()


# ---------------------------------------------------------------- labels with one value


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"solver": "liblinear"}])
def test_constant_labels(form, options):
    """Certain, with one warning that names them; the others as if alone."""
    X, Y = labels()
    wide = np.c_[Y[:, 0], np.ones_like(Y[:, 0]), Y[:, 1], np.zeros_like(Y[:, 0])]
    with pytest.warns(ConstantLabelWarning, match=r"2 of 4 .*always 0: 3; always 1: 1") as caught:
        model = several(options).fit(form(X), form(wide))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    p = model.predict_proba(X)
    assert (p[:, 1] == 1).all()
    assert (p[:, 3] == 0).all()
    z = model.decision_function(X)
    assert np.isfinite(z).all()
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert not model.coef_[[1, 3]].any()
    assert model.converged_.all()
    assert model.n_iter_[[1, 3]].tolist() == [0, 0]
    assert not model.optimality_[[1, 3]].any()
    for threshold in (1e-9, 0.5, 1 - 1e-9):
        predicted = model.set_params(threshold=threshold).predict(X)
        assert (predicted[:, [1]] == 1).sum() == len(X)
        assert (predicted[:, [3]] == 1).sum() == 0
    alone = TorchLogisticClassifier(**TIGHT | options).fit(X, Y[:, 1])
    np.testing.assert_allclose(model.coef_[2], alone.coef_[0], rtol=1e-7)
    np.testing.assert_allclose(model.intercept_[2], alone.intercept_[0], rtol=1e-7)


def test_constant_where_it_counts():
    """Rows without a weight, cells that are not known and classes of weight 0 do not count."""
    X, Y = labels()
    weight = np.where(Y[:, 0] == 1, 1.0, 0.0)
    with pytest.warns(ConstantLabelWarning, match="1 of 3 .*always 1: 0"):
        MultiLabel().fit(X, Y, weight)
    with pytest.warns(ConstantLabelWarning, match="1 of 3 .*always 0: 2"):
        MultiLabel().fit(X, Y, label_mask=np.c_[Y < 2][:, :3] & ~((Y == 1) & [False, False, True]))
    with pytest.warns(ConstantLabelWarning, match="1 of 3 .*always 1: 1"):
        MultiLabel(class_weight=[None, {0: 0.0}, None]).fit(X, Y)
    with pytest.raises(ValueError, match="Label 1 has no cell that class_weight gives a weight"):
        MultiLabel(class_weight=[None, {0: 0.0, 1: 0.0}, None]).fit(X, Y)


def test_many_constant_labels_are_counted():
    X, Y = labels()
    with pytest.warns(ConstantLabelWarning, match=r"9 of 12 .*0: 3, 4, 5, 6, 7 and 4 more\)"):
        MultiLabel().fit(X, np.c_[Y, np.zeros((len(X), 9), dtype=int)])


def test_all_labels_constant():
    X, _ = labels()
    with pytest.warns(ConstantLabelWarning):
        model = MultiLabel().fit(X, np.ones((len(X), 2), dtype=bool))
    assert model.predict(X).all()
    assert model.n_passes_ == 0


# ---------------------------------------------------------------- warnings


def test_one_convergence_warning():
    """How many labels, which, the worst figure, the reason and the way out."""
    X, Y = labels(n_labels=7)
    with pytest.warns(ConvergenceWarning) as caught:
        model = MultiLabel(TorchLogisticClassifier(tol=1e-12, max_iter=1)).fit(X, Y)
    (warning,) = caught
    text = str(warning.message)
    assert "7 of 7 labels (0, 1, 2, 3, 4 and 2 more) failed to converge" in text
    assert f"{model.optimality_.max():.2g}" in text
    assert "max_iter" in text
    assert warning.filename == __file__
    assert not model.converged_.any()
    assert model.n_iter_.tolist() == [1] * 7


def test_only_labels_that_failed_are_named():
    X, Y = labels()
    apart = pd.DataFrame(np.c_[Y[:, 0], X[:, 0] > 0, Y[:, 1]], columns=["a", "b", "c"])
    with pytest.warns(ConvergenceWarning, match=r"1 of 3 labels \('b'\).*separable") as caught:
        model = MultiLabel(C=np.inf).fit(X, apart)
    assert len(caught) == 1
    assert model.converged_.tolist() == [True, False, True]
    assert np.isfinite(model.coef_).all()


def test_deprecations_point_at_the_call():
    X, Y = labels()
    with pytest.warns(FutureWarning) as caught:
        MultiLabel(TorchLogisticClassifier(penalty="l2")).fit(X, Y)
    assert [w.filename for w in caught] == [__file__]


# ---------------------------------------------------------------- predictions


def test_predictions_equal_scikit_learn():
    X, Y = labels()
    model = several().fit(X, Y)
    theirs = OneVsRestClassifier(LogisticRegression(tol=1e-12, solver="newton-cholesky")).fit(X, Y)
    np.testing.assert_allclose(model.decision_function(X), theirs.decision_function(X), rtol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X))
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)))
    assert model.score(X, Y) == theirs.score(X, Y)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_thresholds(form, dtype):
    """Promise 15, label by label, every row a tie once."""
    X, Y = labels()
    X = X.astype(dtype)
    model = MultiLabel().fit(X, form(Y))
    p = model.predict_proba(form(X))
    for threshold in p[::10]:
        predicted = model.set_params(threshold=threshold.tolist()).predict(form(X))
        np.testing.assert_array_equal(np.asarray(predicted == 1, dtype=bool) if form is np.array
                                      else predicted.toarray() == 1, p >= threshold)  # fmt: skip
    for threshold in (0.0, 0.3, float(p[5, 1]), 1.0):
        predicted = model.set_params(threshold=threshold).predict(form(X))
        assert (predicted != form((p >= dtype(threshold)).astype(int))).sum() == 0


def test_one_half_is_a_logit_of_zero():
    X, Y = labels()
    model = MultiLabel().fit(X, Y)
    model.coef_[...], model.intercept_[...] = 0, [0, -1e-20, 1e-20]
    assert model.predict(X)[0].tolist() == [1, 0, 1]
    model.threshold = [0.5, 0.5, 0.6]
    assert model.predict(X)[0].tolist() == [1, 0, 0]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, "0.5", None, [0.5, 0.5], [0.5, 2, 0.5]])
def test_thresholds_are_checked_at_fit_and_later(threshold):
    X, Y = labels()
    model = MultiLabel().fit(X, Y)
    model.threshold = threshold
    with pytest.raises(ValueError, match="threshold"):
        model.predict(X)
    with pytest.raises(ValueError, match="threshold"):
        model.fit(X, Y)


def test_before_fit():
    X, _ = labels()
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(MultiLabel(), method)(X)
    with pytest.raises(NotFittedError):
        _ = MultiLabel().module_


def test_sparsify():
    X, Y = labels()
    model = MultiLabel(TorchLogisticClassifier(l1_ratio=1.0, C=0.05)).fit(X, Y)
    expected = model.predict(X)
    assert sp.issparse(model.sparsify().coef_)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert isinstance(model.densify().coef_, np.ndarray)


# ---------------------------------------------------------------- one column of classes


@pytest.mark.parametrize("names", [None, ["no", "yes"], [-1, 1], [False, True]])
def test_two_classes_are_the_classifiers(names):
    X, y = binary()
    y = y if names is None else np.array(names)[y]
    options = {"class_weight": {y[0]: 3.0}, **TIGHT}
    model = several(options, threshold=0.3).fit(X, y)
    alone = TorchLogisticClassifier(threshold=0.3, **options).fit(X, y)
    assert_equal_to(model, [alone], 1e-9)
    assert model.classes_.dtype == y.dtype
    np.testing.assert_array_equal(model.classes_, alone.classes_)
    np.testing.assert_array_equal(model.predict(X), alone.predict(X))
    assert model.decision_function(X).shape == (len(X),)
    for method in ("predict_proba", "predict_log_proba"):
        np.testing.assert_allclose(getattr(model, method)(X), getattr(alone, method)(X), rtol=1e-7)


@pytest.mark.parametrize("solver", ["auto", "liblinear"])
def test_more_classes_are_one_against_the_rest(solver):
    X, y = multi()
    y = np.array(["a", "b", "c"])[y]
    model = several({"solver": solver}).fit(X, y)
    judge = LogisticRegression(solver="newton-cholesky", tol=1e-12)
    if solver == "liblinear":
        judge = LogisticRegression(solver="liblinear", tol=1e-10, random_state=0)
    theirs = OneVsRestClassifier(judge).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), rtol=1e-4)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X))
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)))
    assert model.classes_.tolist() == ["a", "b", "c"]
    model.threshold = 0.3
    with pytest.raises(ParameterError, match="threshold=0.3 is for labels"):
        model.predict(X)
    with pytest.raises(ParameterError, match="threshold=0.3 is for labels"):
        model.fit(X, y)


def test_weights_of_more_than_two_classes():
    """A dict names the classes of y, for every label alike; balanced is each label's own."""
    X, y = multi()
    by_class = {0: 5.0, 1: 0.5, 2: 2.0}
    rows = np.array([by_class[k] for k in y])
    Y = np.c_[y == 0, y == 1, y == 2]
    for model in (several(class_weight=by_class), several({"class_weight": by_class})):
        assert_equal_to(model.fit(X, y), judges(X, Y, rows))
    assert_equal_to(
        several(class_weight="balanced").fit(X, y), judges(X, Y, class_weight="balanced")
    )
    with pytest.raises(ValueError, match="not in class_weight"):
        several(class_weight={"a": 1.0}).fit(X, y)


def test_rows_of_many_classes_far_out_still_sum_to_one():
    """Where all classes are as good as impossible."""
    X, y = multi()
    model = MultiLabel().fit(X, y)
    model.intercept_[...] = [-2000, -2001, -2002]
    model.coef_[...] = 0
    expected = torch.softmax(torch.tensor([2.0, 1.0, 0.0]).double(), dim=0)
    np.testing.assert_allclose(model.predict_proba(X[:2]), [expected.numpy()] * 2)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"estimator": LogisticRegression()}, "LogisticRegression.*TorchLogisticClassifier"),
        ({"estimator": make_pipeline(StandardScaler(), TorchLogisticClassifier())}, "Pipeline"),
        ({"estimator": TorchLogisticClassifier}, "expected a TorchLogisticClassifier"),
        ({"estimator": 3}, "The 'estimator' parameter of MultiLabel"),
        ({"estimator": TorchLogisticClassifier(C=-1)}, "The 'C' parameter of TorchLog"),
        ({"estimator": TorchLogisticClassifier(threshold=0.3)}, "MultiLabel's that decides"),
        ({"C": [1, 2]}, r"C has shape \(2,\)"),
        ({"C": [[1, 2, 3]]}, r"C has shape \(1, 3\)"),
        ({"C": [1, 0, 1]}, r"C\[1\] is 0"),
        ({"C": [1, np.nan, 1]}, r"C\[1\] is nan"),
        ({"C": ["1", "2", "3"]}, "C must be a number or hold numbers"),
        ({"C": []}, "C has shape"),
        ({"C": pd.Series([1, 2, 3], index=list("cba"))}, "C is a Series with the index c, b, a"),
        ({"threshold": pd.Series([0.1, 0.2, 0.3], index=[2, 1, 0])}, "threshold is a Series"),
        ({"C": 0}, "The 'C' parameter of MultiLabel"),
        ({"class_weight": ["balanced"]}, "class_weight is a list of 1"),
        ({"class_weight": [1, 2, 3]}, "class_weight holds 1"),
        ({"class_weight": {2: 1.0}}, "not in class_weight"),
        ({"class_weight": {1: -1.0}}, "the weight -1"),
        ({"class_weight": "heavy"}, "The 'class_weight' parameter"),
        ({"memory_budget": 0}, "The 'memory_budget' parameter"),
    ],
)
def test_parameters_are_checked(parameters, words):
    """Promise 12: before any work, and without a trace."""
    X, Y = labels()
    model = MultiLabel().fit(X, Y)
    before = state(model)
    with pytest.raises(ValueError, match=words):
        model.set_params(**parameters).fit(X, Y)
    assert_same_state(state(model), before)


def test_all_or_nothing(monkeypatch):
    """Interrupted in its second batch, the estimator is as it was, names included."""
    X, Y = labels()
    model = several(memory_budget=ROW_BYTES * len(X)).fit(X, pd.DataFrame(Y, columns=list("abc")))
    before = state(model)
    fit, calls = fitting.fit, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(fitting, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(2 * X[:, :2], 1 - Y)
    assert_same_state(state(model), before)


def test_the_estimator_is_not_touched():
    X, Y = labels()
    estimator = TorchLogisticClassifier()
    MultiLabel(estimator).fit(X, Y)
    assert not any(name.endswith("_") for name in vars(estimator))


def test_parameters_of_the_default_estimator_can_be_set():
    assert MultiLabel().set_params(estimator__C=0.1).estimator.C == 0.1
    model = MultiLabel(TorchLogisticClassifier(C=5.0)).set_params(estimator=None, estimator__tol=1)
    assert model.estimator.get_params() == TorchLogisticClassifier(tol=1).get_params()


# ---------------------------------------------------------------- scikit-learn around it


def test_pipeline_and_grid_search():
    X, Y = labels()
    pipe = make_pipeline(StandardScaler(), MultiLabel(TorchLogisticClassifier()))
    grid = {"multilabel__estimator__C": [0.01, 1.0], "multilabel__threshold": [0.3, 0.5]}
    search = GridSearchCV(pipe, grid, scoring="f1_macro", cv=3, error_score="raise").fit(X, Y)
    theirs = GridSearchCV(
        make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression())),
        {"onevsrestclassifier__estimator__C": [0.01, 1.0]},
        scoring="f1_macro", cv=3,
    ).fit(X, Y)  # fmt: skip
    half = search.cv_results_["param_multilabel__threshold"] == 0.5
    ours = search.cv_results_["mean_test_score"][half.astype(bool)]
    np.testing.assert_allclose(ours, theirs.cv_results_["mean_test_score"])
    assert search.predict(X).shape == Y.shape


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_cross_val_predict(method):
    X, Y = labels()
    held_out = cross_val_predict(several(), X, Y, cv=3, method=method)
    judge = OneVsRestClassifier(LogisticRegression(tol=1e-12, solver="newton-cholesky"))
    theirs = cross_val_predict(judge, X, Y, cv=3, method=method)
    np.testing.assert_allclose(held_out, theirs, rtol=1e-5)


@pytest.mark.parametrize("n_labels", [1, 2, 3])
def test_scorers_and_metrics(n_labels):
    """Two labels are not taken for two classes, nor one for one."""
    X, Y = labels()
    Y = Y[:, :n_labels]
    model = several().fit(X, Y)
    p = model.predict_proba(X)
    for method in ("predict_proba", "decision_function"):
        scorer = make_scorer(roc_auc_score, response_method=method)
        assert scorer(model, X, Y) == pytest.approx(roc_auc_score(Y, p))
        scorer = make_scorer(average_precision_score, response_method=method)
        assert scorer(model, X, Y) == pytest.approx(average_precision_score(Y, p))
    assert cross_val_score(model, X, Y, scoring="roc_auc", cv=3, error_score="raise").min() > 0.5
    predicted = model.predict(X)
    assert hamming_loss(Y, predicted) == np.mean(Y != predicted)
    assert 0 < f1_score(Y, predicted, average="macro" if n_labels > 1 else "binary") < 1


def test_sparse_predictions_go_into_metrics():
    X, Y = labels()
    model = several().fit(X, sp.csr_matrix(Y))
    dense = several().fit(X, Y)
    predicted = model.predict(X)
    assert f1_score(sp.csr_matrix(Y), predicted, average="macro") == f1_score(
        Y, dense.predict(X), average="macro"
    )
    assert model.score(X, sp.csr_matrix(Y)) == dense.score(X, Y)


@pytest.mark.parametrize("wrap", [ClassifierChain, MultiOutputClassifier, OneVsRestClassifier])
def test_scikit_learns_own_ways_take_the_classifier(wrap):
    X, Y = labels()
    ours = wrap(TorchLogisticClassifier(**TIGHT)).fit(X, Y)
    theirs = wrap(LogisticRegression(tol=1e-12, solver="newton-cholesky")).fit(X, Y)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_metadata_routing():
    X, Y = labels()
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    known = np.random.default_rng(1).random(Y.shape) < 0.7
    expected = several().fit(X, Y, weight, known)
    with config_context(enable_metadata_routing=True):
        model = several().set_fit_request(sample_weight=True, label_mask=True)
        scaler = StandardScaler(with_mean=False, with_std=False)
        pipe = make_pipeline(scaler.set_fit_request(sample_weight=False), model)
        pipe.fit(X, Y, sample_weight=weight, label_mask=known)
        model.set_score_request(sample_weight=False)
        search = GridSearchCV(model, {"C": [1.0]}, cv=3, error_score="raise")
        search.fit(X, Y, sample_weight=weight, label_mask=known)
    np.testing.assert_array_equal(pipe[-1].coef_, expected.coef_)
    np.testing.assert_array_equal(search.best_estimator_.coef_, expected.coef_)


# ---------------------------------------------------------------- travel


def through_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def through_skops(model):
    data = skops.io.dumps(model)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


@pytest.mark.parametrize(
    "way",
    [lambda m: pickle.loads(pickle.dumps(m)), through_joblib, through_skops, copy.deepcopy],
    ids=["pickle", "joblib", "skops", "deepcopy"],
)
@pytest.mark.parametrize("form", [np.array, sp.csr_array, pd.DataFrame])
def test_travels(way, form):
    X, Y = labels()
    model = MultiLabel(threshold=[0.4, 0.5, 0.6]).fit(X, form(Y))
    travelled = way(model)
    assert set(vars(travelled)) == set(vars(model))
    assert (travelled.predict(X) != model.predict(X)).sum() == 0
    np.testing.assert_array_equal(travelled.predict_proba(X), model.predict_proba(X))
    travelled.fit(X, form(1 - Y))
    np.testing.assert_array_equal(model.coef_, MultiLabel().fit(X, Y).coef_)


def test_another_version_says_so(monkeypatch):
    X, Y = labels()
    model = MultiLabel().fit(X, Y)
    monkeypatch.setattr(skorch_logreg, "__version__", "0.0.1")
    data = pickle.dumps(model)
    monkeypatch.undo()
    with pytest.warns(VersionMismatchWarning, match="MultiLabel was saved by skorch_logreg 0.0.1"):
        pickle.loads(data)


def test_clone():
    model = MultiLabel(TorchLogisticClassifier(C=3.0), C=[1, 2, 3], threshold=[0.1, 0.2, 0.3])
    cloned = clone(model.fit(*labels()))
    assert cloned.get_params()["estimator__C"] == 3.0
    assert cloned.C == [1, 2, 3]
    assert not any(name.endswith("_") for name in vars(cloned))


def test_tensors_in_tensors_out():
    X, Y = labels()
    expected = MultiLabel().fit(X, Y)
    with config_context(array_api_dispatch=True):
        model = MultiLabel().fit(torch.tensor(X), torch.tensor(Y).bool())
        predicted, p = model.predict(torch.tensor(X)), model.predict_proba(torch.tensor(X))
    assert isinstance(model.coef_, torch.Tensor)
    assert predicted.dtype == torch.bool
    np.testing.assert_array_equal(predicted.numpy(), expected.predict(X))
    np.testing.assert_array_equal(p.numpy(), expected.predict_proba(X))


# ---------------------------------------------------------------- scikit-learn's checks

CONFIGURATIONS = [
    MultiLabel(),
    MultiLabel(TorchLogisticClassifier(class_weight="balanced"), C=0.5, memory_budget=10_000),
    MultiLabel(TorchLogisticClassifier(l1_ratio=1.0)),
    MultiLabel(TorchLogisticClassifier(solver="liblinear"), class_weight="balanced"),
    MultiLabel(threshold=0.3),
    MultiLabel(TorchLogisticClassifier(solver=Adam(0.05, epochs=100))),
    MultiLabel(
        NeuralLogisticClassifier((8,), solver=Adam(0.02, epochs=100, shuffle=False)),
    ),
]


def expected_failures(estimator):
    """These checks want a label where its logit is above 0, whatever the threshold."""
    if estimator.threshold == 0.5:
        return {}
    return dict.fromkeys(["check_classifiers_train", "check_classifier_multioutput"], "threshold")


@parametrize_with_checks(CONFIGURATIONS, expected_failed_checks=expected_failures)
def test_sklearn_checks(estimator, check):
    name = getattr(check, "func", check).__name__
    if name.startswith("check_sample_weight_equivalence"):
        # it compares two fits to 1e-7
        tight = TorchLogisticClassifier() if estimator.estimator is None else estimator.estimator
        estimator.set_params(estimator=clone(tight).set_params(tol=1e-10, max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", ConstantLabelWarning)
        check(estimator)


def test_a_mask_beside_a_loader_is_refused():
    """Its rows come in an order of its own, and the mask would be that of other rows."""
    X, Y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(60).reshape(30, 2) % 2
    loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), 9, shuffle=True)
    with pytest.raises(ParameterError, match="label_mask is given with DataLoader"):
        MultiLabel().fit(loader, None, label_mask=np.ones((30, 2), bool))


def test_the_estimator_of_a_label():
    X, Y = labels()
    frame = pd.DataFrame(Y, columns=["a", "b", "c"])
    estimator = TorchLogisticClassifier(tol=1e-10)
    model = MultiLabel(estimator, C=[0.1, 1.0, 10.0], threshold=[0.2, 0.5, 0.7]).fit(X, frame)
    for place, name in enumerate(frame):
        expected = clone(estimator).set_params(C=model.C[place]).fit(X, Y[:, place])
        for label in (place, name):
            found = model.label_estimator(label)
            assert (found.C, found.threshold) == (model.C[place], model.threshold[place])
            np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-8)
            np.testing.assert_array_equal(found.predict(X), model.predict(X)[:, place])
            assert found.converged_
            assert found.optimality_ == model.optimality_[place]
    for unknown in ("d", 3, -1):
        with pytest.raises(ParameterError, match=f"label is {unknown!r}"):
            model.label_estimator(unknown)


@pytest.mark.parametrize("classes", [(0, 1, 2), ("a", "b", "c")], ids=str)
@pytest.mark.parametrize("own", [False, True])
def test_a_label_of_several_classes_has_no_weights_by_class(classes, own):
    X, _ = labels()
    y = np.array(classes)[np.digitize(X[:, 0], [-0.5, 0.5])]
    weight = {"class_weight": dict(zip(classes, (5.0, 1.0, 1.0), strict=True))}
    model = MultiLabel(TorchLogisticClassifier(**weight)) if own else MultiLabel(**weight)
    one = model.fit(X, y).label_estimator(2)
    assert one.class_weight is None
    rows = np.where(y == classes[0], 5.0, 1.0)
    again = clone(one).set_params(tol=1e-7).fit(X, y == classes[2], rows)
    np.testing.assert_allclose(one.coef_, again.coef_, atol=1e-3)

"""Nobody is locked in: the model elsewhere predicts what it predicts here."""

import pickle
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import scipy.sparse as sp
import skl2onnx
import skops.io
import torch
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skorch_logreg import (
    MultiLabel,
    NeuralLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.penalties import GroupL2
from skorch_logreg.solvers import ProximalNewton
from tests.estimators.data import binary, multi

NAMES = {
    "integers": np.array([-3, 7, 11]),
    "bytes": np.array([2, 4, 6], dtype=np.uint8),
    "floats": np.array([1.0, 2.0, 3.0]),
    "strings": np.array(["maligne", "bénigne", "unknown"]),
    "objects": np.array(["b", "a", "c"], dtype=object),
}
COMMON = {"l1_ratios": (0, 0.5), "scoring": "neg_log_loss", "cv": 3}


def indicator(n_labels, dtype=np.int64):
    X, y = multi()
    noise = np.random.default_rng(0).random((len(y), n_labels))
    return X, ((noise + X[:, :1] / 4) > np.linspace(0.3, 0.8, n_labels)).astype(dtype)


def session_of(proto):
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def from_file(proto, X):
    return session_of(proto).run(["label", "probabilities"], {"X": X})


def assert_same(proto, model, X, atol=1e-14):
    labels, probabilities = from_file(proto, X)
    expected = model.predict_proba(X)
    assert probabilities.dtype == X.dtype
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=atol)
    np.testing.assert_array_equal(labels, model.predict(X))


def binary_labels(kind):
    return np.array([False, True]) if kind == "booleans" else NAMES[kind][:2]


@pytest.mark.parametrize("kind", [*NAMES, "booleans"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_a_pipeline_elsewhere(kind, dtype):
    X, y = binary()
    X = (4 * X).astype(dtype)
    model = TorchLogisticClassifier(threshold=0.3).fit(X, binary_labels(kind)[y])
    steps = make_pipeline(StandardScaler(), model)
    steps.fit(X, binary_labels(kind)[y])
    atol = 1e-14 if dtype == np.float64 else 2e-6
    for each in (steps, make_pipeline(model)):  # the second hands on X's own type
        assert_same_as(each, X, atol)


@pytest.mark.parametrize("name", ["classes", "cv", "labels", "one label", "label classes"])
def test_estimators_in_pipelines_elsewhere(name):
    X, y = multi()
    model, target = {
        "classes": (TorchLogisticClassifier(), y),
        "cv": (TorchLogisticClassifierCV(**COMMON, use_legacy_attributes=False), y),
        "labels": (MultiLabel(threshold=[0.3, 0.5, 0.6]), indicator(3)[1]),
        "one label": (MultiLabel(), (y > 0).astype(np.int64)),
        "label classes": (MultiLabel(), y),
    }[name]
    assert_same_as(make_pipeline(StandardScaler(), model).fit(X, target), X, 1e-14)


def test_columns_by_name_elsewhere():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.normal(50, 10, 90), "region": rng.choice(["N", "S"], 90)})
    y = rng.integers(2, size=90)
    encode = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["region"]))
    model = make_pipeline(encode, TorchLogisticClassifier()).fit(X, y)
    types = [("age", FloatTensorType([None, 1])), ("region", StringTensorType([None, 1]))]
    session = session_of(skl2onnx.to_onnx(model, initial_types=types))
    columns = {"age": X[["age"]].to_numpy("float32"), "region": X[["region"]].to_numpy(object)}
    labels, probabilities = session.run(None, columns)
    np.testing.assert_array_equal(labels, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-6)


def assert_same_as(steps, X, atol):
    session = session_of(skl2onnx.to_onnx(steps, X[:1]))
    labels, probabilities = session.run(["label", "probabilities"], {"X": X})
    assert probabilities.dtype == (np.float64 if X.dtype == np.float64 else np.float32)
    np.testing.assert_allclose(probabilities, steps.predict_proba(X), rtol=0, atol=atol)
    np.testing.assert_array_equal(labels, steps.predict(X))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("kind", [*NAMES, "booleans"])
def test_two_classes_elsewhere(kind, threshold):
    X, y = binary()
    y = binary_labels(kind)[y]
    model = TorchLogisticClassifier(threshold=threshold).fit(X, y)
    assert_same(model.to_onnx(), model, X)
    theirs = model.to_sklearn()
    plain = threshold == 0.5
    assert type(theirs) is (LogisticRegression if plain else FixedThresholdClassifier)
    np.testing.assert_array_equal(theirs.predict(X), model.predict(X))
    assert theirs.predict(X).dtype == model.predict(X).dtype
    np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), atol=1e-14)
    np.testing.assert_array_equal(theirs.classes_, model.classes_)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_three_classes_elsewhere(kind, fit_intercept):
    X, y = multi()
    model = TorchLogisticClassifier(fit_intercept=fit_intercept).fit(X, NAMES[kind][y])
    assert_same(model.to_onnx(), model, X)
    theirs = model.to_sklearn()
    np.testing.assert_array_equal(theirs.predict(X), model.predict(X))
    np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), atol=1e-14)


def test_a_tie_at_one_half_is_the_second_class_in_the_graph_too():
    X, y = binary()
    model = TorchLogisticClassifier(fit_intercept=False).fit(X, y)
    rows = np.zeros((1, X.shape[1]))
    assert from_file(model.to_onnx(), rows)[0] == model.predict(rows) == 1
    rows = rows - 1e-300 * np.sign(model.coef_)  # a probability of 0.5, and a negative logit
    assert from_file(model.to_onnx(), rows)[0] == model.predict(rows) == 0
    model.threshold = 0.0
    assert from_file(model.to_onnx(), rows)[0] == model.predict(rows) == 1


def test_both_tails_of_a_graph_are_exact():
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    rows = X * 50
    probabilities = from_file(model.to_onnx(), rows)[1]
    assert model.predict_proba(rows).min() < 1e-30
    np.testing.assert_allclose(probabilities, model.predict_proba(rows), rtol=1e-9)
    labels = MultiLabel().fit(*indicator(3))
    rows = multi()[0] * 50
    assert labels.predict_proba(rows).min() < 1e-30
    probabilities = from_file(labels.to_onnx(), rows)[1]
    np.testing.assert_allclose(probabilities, labels.predict_proba(rows), rtol=1e-9)


@pytest.mark.parametrize("data", [binary, multi])
def test_types_of_a_graph(data):
    X, y = data()
    narrow = TorchLogisticClassifier().fit(X.astype(np.float32), y)
    assert_same(narrow.to_onnx(), narrow, X.astype(np.float32), atol=1e-6)
    wide = TorchLogisticClassifier().fit(X, y)
    assert_same(wide.to_onnx(dtype="float32"), wide, X.astype(np.float32), atol=1e-6)
    assert_same(narrow.to_onnx(dtype=np.float64), narrow, X)
    with pytest.raises(ParameterError, match="dtype='int8' must be 'float32', 'float64' or None"):
        wide.to_onnx(dtype="int8")
    with pytest.raises(ParameterError, match="dtype='half a float' must be"):
        wide.to_onnx(dtype="half a float")


def test_a_graph_is_written_to_a_file(tmp_path):
    X, y = multi()
    model = TorchLogisticClassifier().fit(X, y)
    proto = model.to_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == proto.SerializeToString()
    assert {node.domain for node in proto.graph.node} == {""}


def test_labels_that_onnx_has_not_are_refused():
    X, y = binary()
    days = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]")
    model = TorchLogisticClassifier().fit(X, y)
    model.classes_ = days
    with pytest.raises(ParameterError, match="labels of type datetime64"):
        model.to_onnx()


def test_onnx_that_is_missing_is_named(monkeypatch):
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "skorch-logreg\[onnx\]"'):
        model.to_onnx()


@pytest.mark.parametrize("way", ["to_sklearn", "to_onnx"])
@pytest.mark.parametrize(
    "model",
    [TorchLogisticClassifier(), TorchLogisticClassifierCV(), MultiLabel()],
    ids=lambda m: type(m).__name__,
)
def test_there_is_no_way_out_before_fit(model, way):
    with pytest.raises(NotFittedError):
        getattr(model, way)()


@pytest.mark.parametrize("way", ["to_sklearn", "to_onnx"])
def test_a_threshold_that_predict_refuses_is_refused(way):
    X, y = multi()
    model = TorchLogisticClassifier().fit(X, y).set_params(threshold=0.3)
    with pytest.raises(ParameterError, match="threshold=0.3 is for two classes"):
        getattr(model, way)()


def test_the_copy_is_one():
    """It has the attributes, shares no memory, and is scikit-learn's alone."""
    X, y = binary()
    X = pd.DataFrame(X).add_prefix("x")
    model = TorchLogisticClassifier(C=0.3).fit(X, y)
    theirs = model.to_sklearn()
    for name in ("coef_", "intercept_", "classes_", "n_iter_", "n_features_in_"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(model, name))
        assert not np.shares_memory(getattr(theirs, name), getattr(model, name))
    np.testing.assert_array_equal(theirs.feature_names_in_, ["x0", "x1", "x2", "x3"])
    assert b"skorch" not in pickle.dumps(theirs)
    again = LogisticRegression(C=0.3).fit(X, y)
    assert vars(theirs).keys() == vars(again).keys()


@pytest.mark.parametrize(
    "model",
    [
        TorchLogisticClassifier(threshold=0.3),
        TorchLogisticClassifierCV(**COMMON, use_legacy_attributes=False),
        MultiLabel(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_skops_asks_for_trust_in_the_class_alone_and_in_nothing_of_the_copy(model):
    model.fit(*binary())
    own = f"{type(model).__module__}.{type(model).__name__}"
    assert skops.io.get_untrusted_types(data=skops.io.dumps(model)) == [own]
    saved = skops.io.dumps(model.to_sklearn())
    assert skops.io.get_untrusted_types(data=saved) == []
    copy = skops.io.loads(saved)
    np.testing.assert_array_equal(copy.predict(binary()[0]), model.predict(binary()[0]))


def test_the_copy_is_pickled_without_this_package():
    X, Y = indicator(3)
    for model in (MultiLabel(threshold=0.3).fit(X, Y), MultiLabel().fit(*multi())):
        assert b"skorch" not in pickle.dumps(model.to_sklearn())


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"C": 0.1, "l1_ratio": 0.5, "solver": "saga", "tol": 1e-6, "max_iter": 10_000},
        {"C": 0.1, "l1_ratio": 1.0, "tol": 1e-6, "max_iter": 10_000},
        {"C": np.inf},
        {"class_weight": "balanced", "fit_intercept": False},
        {"solver": "liblinear", "intercept_scaling": 3.0},
        {"solver": ProximalNewton()},
    ],
    ids=str,
)
def test_the_copy_fitted_anew_is_the_same_model(parameters):
    X, y = binary()
    theirs = TorchLogisticClassifier(**parameters).fit(X, y).to_sklearn()
    before = theirs.coef_.copy()
    np.testing.assert_allclose(clone(theirs).fit(X, y).coef_, before, atol=1e-3)


def test_what_scikit_learn_has_no_parameter_for_predicts_all_the_same():
    X, y = binary()
    model = TorchLogisticClassifier(penalty=GroupL2([[0, 1], [2, 3]]), penalty_factor=[1, 2, 3, 4])
    model.set_params(C=0.5).fit(X, y)
    theirs = model.to_sklearn()
    np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), atol=1e-14)
    clone(theirs).fit(X, y)


def test_sparse_coefficients_stay_sparse():
    X, y = binary()
    model = TorchLogisticClassifier(C=0.05, l1_ratio=1.0).fit(X, y).sparsify()
    theirs = model.to_sklearn()
    assert sp.issparse(theirs.coef_)
    np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), atol=1e-14)
    assert_same(model.to_onnx(), model, X)


def test_tensors_become_numpy():
    X, y = (torch.from_numpy(part.copy()) for part in multi())
    with config_context(array_api_dispatch=True):
        model = TorchLogisticClassifier().fit(X, y)
        theirs, proto = model.to_sklearn(), model.to_onnx()
        expected = model.predict_proba(X).numpy()
    assert type(theirs.coef_) is type(theirs.classes_) is np.ndarray
    np.testing.assert_allclose(theirs.predict_proba(X.numpy()), expected, atol=1e-14)
    np.testing.assert_allclose(from_file(proto, X.numpy())[1], expected, atol=1e-14)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("data", [binary, multi])
def test_what_cross_validation_chose(data, legacy):
    X, y = data()
    model = TorchLogisticClassifierCV(**COMMON, use_legacy_attributes=legacy).fit(X, y)
    theirs = model.to_sklearn()
    assert theirs.C == np.ravel(model.C_)[0]
    assert theirs.l1_ratio == np.ravel(model.l1_ratio_)[0]
    np.testing.assert_array_equal(theirs.predict(X), model.predict(X))
    np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), atol=1e-14)
    assert_same(model.to_onnx(), model, X)
    theirs.set_params(tol=1e-6, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(theirs.coef_, model.coef_, atol=1e-2)


@pytest.mark.filterwarnings("ignore:'l1_ratios=None'|.*l1_ratios:FutureWarning")
def test_cross_validation_that_was_given_no_l1_ratios():
    model = TorchLogisticClassifierCV(
        l1_ratios=None, cv=3, scoring="accuracy", use_legacy_attributes=True
    ).fit(*binary())
    assert model.to_sklearn().l1_ratio == 0


@pytest.mark.parametrize("threshold", [0.5, 0.3, "each"])
@pytest.mark.parametrize("dtype", [np.int64, bool, np.float32])
@pytest.mark.parametrize("n_labels", [1, 2, 5])
def test_labels_elsewhere(n_labels, dtype, threshold):
    X, Y = indicator(n_labels, dtype)
    if threshold == "each":
        threshold = np.linspace(0.3, 0.5, n_labels)
    model = MultiLabel(threshold=threshold, C=np.linspace(0.1, 1, n_labels)).fit(X, Y)
    assert_same(model.to_onnx(), model, X)
    assert from_file(model.to_onnx(), X)[0].dtype == dtype
    theirs = model.to_sklearn()
    assert type(theirs) is MultiOutputClassifier
    np.testing.assert_array_equal(theirs.predict(X), model.predict(X))
    assert theirs.predict(X).dtype == model.predict(X).dtype
    present = np.column_stack([proba[:, 1] for proba in theirs.predict_proba(X)])
    np.testing.assert_allclose(present, model.predict_proba(X), atol=1e-14)
    assert theirs.score(X, model.predict(X)) == 1.0


def test_parameters_of_every_label():
    X, Y = indicator(2)
    weights = ["balanced", {0: 1.0, 1: 3.0}]
    model = MultiLabel(C=[0.1, 2.0], class_weight=weights).fit(X, Y)
    theirs = model.to_sklearn()
    assert [each.C for each in theirs.estimators_] == [0.1, 2.0]
    assert [each.class_weight for each in theirs.estimators_] == weights
    assert theirs.estimator.C == 1.0
    for label, each in enumerate(theirs.estimators_):
        again = clone(each).fit(X, Y[:, label])
        np.testing.assert_allclose(again.coef_, model.coef_[[label]], atol=1e-3)


def test_labels_whose_strength_cross_validation_chose():
    X, Y = indicator(3)
    model = MultiLabel(TorchLogisticClassifierCV(**COMMON)).fit(X, Y)
    theirs = model.to_sklearn()
    assert [each.C for each in theirs.estimators_] == model.C_.tolist()
    assert [each.l1_ratio for each in theirs.estimators_] == model.l1_ratio_.tolist()
    np.testing.assert_array_equal(theirs.predict(X), model.predict(X))


@pytest.mark.filterwarnings("ignore::skorch_logreg.ConstantLabelWarning")
def test_sparse_and_certain_labels():
    X, Y = indicator(3)
    Y[:, 1] = 1
    model = MultiLabel().fit(X, sp.csr_array(Y))
    expected = model.predict(X).toarray()
    np.testing.assert_array_equal(model.to_sklearn().predict(X), expected)
    np.testing.assert_array_equal(from_file(model.to_onnx(), X)[0], expected)


@pytest.mark.parametrize("kind", NAMES)
def test_a_column_of_classes_one_against_the_rest(kind):
    X, y = multi()
    model = MultiLabel().fit(X, NAMES[kind][y])
    assert_same(model.to_onnx(), model, X)
    theirs = model.to_sklearn()
    assert type(theirs) is OneVsRestClassifier
    np.testing.assert_array_equal(theirs.predict(X), model.predict(X))
    np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), atol=1e-14)
    np.testing.assert_allclose(theirs.decision_function(X), model.decision_function(X), atol=1e-12)


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_a_column_of_two_classes(threshold):
    X, y = binary()
    model = MultiLabel(threshold=threshold).fit(X, np.array(["no", "yes"])[y])
    assert_same(model.to_onnx(), model, X)
    theirs = model.to_sklearn()
    np.testing.assert_array_equal(theirs.predict(X), model.predict(X))
    np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), atol=1e-14)


def test_a_network_has_no_way_out_of_coefficients():
    model = MultiLabel(NeuralLogisticClassifier((4,)))
    assert not hasattr(model, "to_sklearn")
    assert not hasattr(model, "to_onnx")

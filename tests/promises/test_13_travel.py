"""Promise 13: a model travels well."""

import copy
import io
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skorch_logreg
from skorch_logreg import (
    TRUSTED_TYPES,
    BatchedGridSearchCV,
    BatchedRandomizedSearchCV,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
    penalties,
    solvers,
)
from skorch_logreg.estimators import __all__ as ESTIMATORS  # noqa: N812
from skorch_logreg.penalties import FeaturePenalty
from skorch_logreg.solvers import SOLVERS, Adam, Checkpoint, MiniBatch
from tests.problems import load
from tests.promises.models import run_python


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


def through_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def through_skops(model):
    return skops.io.loads(skops.io.dumps(model), trusted=TRUSTED_TYPES)


WAYS = [through_pickle, through_joblib, through_skops, copy.deepcopy, copy.copy]
KINDS = {
    "binary": {},
    "three classes": {},
    "sparsified": {"l1_ratio": 1.0, "C": 0.1},
    "float32": {},
    "data frame": {"class_weight": {"a": 1.0, "b": 2.0}},
    "with strengths": {"penalty_factor": np.array([1.0, 2, 0, 1, 1, 3])},
    "threshold": {"threshold": 0.3},
}


def fitted(kind):
    case = load("three_classes" if kind == "three classes" else "binary")
    X, y = case.X, np.array(["a", "b", "c"])[case.y]
    if kind == "float32":
        X = X.astype(np.float32)
    if kind == "data frame":
        X = pd.DataFrame(X).add_prefix("f")
    model = TorchLogisticClassifier(**KINDS[kind]).fit(X, y)
    return (model.sparsify() if kind == "sparsified" else model), X


def answers(model, X):
    return [
        model.predict(X), model.predict_proba(X), model.predict_log_proba(X),
        model.decision_function(X),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_13_the_same_bits_come_out(way, kind):
    model, X = fitted(kind)
    travelled = way(model)
    assert type(travelled) is TorchLogisticClassifier
    for got, expected in zip(answers(travelled, X), answers(model, X), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert set(vars(travelled)) == set(vars(model))
    assert repr(travelled) == repr(model)
    if kind != "sparsified":
        bits = model.module_.weight.detach().numpy().tobytes()
        assert travelled.module_.weight.detach().numpy().tobytes() == bits
    assert repr(travelled.converged_) == repr(model.converged_)


@pytest.mark.parametrize("way", WAYS)
def test_13_a_copy_is_on_its_own(way):
    """Refitting the copy leaves the original; a deep one shares no memory either."""
    model, X = fitted("binary")
    before = pickle.dumps(model)
    travelled = way(model)
    if way is not copy.copy:
        assert not np.shares_memory(travelled.coef_, model.coef_)
        travelled.coef_[...] = 7
        assert pickle.dumps(model) == before
    case = load("three_classes")
    travelled.fit(case.X, case.y)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("way", WAYS)
def test_13_an_unfitted_one_travels_too(way):
    travelled = way(TorchLogisticClassifier(C=3.0, threshold=0.2))
    assert travelled.get_params() == TorchLogisticClassifier(C=3.0, threshold=0.2).get_params()
    with pytest.raises(NotFittedError):
        travelled.predict(load("binary").X)


def test_13_clone_is_unfitted_with_the_same_parameters():
    model, _ = fitted("with strengths")
    cloned = clone(model)
    assert not any(name.endswith("_") for name in vars(cloned))
    for name, value in model.get_params().items():
        np.testing.assert_array_equal(getattr(cloned, name), value)


def test_13_every_pickle_protocol_and_inside_a_pipeline():
    case = load("binary")
    pipe = make_pipeline(StandardScaler(), TorchLogisticClassifier()).fit(case.X, case.y)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        travelled = pickle.loads(pickle.dumps(pipe, protocol=protocol))
        np.testing.assert_array_equal(travelled.predict_proba(case.X), pipe.predict_proba(case.X))


# skops cannot write the terms of formulaic
@pytest.mark.parametrize("name", sorted({*ESTIMATORS} - {"FormulaFeatures", "logit"}))
def test_13_the_trusted_types_are_those_of_every_estimator(name):
    X, y = make_classification(60, 4, random_state=0)
    candidates = (TorchLogisticClassifier(), {"C": [0.1, 1.0]})
    model = {
        "BatchedGridSearchCV": lambda: BatchedGridSearchCV(*candidates),
        "BatchedRandomizedSearchCV": lambda: BatchedRandomizedSearchCV(*candidates, n_iter=1),
        "NeuralLogisticClassifier": lambda: NeuralLogisticClassifier((2,), dropout=0.1),
        "TorchLogisticClassifierCV": lambda: TorchLogisticClassifierCV(
            l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False
        ),
    }.get(name, getattr(skorch_logreg, name))()
    again = through_skops(model.fit(X, y))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("activation", ["gelu", "identity", "logistic", "relu", "silu", "tanh"])
def test_13_layers_are_trusted(activation):
    X, y = make_classification(60, 4, random_state=0)
    model = NeuralLogisticClassifier((2,), activation=activation, solver=Adam(epochs=1))
    again = through_skops(model.fit(X, y))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_13_solvers_and_penalties_are_trusted():
    kinds = [*vars(solvers).values(), *vars(penalties).values()]
    settings = (*SOLVERS.values(), MiniBatch, Checkpoint, FeaturePenalty)
    public = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, settings)]
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in public}
    bases = {f"{kind.__module__}.{kind.__qualname__}" for kind in (MiniBatch, FeaturePenalty)}
    assert len(names) > 10
    assert names - bases <= {*TRUSTED_TYPES}


LOAD = """
import sys, pickle, joblib, skops.io, numpy as np
folder = sys.argv[1]
X = np.load(folder + "/X.npy")
def load(kind):
    path = folder + "/model." + kind
    if kind == "skops":
        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    return joblib.load(path) if kind == "joblib" else pickle.load(open(path, "rb"))
for kind in ("pickle", "joblib", "skops"):
    model = load(kind)
    np.savez(folder + "/" + kind, p=model.predict_proba(X), y=model.predict(X).astype(str),
             z=model.decision_function(X), w=model.module_.weight.detach().numpy())
    model.fit(X, model.predict(X))
"""


@pytest.mark.parametrize("kind", ["three classes", "float32"])
def test_13_a_fresh_process_reads_it(kind, tmp_path):
    model, X = fitted(kind)
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    joblib.dump(model, tmp_path / "model.joblib")
    skops.io.dump(model, tmp_path / "model.skops")
    run_python("import warnings; warnings.simplefilter('error')" + LOAD, tmp_path)
    for name in ("pickle", "joblib", "skops"):
        with np.load(tmp_path / f"{name}.npz") as got:
            np.testing.assert_array_equal(got["p"], model.predict_proba(X))
            np.testing.assert_array_equal(got["z"], model.decision_function(X))
            np.testing.assert_array_equal(got["y"], model.predict(X))
            np.testing.assert_array_equal(got["w"], model.coef_)


@pytest.mark.parametrize("way", [through_pickle, through_joblib, through_skops])
def test_13_another_version_says_so(way, monkeypatch):
    """A warning with both versions, and the same predictions."""
    model, X = fitted("binary")
    monkeypatch.setattr(skorch_logreg, "__version__", "0.0.1")
    data = {
        through_pickle: lambda: pickle.dumps(model),
        through_joblib: lambda: _joblib_bytes(model),
        through_skops: lambda: skops.io.dumps(model),
    }[way]()
    monkeypatch.undo()
    loads = {
        through_pickle: pickle.loads,
        through_joblib: lambda data: joblib.load(io.BytesIO(data)),
        through_skops: lambda data: skops.io.loads(
            data, trusted=skops.io.get_untrusted_types(data=data)
        ),
    }[way]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        travelled = loads(data)
    (warning,) = caught
    assert issubclass(warning.category, UserWarning)
    assert "0.0.1" in str(warning.message)
    assert skorch_logreg.__version__ in str(warning.message)
    np.testing.assert_array_equal(travelled.predict_proba(X), model.predict_proba(X))
    # fitted and saved again, it is of this version
    travelled.fit(X, travelled.predict(X))
    assert through_pickle(travelled).converged_


def _joblib_bytes(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def test_13_tensors_of_an_array_api_fit_travel():
    from sklearn import config_context

    case = load("binary")
    X, y = torch.tensor(case.X), torch.tensor(case.y)
    with config_context(array_api_dispatch=True):
        model = TorchLogisticClassifier().fit(X, y)
        travelled = through_pickle(model)
        assert torch.equal(travelled.predict_proba(X), model.predict_proba(X))

"""Models that travel: pickles, skops files, versions."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import InconsistentVersionWarning

import skorch_logreg
from skorch_logreg import TorchLogisticClassifier, VersionMismatchWarning
from skorch_logreg.estimators import persistence
from tests.estimators.data import binary, multi

COPIES = [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("sparse", [False, True])
def test_copies_are_the_model(copied, sparse):
    X, y = multi()
    model = TorchLogisticClassifier().fit(X, y)
    if sparse:
        model.sparsify()
    other = copied(model)
    assert vars(other).keys() == vars(model).keys()
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


def test_a_pickle_holds_no_module():
    model = TorchLogisticClassifier().fit(*binary())
    model.module_  # noqa: B018
    assert b"torch" not in pickle.dumps(model)


def test_another_version_is_told(monkeypatch):
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    monkeypatch.setattr(skorch_logreg, "__version__", "0.0.1")
    saved = pickle.dumps(model)
    monkeypatch.undo()
    text = r"TorchLogisticClassifier was saved by skorch_logreg 0\.0\.1 and is read by "
    with pytest.warns(VersionMismatchWarning, match=text) as record:
        other = pickle.loads(saved)
    assert len(record) == 1
    assert issubclass(VersionMismatchWarning, InconsistentVersionWarning)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_a_state_without_a_version_is_told():
    model = TorchLogisticClassifier()
    with pytest.warns(VersionMismatchWarning, match="saved by skorch_logreg unknown"):
        model.__setstate__({"C": 2.0})
    assert model.C == 2.0


def test_tensors_of_a_device_that_is_not_here_stay_on_the_cpu():
    coef = torch.ones(1, 2)
    state = persistence.pack({"coef_": coef, "C": 1.0})
    assert state["_skorch_logreg_devices"] == {}
    state["_skorch_logreg_devices"] = {"coef_": "cuda:99"}
    assert persistence.unpack(state, "") == {"coef_": coef, "C": 1.0}


@pytest.mark.parametrize("data", [binary, multi])
def test_skops_round_trip(data):
    skops = pytest.importorskip("skops.io")
    X, y = data()
    model = TorchLogisticClassifier(penalty_factor=np.ones(4)).fit(X, y)
    saved = skops.dumps(model)
    unknown = skops.get_untrusted_types(data=saved)
    assert unknown == ["skorch_logreg.estimators.classifier.TorchLogisticClassifier"]
    other = skops.loads(saved, trusted=unknown)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))

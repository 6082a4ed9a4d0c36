"""Models that travel: pickles, skops files, versions."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, InconsistentVersionWarning
from torch import nn

import skorch_logreg
from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    VersionMismatchWarning,
)
from skorch_logreg.estimators import persistence
from skorch_logreg.solvers import SGD, Adam, AdamW, Optimizer
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


def through_skops(model):
    skops = pytest.importorskip("skops.io")
    saved = skops.dumps(model)
    return skops.loads(saved, trusted=skops.get_untrusted_types(data=saved))


class Twice(nn.Module):
    """A layer whose weights count twice, beside others that do not learn."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.fixed = nn.Parameter(torch.eye(4), requires_grad=False)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("shift", torch.full((4,), 0.5), persistent=False)

    def forward(self, rows):
        return self.norm(self.second(self.first(rows) @ self.fixed).relu() + self.shift)


FEW = {"epochs": 3, "batch_size": 32}
TRAINED = {
    "momentum": TorchLogisticClassifier(solver=SGD(momentum=0.9, **FEW)),
    "adam": TorchLogisticClassifier(solver=Adam(schedule="cosine", **FEW)),
    "held out": TorchLogisticClassifier(solver=AdamW(validation_fraction=0.2, **FEW)),
    "finished": TorchLogisticClassifier(solver=Adam(finish="exact", **FEW)),
    "another": TorchLogisticClassifier(solver=Optimizer(torch.optim.RMSprop, lr=0.1, **FEW)),
    "network": NeuralLogisticClassifier((5, 3), dropout=0.1, solver=Adam(**FEW)),
    "frozen": NeuralLogisticClassifier((5,), freeze_backbone=True),
    "module": NeuralLogisticClassifier(module=Twice(), solver=Adam(**FEW)),
    "bfloat16": NeuralLogisticClassifier(
        module=nn.Linear(4, 3, dtype=torch.bfloat16), solver=Adam(**FEW)
    ),
    "labels": MultiLabel(TorchLogisticClassifier(solver=Adam(**FEW))),
    "labels of a network": MultiLabel(NeuralLogisticClassifier((3,), solver=Adam(**FEW))),
    "search": BatchedGridSearchCV(
        TorchLogisticClassifier(solver=Adam(finish="exact", **FEW)), {"C": [1.0]}, cv=2
    ),
}


def trained(kind):
    X, y = binary()
    y = np.column_stack([y, 1 - y]) if "labels" in kind else y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(TRAINED[kind]).fit(X, y), X, y


@pytest.mark.parametrize("kind", TRAINED)
def test_13_what_mini_batches_trained_travels_by_skops(kind):
    model, X, y = trained(kind)
    other = through_skops(model)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert vars(other).keys() == vars(model).keys()
    assert repr(other) == repr(model)
    if kind in ("held out", "finished", "search"):  # which have no partial_fit
        return
    for one in (model, other):
        one.partial_fit(X, y)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("copied", [*COPIES, through_skops])
def test_weights_that_a_network_has_twice_stay_one(copied):
    backbone = copied(trained("module")[0]).module_.backbone
    assert backbone.first.weight is backbone.second.weight
    assert isinstance(backbone.first.weight, nn.Parameter)
    assert backbone.first.weight.requires_grad
    assert not backbone.fixed.requires_grad
    assert type(backbone.shift) is torch.Tensor
    assert backbone.state_dict().keys() == Twice().state_dict().keys()


def test_skops_of_a_network_shares_no_memory_and_changes_nothing():
    model, X, _ = trained("network")
    weights = {name: value.clone() for name, value in model.module_.state_dict().items()}
    other = through_skops(model)
    with torch.no_grad():
        for parameter in other.module_.parameters():
            parameter.zero_()
    for name, value in model.module_.state_dict().items():
        assert torch.equal(value, weights[name])


def test_skops_of_tensors():
    case = binary()
    with config_context(array_api_dispatch=True):
        X, y = map(torch.tensor, case)
        model = TorchLogisticClassifier().fit(X, y)
        other = through_skops(model)
        assert torch.equal(other.predict_proba(X), model.predict_proba(X))
        assert torch.equal(other.classes_, model.classes_)


class Loose(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.loose = torch.ones(3)

    def forward(self, rows):
        return super().forward(rows) * self.loose


class Last(nn.LSTM):
    def forward(self, rows):
        return super().forward(rows[:, None])[0][:, -1]


@pytest.mark.parametrize(
    ("module", "match"),
    [(Loose(), "loose of Loose is a tensor; register"), (Last(4, 3), "module.* weak")],
)
def test_skops_says_which_module_it_cannot_hold(module, match):
    skops = pytest.importorskip("skops.io")
    X, y = binary()
    model = NeuralLogisticClassifier(module=module, solver=Adam(**FEW)).fit(X, y)
    with pytest.raises(TypeError, match=f"cannot be saved but by pickle: .*{match}|{match}"):
        skops.dumps(model)
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


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


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_one_constant_names_all_types_to_trust(device):
    skops = pytest.importorskip("skops.io")
    X, y = binary()
    saved = skops.dumps(TorchLogisticClassifier(device=device).fit(X, y))
    assert skops.loads(saved, trusted=skorch_logreg.TRUSTED_TYPES).device == device

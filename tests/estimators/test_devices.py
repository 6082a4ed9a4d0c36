"""Every path runs where the data or `device` says, and results return to where X is."""

import warnings

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from torch.utils.data import DataLoader, TensorDataset

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.solvers import LBFGS, SGD, Adam, NewtonCG, NewtonCholesky, ProximalNewton
from tests.estimators.data import binary, multi

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]
FITS = {
    "lbfgs": {"solver": LBFGS()},
    "newton-cg": {"solver": NewtonCG()},
    "newton-cholesky": {"solver": NewtonCholesky()},
    "proximal-newton": {"solver": ProximalNewton(), "l1_ratio": 0.5},
    "sgd": {"solver": SGD(batch_size=30, epochs=20, finish="exact")},
    "adam": {"solver": Adam(batch_size=30, epochs=20, finish="exact"), "class_weight": "balanced"},
}
anywhere = pytest.mark.parametrize("device", DEVICES)


@anywhere
@pytest.mark.parametrize("data", [binary, multi])
@pytest.mark.parametrize("parameters", FITS.values(), ids=FITS)
def test_07_a_fit_is_the_same_on_every_device(device, data, parameters):
    X, y = data()
    model = TorchLogisticClassifier(tol=1e-8, **parameters)
    expected = model.fit(X, y).coef_
    assert isinstance(model.set_params(device=device).fit(X, y).coef_, np.ndarray)
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-5, atol=1e-7)
    there = torch.tensor(X, device=device), torch.tensor(y, device=device)
    with config_context(array_api_dispatch=True):
        model.set_params(device=None).fit(*there)
        assert model.coef_.device.type == model.predict(there[0]).device.type == device
    np.testing.assert_allclose(model.coef_.cpu().numpy(), expected, rtol=1e-5, atol=1e-7)


@anywhere
@pytest.mark.parametrize("pinned", [False, True])
def test_loaders_and_parts_go_to_the_device(device, pinned):
    X, y = map(torch.tensor, binary())
    loader = DataLoader(TensorDataset(X, y), batch_size=32, pin_memory=pinned and device == "cuda")
    solver = Adam(learning_rate=0.05, epochs=20)
    for model in (
        TorchLogisticClassifier(solver=solver, device=device),
        NeuralLogisticClassifier((4,), solver=solver, device=device),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(loader, None)
        model.set_params(solver=Adam(batch_size=16)).partial_fit(X, y)
        assert isinstance(model.predict_proba(X), np.ndarray)
        assert model.module_(X.to(next(model.module_.parameters()).device)).isfinite().all()


@anywhere
def test_many_models_on_a_device(device):
    X, y = multi()
    Y = (y[:, None] == np.arange(3)).astype(int)
    labels = MultiLabel(TorchLogisticClassifier(tol=1e-8))
    expected = labels.fit(X, Y).coef_
    labels.set_params(estimator__device=device)
    np.testing.assert_allclose(labels.fit(X, Y).coef_, expected, rtol=1e-5, atol=1e-7)
    search = BatchedGridSearchCV(TorchLogisticClassifier(device=device), {"C": [0.1, 1.0]}, cv=3)
    assert search.fit(X, y).batched_.all()
    grid = {"l1_ratios": (0,), "scoring": "neg_log_loss", "use_legacy_attributes": False}
    assert TorchLogisticClassifierCV(Cs=3, cv=3, device=device, **grid).fit(X, y).converged_

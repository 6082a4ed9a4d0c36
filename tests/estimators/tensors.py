"""Rows in every type, and on a device that there is not: what tests of tensors share."""

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.inputs import arrays
from skorch_logreg.inputs.arrays import view_as_numpy
from skorch_logreg.solvers import SGD
from tests.estimators.data import binary

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
TYPES = {
    **{name: np.dtype(name) for name in (
        "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
        "float16", "float32", "float64",
    )},
    **{f"torch {name}": getattr(torch, name) for name in (
        "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
        "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float32", "float64",
    )},
}  # fmt: skip
SINGLE = ("float32", "torch float32", "torch bfloat16", "torch float8_e4m3fn", "torch float8_e5m2")


def numbers(data=binary):
    """Small non-negative integers, which every type holds."""
    X, y = data()
    return np.abs(X * 2).round().clip(0, 7), y


def stored(kind, data=binary):
    """Rows in a type, the same numbers in float64, and labels."""
    X, y = numbers(data)
    dtype = TYPES[kind]
    if isinstance(dtype, np.dtype):
        made = X.astype(dtype)
        return made, made.astype(np.float64), y
    made = torch.from_numpy(X).to(dtype)
    return made, made.to(torch.float64).numpy(), y


class OnDevice(torch.Tensor):
    """A tensor that NumPy cannot view, and what is computed from it: as on another device."""

    def numpy(self, **_):
        raise TypeError("can't convert this device's tensor to numpy")

    def __array__(self, *_, **__):
        return self.numpy()

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def reach_nowhere(monkeypatch):
    """Return what makes tensors that lie where NumPy does not reach: the fit has to be there."""

    def view(array):
        return array.detach() if isinstance(array, OnDevice) else view_as_numpy(array)

    monkeypatch.setattr(arrays, "view_as_numpy", view)
    return lambda X: torch.tensor(X).as_subclass(OnDevice)


def close(got, expected, tolerance=1e-8):
    assert type(got) is np.ndarray
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=tolerance)


FITS = {
    "lasso": TorchLogisticClassifier(l1_ratio=1.0, C=0.5, tol=1e-9),
    "bounds": TorchLogisticClassifier(bounds=(0, None), tol=1e-9),
    "liblinear": TorchLogisticClassifier(solver="liblinear", tol=1e-9),
    "mini-batches": TorchLogisticClassifier(solver=SGD(batch_size=16, epochs=3, finish="exact")),
    "all rows at once": TorchLogisticClassifier(solver=SGD(epochs=3, finish="exact")),
    "rows held out": TorchLogisticClassifier(
        solver=SGD(batch_size=16, epochs=3, validation_fraction=0.2, finish="exact")
    ),
    "smoothed": TorchLogisticClassifier(label_smoothing=0.1, tol=1e-9),
    "cv": TorchLogisticClassifierCV(
        Cs=3, cv=3, l1_ratios=(0,), scoring="f1", use_legacy_attributes=False, tol=1e-9
    ),
    "labels": MultiLabel(TorchLogisticClassifier(tol=1e-9)),
    "labels cv": MultiLabel(
        TorchLogisticClassifierCV(
            Cs=3, cv=3, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False
        )
    ),
    "labels in mini-batches": MultiLabel(
        TorchLogisticClassifier(solver=SGD(batch_size=16, epochs=3, finish="exact"))
    ),
    "search": BatchedGridSearchCV(
        TorchLogisticClassifier(tol=1e-9), {"C": [0.1, 1.0]}, cv=3, scoring="neg_log_loss"
    ),
    "search by a callable": BatchedGridSearchCV(
        TorchLogisticClassifier(tol=1e-9),
        {"C": [0.1, 1.0]},
        cv=3,
        scoring=lambda model, X, y: (model.predict(X) == y).mean(),
    ),
    "scikit-learn's search": GridSearchCV(TorchLogisticClassifier(tol=1e-9), {"C": [0.1, 1]}, cv=3),
    "search of labels": BatchedGridSearchCV(MultiLabel(), {"C": [0.1, 1.0]}, cv=3),
    "network": NeuralLogisticClassifier((4,), solver=SGD(batch_size=16, epochs=3)),
    "head": NeuralLogisticClassifier((4,), freeze_backbone=True, tol=1e-9),
    "labels of a network": MultiLabel(
        NeuralLogisticClassifier((4,), solver=SGD(batch_size=16, epochs=3))
    ),
}  # fmt: skip
SOME = [
    "bool", "int8", "uint16", "float16", "torch int8", "torch uint16", "torch float16",
    "torch bfloat16",
]  # fmt: skip


def as_float32(kind, wide):
    """Round numbers to float32, where a type has a model of that."""
    return wide.astype(np.float32) if kind in SINGLE else wide

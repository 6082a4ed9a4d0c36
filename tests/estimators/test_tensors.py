"""Tensors, without any switch: taken as they are, by every estimator."""

import os

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.model_selection import GridSearchCV
from torch.utils.data import DataLoader, TensorDataset

from skorch_logreg import (
    MultiLabel,
    NeuralLogisticClassifier,
    OffsetLogisticClassifier,
    TorchLogisticClassifier,
)
from skorch_logreg.data import ArrayChunks
from skorch_logreg.inputs.arrays import to_numpy, view_as_numpy
from skorch_logreg.solvers import SGD
from tests.containers import CONTAINERS, TENSORS
from tests.estimators.data import binary, multi
from tests.estimators.tensors import (
    FITS,
    METHODS,
    SINGLE,
    close,
    reach_nowhere,
    stored,
)


@pytest.fixture
def there(monkeypatch):
    """Make tensors that NumPy cannot read."""
    return reach_nowhere(monkeypatch)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_07_rows_are_fitted_where_they_lie(there, name, dtype):
    """On a device: NumPy never reads them, and results are its arrays all the same."""
    X, y = binary()
    X, model = X.astype(dtype), FITS[name]
    expected = model.fit(X, y).predict_proba(X)
    # scikit-learn's own search looks at the labels
    model.fit(there(X), y if type(model) is GridSearchCV else there(y))
    close(model.predict_proba(there(X)), expected, 1e-8 if dtype == np.float64 else 1e-5)
    for method in METHODS:
        assert type(getattr(model, method)(there(X))) is np.ndarray
    for value in vars(model).values():
        assert not isinstance(value, torch.Tensor)
    labels = y if type(model) is GridSearchCV else there(y)
    assert model.score(there(X), labels) == pytest.approx(model.score(X, y))


def test_a_float32_tensor_is_the_array_over_its_memory():
    X = torch.randn(5, 3)
    assert np.shares_memory(view_as_numpy(X), X.numpy())
    assert np.shares_memory(view_as_numpy(X.requires_grad_()), X.detach().numpy())
    assert np.shares_memory(view_as_numpy(torch.nn.Parameter(X).T), X.detach().numpy())


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_tensors_get_no_gradient(method):
    X, y = (torch.tensor(array, dtype=torch.float64).requires_grad_() for array in binary())
    weight = torch.ones(len(y), requires_grad=True)
    solver = SGD(batch_size=16, epochs=2, finish="exact")
    model = TorchLogisticClassifier(solver=solver).fit(X, y, sample_weight=weight)
    if method == "predict":
        model.predict_proba(X)
    assert X.grad is y.grad is weight.grad is None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_tensors_of_a_loader_get_no_gradient():
    X, y = (torch.tensor(array, dtype=torch.float64) for array in binary())
    X.requires_grad_()
    loader = DataLoader(TensorDataset(X, y), batch_size=20)
    TorchLogisticClassifier(solver=SGD(epochs=2)).fit(loader, None)
    NeuralLogisticClassifier((2,), solver=SGD(epochs=2)).fit(loader, None)
    assert X.grad is None
    expected = TorchLogisticClassifier().fit(X, y).coef_
    close(TorchLogisticClassifier().fit(loader, None).coef_, expected)
    halves = TensorDataset(X.bfloat16(), y)
    expected = TorchLogisticClassifier().fit(X.bfloat16(), y).coef_
    close(TorchLogisticClassifier().fit(halves, None).coef_, expected, 1e-6)


LABELS = {
    "bool": lambda y: torch.tensor(y) == 1,
    "int8": lambda y: torch.tensor(y, dtype=torch.int8),
    "int64": torch.tensor,
    "float32": lambda y: torch.tensor(y, dtype=torch.float32),
    "bfloat16": lambda y: torch.tensor(y, dtype=torch.bfloat16),
    "gradient": lambda y: torch.tensor(y, dtype=torch.float64).requires_grad_(),
    "strided": lambda y: torch.tensor(np.repeat(y, 2))[::2],
}
MODELS = ["lasso", "mini-batches", "cv", "labels", "search", "network"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("name", MODELS)
def test_07_labels_of_every_type(kind, name):
    X, y = binary()
    made, model = LABELS[kind](y), FITS[name]
    expected = model.fit(X, y).predict_proba(X)
    for rows in (X, torch.tensor(X)):
        close(model.fit(rows, made).predict_proba(rows), expected)
        assert type(model.classes_) is np.ndarray
        assert model.score(rows, made) == pytest.approx(model.score(X, y * 1.0))


@pytest.mark.parametrize("container", ["c_order", "torch_tensor", "csr_array", "torch_coo"])
def test_07_weights_offsets_and_strengths_are_tensors(container):
    X, y = binary()
    made = CONTAINERS[container](X)
    weight, offset = np.arange(len(y)) % 4, np.linspace(-1, 1, len(y))
    factor = np.array([1.0, 2.0, 0.5, 1.0])
    expected = OffsetLogisticClassifier(tol=1e-9, penalty_factor=factor, bounds=(0, factor))
    expected.fit(X, y, weight, offset)
    strengths = torch.tensor(factor, requires_grad=True)
    model = OffsetLogisticClassifier(tol=1e-9, penalty_factor=strengths, bounds=(0, strengths))
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        weights = torch.tensor(weight, dtype=dtype, requires_grad=True)
        model.fit(made, y, weights, torch.tensor(offset, requires_grad=True))
        close(model.coef_, expected.coef_)


@pytest.mark.parametrize("container", [None, "torch_csr", "torch_csc", "torch_coo"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bfloat16, torch.bool])
def test_07_indicators_are_tensors(container, dtype):
    X, y = multi()
    Y = (y[:, None] == np.arange(3)).astype(np.float64)
    mask = np.random.default_rng(0).random(Y.shape) < 0.9
    expected = MultiLabel().fit(X, Y, label_mask=mask)
    made = torch.tensor(Y) if container is None else CONTAINERS[container](Y)
    model = MultiLabel().fit(torch.tensor(X), made.to(dtype), label_mask=torch.tensor(mask))
    close(model.coef_, expected.coef_)
    assert model.score(torch.tensor(X), made) == expected.score(X, Y.astype(int))


def test_07_soft_labels_are_a_tensor():
    X, y = multi()
    share = np.full((len(y), 3), 0.1)
    share[np.arange(len(y)), y] = 0.8
    model = TorchLogisticClassifier(soft_labels=True, tol=1e-9)
    expected = model.fit(X, share).coef_
    close(model.fit(torch.tensor(X), torch.tensor(share, requires_grad=True)).coef_, expected)


def test_07_chunks_are_tensors():
    X, y = binary()
    expected = TorchLogisticClassifier(tol=1e-10).fit(X.astype(np.float32), y)

    class Chunks:
        def __len__(self):
            return 4

        def chunk(self, index):
            return torch.tensor(X[30 * index : 30 * index + 30]).float().requires_grad_()

    model = TorchLogisticClassifier(tol=1e-10).fit(Chunks(), torch.tensor(y))
    close(model.coef_, expected.coef_, 1e-6)
    assert model.coef_.dtype == np.float32
    sparse = [CONTAINERS["torch_csr"](X[:60]), CONTAINERS["torch_csr"](X[60:])]

    class Sparse(Chunks):
        def __len__(self):
            return 2

        def chunk(self, index):
            return sparse[index]

    close(TorchLogisticClassifier(tol=1e-10).fit(Sparse(), y).coef_, expected.coef_, 1e-6)
    whole = ArrayChunks(X, rows=50)
    assert model.fit(whole, torch.tensor(y).bool()).classes_.dtype == bool


dispatched = pytest.mark.skipif(
    os.environ.get("SCIPY_ARRAY_API") != "1", reason="SciPy was imported without SCIPY_ARRAY_API=1"
)


@dispatched
@pytest.mark.parametrize("kind", ["torch int8", "torch bfloat16", "torch float16", "torch float32"])
@pytest.mark.parametrize("grad", [False, True])
def test_07_under_dispatch_results_are_tensors(kind, grad):
    X, wide, y = stored(kind)
    expected = TorchLogisticClassifier(tol=1e-9).fit(wide, y)
    X = X.requires_grad_(grad and X.is_floating_point())
    with config_context(array_api_dispatch=True):
        labels = torch.tensor(y, dtype=torch.float32, requires_grad=grad)
        weight = torch.ones(len(y), requires_grad=grad)
        model = TorchLogisticClassifier(tol=1e-9).fit(X, labels, weight)
        found = [model.coef_, model.intercept_, model.classes_, model.predict_proba(X)]
        assert all(isinstance(part, torch.Tensor) for part in found)
        assert not any(part.requires_grad for part in found)
        assert found[0].dtype == (torch.float32 if kind in SINGLE else torch.float64)
        assert model.score(X, torch.tensor(y)) == expected.score(wide, y)
        if X.is_floating_point():
            with pytest.raises(ValueError, match="Input X contains NaN"):
                model.fit(X * torch.nan, torch.tensor(y))
    close(to_numpy(model.coef_), expected.coef_, 1e-6)


@dispatched
@pytest.mark.parametrize("container", [c for c in TENSORS if "coo" in c or "cs" in c])
def test_07_under_dispatch_sparse_tensors_are_scipys(container):
    X, y = binary()
    made = CONTAINERS[container](X)
    with config_context(array_api_dispatch=True):
        model = TorchLogisticClassifier().fit(made, torch.tensor(y))
        assert type(model.coef_) is type(model.predict_proba(made)) is np.ndarray
        assert model.score(made, torch.tensor(y)) > 0.6

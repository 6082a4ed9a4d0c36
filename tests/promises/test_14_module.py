"""Promise 14: `module_` is the model."""

import numpy as np
import pytest
import torch
from torch import nn

from skorch_logreg import TorchLogisticClassifier
from tests.problems import load
from tests.reference import Task, minimise

NAMES = ["binary", "three_classes"]


def fitted(name, dtype=np.float64, **options):
    case = load(name)
    X = case.X.astype(dtype)
    return TorchLogisticClassifier(**options).fit(X, case.y), X, case.y


def logits_of(model, X):
    z = model.decision_function(X)
    return z[:, None] if z.ndim == 1 else z


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_14_it_gives_the_decision_function_to_the_last_bit(name, dtype, fit_intercept):
    model, X, _ = fitted(name, dtype, fit_intercept=fit_intercept)
    assert type(model.module_) is nn.Linear
    for rows in (X, X[:1], X[::3], np.asfortranarray(X)):
        with torch.no_grad():
            z = model.module_(torch.from_numpy(rows.copy())).numpy()
        assert z.dtype == dtype
        np.testing.assert_array_equal(z, logits_of(model, rows.copy()))


@pytest.mark.parametrize("name", NAMES)
def test_14_it_lives_in_the_memory_of_coef_and_intercept(name):
    """Either side may write, and the other sees it."""
    model, X, _ = fitted(name)
    module = model.module_
    model.coef_ *= 2
    model.intercept_ += 1
    z = logits_of(model, X)
    with torch.no_grad():
        np.testing.assert_array_equal(module(torch.from_numpy(X)).numpy(), z)
        module.weight.zero_()
        module.bias.fill_(3.0)
    assert not model.coef_.any()
    np.testing.assert_array_equal(logits_of(model, X), np.full_like(z, 3.0))
    # assigned arrays are followed by the next module
    model.coef_ = np.ones_like(model.coef_)
    assert model.module_.weight.detach().numpy().all()


def test_14_there_is_none_before_fit():
    assert not hasattr(TorchLogisticClassifier(), "module_")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_14_it_can_be_scripted_and_traced(name, tmp_path):
    """TorchScript is deprecated in torch, and what is deployed on it still is."""
    model, X, _ = fitted(name)
    rows = torch.from_numpy(X)
    for scripted in (torch.jit.script(model.module_), torch.jit.trace(model.module_, rows[:2])):
        torch.jit.save(scripted, tmp_path / "module.pt")
        with torch.no_grad():
            z = torch.jit.load(tmp_path / "module.pt")(rows).numpy()
        np.testing.assert_array_equal(z, logits_of(model, X))


@pytest.mark.parametrize("name", NAMES)
def test_14_it_can_be_exported(name):
    model, X, _ = fitted(name)
    rows = torch.from_numpy(X)
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    exported = torch.export.export(model.module_, (rows,), dynamic_shapes=(batch,))
    with torch.no_grad():
        z = exported.module()(rows[:50]).numpy()
    np.testing.assert_allclose(z, logits_of(model, X[:50]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_14_its_weights_load_into_another_linear_layer(name, tmp_path):
    model, X, _ = fitted(name)
    torch.save(model.module_.state_dict(), tmp_path / "weights.pt")
    other = nn.Linear(X.shape[1], model.coef_.shape[0], dtype=torch.float64)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        z = other(torch.from_numpy(X)).numpy()
    np.testing.assert_array_equal(z, logits_of(model, X))


@pytest.mark.parametrize("name", NAMES)
def test_14_it_can_be_part_of_a_larger_network(name):
    """Gradients flow through it to the layers before, and into itself."""
    model, X, _ = fitted(name)
    first = nn.Linear(X.shape[1], X.shape[1], dtype=torch.float64)
    network = nn.Sequential(first, nn.Tanh(), model.module_)
    network(torch.from_numpy(X)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert not np.isnan(model.coef_).any()


@pytest.mark.parametrize("name", NAMES)
def test_14_it_can_be_trained_further(name):
    """torch's own loss has its minimum where ours ended: the gradient there is zero."""
    C = 0.5
    model, X, y = fitted(name, C=C, tol=1e-10)
    module = model.module_
    rows, labels = torch.from_numpy(X), torch.from_numpy(y.copy())

    def objective():
        z = module(rows)
        if z.shape[1] == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(
                z[:, 0], labels.double(), reduction="sum"
            )
        else:
            loss = nn.functional.cross_entropy(z, labels, reduction="sum")
        return loss + module.weight.square().sum() / (2 * C)

    objective().backward()
    assert max(p.grad.abs().max().item() for p in module.parameters()) <= 1e-7
    # pushed away, torch's optimiser brings the estimator back to the minimum
    with torch.no_grad():
        module.weight += 0.1
    optimiser = torch.optim.LBFGS(
        module.parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimiser.zero_grad()
        value = objective()
        value.backward()
        return value

    optimiser.step(closure)
    minimum = minimise(Task(X, y, C=C))
    np.testing.assert_allclose(model.coef_, minimum.coef.astype(float), atol=1e-6)


def test_14_sparsified_coefficients_have_a_module_too():
    model, X, _ = fitted("binary", l1_ratio=1.0, C=0.1)
    expected = logits_of(model, X)
    with torch.no_grad():
        z = model.sparsify().module_(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(z, expected, rtol=1e-13, atol=1e-13)

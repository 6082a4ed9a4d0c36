"""The quadratic model that a working set keeps for several steps."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.special import expit

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data.sparse import SparseRows
from skorch_logreg.kernels.library import library
from skorch_logreg.solvers import ProximalNewton
from skorch_logreg.solvers.quadratic import QuadraticModel
from tests.catalogue import CONTAINERS, LOSSES, PENALTIES, objective, parameters


@pytest.fixture(params=["c-order", "csr", "blocks-of-7"])
def of(request):
    penalty = PENALTIES["elastic-net"]
    return objective(LOSSES["binomial"], penalty, CONTAINERS[request.param], reg_strength=(5.0,))


@pytest.mark.parametrize("more", [[4, 1], [4, 1, 2]], ids=["some", "all"])
def test_extended_is_built_at_once(of, more):
    """At the same point, whatever the order of the columns, and where they are all."""
    point = of.evaluate(parameters(of))
    whole = QuadraticModel.of(of, point, torch.tensor([3, 0, *more]))
    part = QuadraticModel.of(of, point, torch.tensor([3, 0]))
    longer = part.extended(of, point, torch.tensor(more))
    torch.testing.assert_close(longer.columns, whole.columns)
    torch.testing.assert_close(longer.bordered, whole.bordered, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_direction_leads_to_the_models_minimiser(fit_intercept):
    """There the gradient of the model meets the penalty's subdifferential; the intercept's is 0."""
    of = objective(
        penalty=PENALTIES["elastic-net"], reg_strength=(5.0,), fit_intercept=fit_intercept
    )
    point = of.evaluate(parameters(of))
    model = QuadraticModel.of(of, point, torch.arange(5))
    step = model.direction(of, point, of.loss_gradient(point)[0, 0])
    slope = of.loss_gradient(point)[0, 0] + model.bordered @ step[0, 0]
    coef = (point.params + step)[..., :-1]
    distance = of.penalty.subgradient_distance(coef, slope[None, None, :-1], of.reg_strength)
    size = of.loss_gradient(point).abs().max()
    assert distance.max() <= 1e-10 * size
    assert not fit_intercept or abs(slope[-1]) <= 1e-10 * size


def test_corrected_agrees_with_the_last_step():
    """What the model now foresees of the step's change of gradient is what was seen."""
    of = objective(LOSSES["binomial"], PENALTIES["elastic-net"], reg_strength=(5.0,))
    before = of.evaluate(parameters(of))
    model = QuadraticModel.of(of, before, torch.tensor([3, 0, 4]))
    gradient = of.loss_gradient(before)[0, 0]
    after = of.evaluate(before.params + 3 * model.direction(of, before, gradient))
    step = (after.params - before.params)[0, 0]
    change = of.loss_gradient(after)[0, 0] - gradient
    corrected = model.copy().corrected(step, change)
    within = torch.tensor([3, 0, 4, 5])
    step, change = step[within], change[within]
    torch.testing.assert_close(corrected.bordered @ step, change)
    torch.testing.assert_close(corrected.bordered, corrected.bordered.T)
    assert (model.bordered @ step - change).norm() > 0.01 * change.norm()


def test_corrected_stays_as_it_is_where_there_was_no_step():
    of = objective(LOSSES["binomial"], PENALTIES["elastic-net"], reg_strength=(5.0,))
    point = of.evaluate(parameters(of))
    model = QuadraticModel.of(of, point, torch.tensor([3, 0]))
    zero = torch.zeros(6, dtype=torch.float64)
    before = model.bordered.clone()
    assert torch.equal(model.corrected(zero, zero).bordered, before)


@pytest.mark.skipif(library() is None, reason="no kernels are built")
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_many_sparse_columns_are_optimal(monkeypatch, l1_ratio, fit_intercept):
    """More than their entries allow a Hessian of: their steps read the columns themselves."""
    taken = []
    step = SparseRows.column_step
    monkeypatch.setattr(
        SparseRows, "column_step", lambda data, of: taken.append(len(of.columns)) or step(data, of)
    )
    rng = np.random.default_rng(0)
    X = sp.random_array((400, 3000), density=0.004, rng=rng, data_sampler=rng.normal).tocsr() * 4.0
    y = rng.integers(0, 2, 400)
    model = TorchLogisticClassifier(
        C=2.0, l1_ratio=l1_ratio, fit_intercept=fit_intercept, tol=1e-6, solver=ProximalNewton()
    ).fit(X, y)
    assert max(taken) > 256
    coef = model.coef_[0]
    residual = expit(X @ coef + model.intercept_[0]) - y
    slope = 2.0 * X.T @ residual + (1 - l1_ratio) * coef
    left = np.where(
        coef == 0, np.maximum(abs(slope) - l1_ratio, 0), abs(slope + l1_ratio * np.sign(coef))
    )
    assert left.max() <= 1e-3
    assert not fit_intercept or abs(residual.sum()) <= 1e-6
    assert model.duality_gap_ <= 1e-11

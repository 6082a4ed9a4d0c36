"""The quadratic model that a working set keeps for several steps."""

import pytest
import torch

from skorch_logreg.solvers.quadratic import QuadraticModel
from tests.catalogue import CONTAINERS, LOSSES, PENALTIES, objective, parameters


@pytest.fixture(params=["c-order", "csr", "blocks-of-7"])
def of(request):
    penalty = PENALTIES["elastic-net"]
    return objective(LOSSES["binomial"], penalty, CONTAINERS[request.param], strength=(5.0,))


@pytest.mark.parametrize("more", [[4, 1], [4, 1, 2]], ids=["some", "all"])
def test_extended_is_built_at_once(of, more):
    """At the same point, whatever the order of the columns, and where they are all."""
    point = of.evaluate(parameters(of))
    whole = QuadraticModel.of(of, point, torch.tensor([3, 0, *more]), rough=False)
    part = QuadraticModel.of(of, point, torch.tensor([3, 0]), rough=False)
    longer = part.extended(of, point, torch.tensor(more))
    torch.testing.assert_close(longer.columns, whole.columns)
    torch.testing.assert_close(longer.bordered, whole.bordered, rtol=1e-10, atol=1e-10)


def test_rough_products_are_nearly_the_same(of):
    point = of.evaluate(parameters(of))
    columns = torch.arange(5)
    exact, rough = (QuadraticModel.of(of, point, columns, rough=r) for r in (False, True))
    torch.testing.assert_close(rough.bordered, exact.bordered, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_direction_leads_to_the_models_minimiser(fit_intercept):
    """There the gradient of the model meets the penalty's subdifferential; the intercept's is 0."""
    of = objective(penalty=PENALTIES["elastic-net"], strength=(5.0,), fit_intercept=fit_intercept)
    point = of.evaluate(parameters(of))
    model = QuadraticModel.of(of, point, torch.arange(5), rough=False)
    step = model.direction(of, point)
    slope = of.loss_gradient(point)[0, 0] + model.bordered @ step[0, 0]
    coef = (point.params + step)[..., :-1]
    distance = of.penalty.subgradient_distance(coef, slope[None, None, :-1], of.strength)
    size = of.loss_gradient(point).abs().max()
    assert distance.max() <= 1e-10 * size
    assert not fit_intercept or abs(slope[-1]) <= 1e-10 * size

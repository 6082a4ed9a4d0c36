"""What is claimed of the models of a drive, against closed forms in extended precision."""

import numpy as np
import pytest
import torch

from skorch_logreg.solvers import Outcome, Status
from skorch_logreg.solvers.outcome import FinalPoint
from tests.catalogue import LOSSES, PENALTIES, objective, problem

LD = np.longdouble


def values(loss, intercepts):
    """The objective without coefficients at given intercepts, and its minimum over them."""
    _, y, weight = problem(loss)
    share = np.array([weight[y == k].astype(LD).sum() for k in range(y.max() + 1)])
    z = intercepts.numpy().astype(LD)
    z = np.r_[LD(0), z] if len(z) == 1 else z
    log_p = z - np.log(np.exp(z).sum())
    return -(share * log_p).sum(), -(share * np.log(share / share.sum())).sum()


@pytest.mark.parametrize("name", ["lasso", "group", "elastic-net"])
@pytest.mark.parametrize("loss", ["binomial", "multinomial"])
def test_a_gap_of_rounding_is_not_below_the_truth(loss, name):
    """Promise 2 at the last digits: intercepts beside their best, and no coefficients."""
    of = objective(LOSSES[loss], PENALTIES[name], reg_strength=(1e4,))
    for shift in np.geomspace(1e-9, 1e-7, 40):
        params = of.zeros()
        params[..., -1] = of.prior()
        params[:, -1, -1] += shift
        if of.loss.n_outputs > 1:
            params[..., -1] -= params[..., -1].mean(dim=1, keepdim=True)
        end = FinalPoint((0,), of.evaluate(params), (0.0,), (Status.CONVERGED,), 0, (None,))
        claimed = float(Outcome.of(of, (end,), 0, True).duality_gap)
        value, least = values(of.loss, params[0, :, -1])
        gap = (value - least) / value
        assert gap > 0
        assert gap <= claimed <= gap + 2e-15


@pytest.mark.parametrize("name", ["lasso", "l2"])
def test_models_are_put_back_into_their_order(name):
    """They end in another one, each with its own figures; a bound that is not wanted is nan."""
    of = objective(penalty=PENALTIES[name], reg_strength=(1.0, 2.0, 3.0))
    params = of.zeros() + torch.arange(3.0)[:, None, None] / 10
    point = of.evaluate(params)
    first, last = torch.tensor([1]), torch.tensor([0, 2])
    ends = (
        FinalPoint((1,), point.select(first), (0.1,), (Status.STOPPED,), 3, (params[1],)),
        FinalPoint(
            (0, 2), point.select(last), (0.0, 0.2), (Status.CONVERGED,) * 2, 5, (None, None)
        ),
    )
    found = Outcome.of(of, ends, 7, bound=False)
    assert torch.equal(found.params, params)
    assert torch.equal(found.value, point.value)
    assert torch.equal(found.logits, point.logits)
    assert found.status == (Status.CONVERGED, Status.STOPPED, Status.CONVERGED)
    assert found.n_iter.tolist() == [5, 3, 5]
    assert found.optimality.tolist() == [0.0, 0.1, 0.2]
    assert [d is None for d in found.directions] == [True, False, True]
    assert found.n_passes == of.data.n_passes + 7
    assert found.duality_gap.isnan().all()
    bounded = Outcome.of(of, ends, 0, bound=True).duality_gap
    assert bounded.isfinite().all()

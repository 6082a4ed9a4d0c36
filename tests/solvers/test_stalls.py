"""Steps that are counted as stalls."""

from types import SimpleNamespace

import torch

from skorch_logreg.objective import VALUE_ROUNDING
from skorch_logreg.solvers.stalls import stuck_models
from skorch_logreg.solvers.stopping import RunState


def state(value, decrement):
    """State of one model."""
    value, decrement = (torch.tensor([x], dtype=torch.float64) for x in (value, decrement))
    return SimpleNamespace(point=SimpleNamespace(value=value), decrement=decrement)


def test_rounding_that_goes_up_and_down_is_no_progress():
    up = 1 + 4 * VALUE_ROUNDING
    run = RunState(
        objective=None,
        state=state(up, 1e-9),
        models=(0,),
        stalls=(0,),
        first=0,
        n_iter=0,
        least=((1.0,), (1e-10,)),
        before=(0.0,),
        quiet=(None,),
        missed=(0.0,),
    )
    least = run.least_so_far
    assert least == ((1.0,), (1e-10,))
    assert stuck_models(least, state(1.0, 1e-10)) == [True]
    assert stuck_models(least, state(1.0, 4e-11)) == [False]
    assert stuck_models(least, state(1 - 4 * VALUE_ROUNDING, 1e-9)) == [False]


def test_values_do_not_count_where_the_decrement_is_far_below_its_goal():
    least = (1.0,), (0.0,)
    assert stuck_models(least, state(1 - 1e-11, 0.0), tol=1e-5) == [True]
    assert stuck_models(least, state(1 - 1e-9, 0.0), tol=1e-5) == [False]
    assert stuck_models(least, state(1 - 1e-11, 0.0)) == [False]

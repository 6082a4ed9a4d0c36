"""When `drive` gives a model up: scripted steps, none of which is a solver's."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import from_arrays
from skorch_logreg.fitting import fit
from skorch_logreg.losses import Multinomial
from skorch_logreg.objective import Objective, Point
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import Status, drive
from tests.catalogue import objective

# distances from the optimum before each step, as shares of the value, which is no better
STUCK = 0.9


@dataclass(frozen=True)
class ScriptedState:
    point: Point
    decrement: torch.Tensor
    trusted: torch.Tensor

    def select(self, models):
        return ScriptedState(
            self.point.select(models), self.decrement[models], self.trusted[models]
        )


@dataclass(frozen=True)
class Scripted:
    """Each step moves the first coefficient by one; value and decrement are what was written."""

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})
    checkpoint: ClassVar[Any] = None
    on_interrupt: ClassVar[str] = "raise"
    decrements: tuple[float, ...]
    values: tuple[float, ...]

    def _at(self, point, i):
        value = torch.full_like(point.value, self.values[min(i, len(self.values) - 1)])
        decrement = torch.full_like(value, self.decrements[min(i, len(self.decrements) - 1)])
        return ScriptedState(
            replace(point, value=value), decrement, torch.ones_like(value, dtype=torch.bool)
        )

    def init(self, objective, params, tol):
        return self._at(objective.evaluate(params), 0)

    def step(self, objective, state):
        params = state.point.params.clone()
        params[..., 0] += 1.0
        return self._at(replace(state.point, params=params), int(params[0, 0, 0]))

    def confirm(self, objective, state, models):
        return state


def run(decrements, values=(1.0,), max_iter=50):
    of = objective()
    found = drive(
        Scripted(tuple(decrements), tuple(values)),
        of,
        of.zeros(),
        tol=1e-3,
        max_iter=max_iter,
        bound=False,
    )
    return found.status[0], int(found.n_iter), found


def test_a_few_fruitless_steps_are_forgiven():
    """Three in a row are, as often as they come; what follows them may be progress."""
    script = [1.0, STUCK, STUCK, STUCK, 0.1, 0.09, 0.09, 0.09, 1e-7]
    assert run(script)[:2] == (Status.CONVERGED, 8)


def test_four_fruitless_steps_in_a_row_are_the_end():
    """Rounding is what is left then, and the iterations that are allowed are not wasted."""
    script = [1.0, STUCK, STUCK, STUCK, 0.1, 0.1]
    assert run(script)[:2] == (Status.PRECISION, 8)
    assert run(script, max_iter=6)[:2] == (Status.MAX_ITER, 6)
    assert run([1.0, STUCK])[:2] == (Status.PRECISION, 4)


def test_a_value_that_falls_is_progress():
    """By more than its rounding, whatever becomes of the decrement."""
    falling = [1.0 - 1e-15 * i for i in range(60)]
    assert run([1.0], falling, max_iter=20)[:2] == (Status.MAX_ITER, 20)
    rounded = [1.0 - 2e-16 * (i % 2) for i in range(60)]
    assert run([1.0], rounded, max_iter=20)[:2] == (Status.PRECISION, 4)


def test_a_decrement_that_halves_is_progress():
    halved = [0.5**i for i in range(20)]
    assert run(halved, max_iter=19)[:2] == (Status.MAX_ITER, 19)
    assert run([0.51**i for i in range(12)], max_iter=10)[:2] == (Status.PRECISION, 4)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", ["values", "decrements"])
def test_an_overflow_ends_at_the_last_good_point(part, bad):
    figures = {"values": (1.0, 0.5, bad), "decrements": (1.0, 0.4, 0.4)}
    if part == "decrements":
        figures = {"values": (1.0, 0.5, 0.4), "decrements": (1.0, 0.4, bad)}
    status, n_iter, found = run(**figures)
    assert status is Status.PRECISION
    assert found.value.tolist() == [0.5]
    assert float(found.params[0, 0, 0]) == 1.0
    assert n_iter == 2


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_value_that_is_not_finite_is_not_converged(bad):
    assert run([0.0], (bad,))[0] is Status.PRECISION
    assert run([0.0], (0.0,))[0] is Status.CONVERGED


def test_optimality_is_the_root_of_the_relative_distance():
    found = run([1.0, 0.02], (4.0, 2.0), max_iter=1)[2]
    assert found.optimality.tolist() == [pytest.approx(0.1, rel=1e-12)]
    assert run([1e-6])[:2] == (Status.CONVERGED, 0)
    assert run([1.001e-6, 1.0], max_iter=1)[:2] == (Status.MAX_ITER, 1)


@pytest.mark.parametrize("C", [1e12, 1e17, 1e25])
def test_classes_converge_where_an_objective_is_far_below_the_weight_of_the_rows(C):
    """Promise 2: no probability is so close to one that the Hessian would be rounding error."""
    y = np.arange(30) % 3
    X = np.eye(3)[y] + 0.1 * np.random.default_rng(0).normal(size=(30, 3))
    data = from_arrays(X, y)
    found = fit(data, Multinomial(3), L2(), C=C, tol=1e-4, max_iter=1000)
    finer = fit(data, Multinomial(3), L2(), C=C, tol=1e-9, max_iter=1000)
    assert found.status == finer.status == (Status.CONVERGED,)
    plain = torch.zeros(3).double(), torch.ones(3).double()
    held = data.standardised(*plain, Multinomial(3).encode(data.targets))
    of = Objective(held, Multinomial(3), L2(), torch.tensor([1 / C]), fit_intercept=True)
    value, least = (
        of.evaluate(torch.cat([f.params.coef, f.params.intercept[..., None]], -1)).value
        for f in (found, finer)
    )
    assert float(value / least - 1) <= 10 * 1e-8


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton-cg"])
def test_a_step_that_moved_logits_far_is_not_the_last(solver):
    """Promise 2: where rows become saturated, a small decrement is not a small distance."""
    rng = np.random.default_rng(83)
    X = rng.normal(size=(40, 3))
    X[:, 2] **= 3
    y = (X @ [1, -1, 0.5] > 0).astype(int)
    model = TorchLogisticClassifier(C=1e7, tol=0.05, solver=solver, max_iter=1000).fit(X, y)
    finer = TorchLogisticClassifier(C=1e7, tol=1e-8, max_iter=1000).fit(X, y)

    def value(m):
        margin = np.where(y == 1, 1, -1) * m.decision_function(X)
        return np.logaddexp(0, -margin).sum() + (m.coef_**2).sum() / 2e7

    assert model.converged_
    assert value(model) <= value(finer) * (1 + 10 * 0.05**2)
    stopped = TorchLogisticClassifier(C=1e7, tol=0.05, solver=solver, max_iter=4)
    with pytest.warns(ConvergenceWarning, match="4 iteration"):
        stopped.fit(X, y)
    assert stopped.n_iter_[0] == 4
    assert stopped.optimality_ > 0.05


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused_before_the_first_step(value):
    """Where rows were not checked, the first pass tells, and marks those that are finite."""
    X, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 3
    for entry in (0.5, value):
        X[7, 2] = entry
        data = from_arrays(X, y, is_checked=False)
        data.targets = Multinomial(3).encode(data.targets)
        of = Objective(data, Multinomial(3), L2(), torch.ones(1, dtype=torch.float64), True)
        if np.isfinite(entry):
            drive(Scripted((0.5,), (1.0,)), of, of.zeros(), tol=0.1, max_iter=1)
            assert data.is_checked
            continue
        with pytest.raises(ValueError, match="X contains NaN or infinity"):
            drive(Scripted((0.5,), (1.0,)), of, of.zeros(), tol=0.1, max_iter=1)

"""What a decrement misses before a long step is counted (promise 2)."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.special import log_softmax

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import from_arrays
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import Objective, hessian_product, inner
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import LBFGS, NewtonCholesky, drive
from skorch_logreg.solvers.long_steps import loss_after_long_step, missed_ahead
from skorch_logreg.solvers.smooth import with_newton_directions
from skorch_logreg.solvers.stopping import RunState, StoppingRule


def wide(seed, n_classes, rows=8, columns=20):
    """Rows that are large enough for logits of hundreds, and so for rows without curvature."""
    draw = torch.Generator().manual_seed(seed)
    X = 10 * torch.randn(rows, columns, generator=draw, dtype=torch.float64)
    loss = Binomial() if n_classes == 2 else Multinomial(n_classes)
    classes = torch.arange(rows)[:, None] % n_classes
    data = from_arrays(X, loss.encode(classes))
    data.weight = 10 ** torch.randint(-9, 3, (rows, 1), generator=draw).to(torch.float64)
    strength = torch.tensor([1e-4], dtype=torch.float64)
    return Objective(data, loss, L2(), strength, fit_intercept=True)


@pytest.mark.parametrize("is_expensive", [False, True])
@pytest.mark.parametrize(("n_classes", "seed"), [(2, 13), (4, 1), (4, 3), (4, 7)])
def test_decrement_and_what_it_misses_bound_the_distance_to_the_minimum(
    n_classes, seed, is_expensive, monkeypatch
):
    """Also where an exact Hessian costs too much, and only small decrements are measured again."""
    of, tol, is_hidden, measured = wide(seed, n_classes), 0.5 if is_expensive else 0.1, False, 0
    solver = NewtonCholesky()
    if is_expensive:
        monkeypatch.setattr("skorch_logreg.solvers.long_steps._is_expensive", lambda _: True)
    least = drive(solver, of, of.zeros(), tol=1e-9, max_iter=300).value
    state = solver.init(of, of.zeros(), tol)
    for _ in range(30):
        left, goal = float(state.point.value - least), tol**2 * float(state.point.value)
        missed = float(missed_ahead(of, state.point, state.solved, state.decrement, tol))
        bound = 1.3 * max(float(state.decrement), missed) + 1e-15
        measured += 0 < missed < state.point.value
        assert left <= bound or bound > goal
        is_hidden |= left > 1.3 * float(state.decrement) and float(state.decrement) <= goal
        state = solver.step(of, state)
    assert is_hidden
    assert measured


def _decrement(of, point, step):
    """Half of the curvature along a step, as if it were a Newton step."""
    return inner(step, hessian_product(of, point)(step)) / 2


def test_a_short_step_misses_nothing():
    of = wide(0, 2)
    point = of.evaluate(of.zeros())
    step = of.zeros()
    step[..., -1] = 0.49
    assert missed_ahead(of, point, step, _decrement(of, point, step), 0.1) == 0
    assert loss_after_long_step(of, of.evaluate(step), point) == 0
    step[..., -1] = 0.51
    assert missed_ahead(of, point, step, _decrement(of, point, step), 0.1) > 0
    assert loss_after_long_step(of, of.evaluate(step), point) > 0


def test_every_model_has_its_own_next_step():
    """One that has no Newton direction is asked with what its curvature solves."""
    of = wide(0, 2)
    of = replace(of, reg_strength=of.reg_strength.repeat(2))
    state = LBFGS().init(of, of.zeros(), 0.1)
    rule, every = StoppingRule(of, 0.1, 100, True), torch.ones(2, dtype=torch.bool)
    wanted = rule._ahead(of, state, every)
    assert (wanted > 0).all()
    for models in ([0], [1], [0, 1]):
        found = rule._ahead(of, with_newton_directions(of, state, models), every)
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("max_iter", [5, 100])
def test_only_models_that_may_stop_are_asked_what_the_next_step_misses(max_iter, monkeypatch):
    """The others take that step, after which they are asked again: the answer costs passes."""
    of, seen = wide(0, 2), []
    of = replace(of, reg_strength=of.reg_strength.repeat(3))
    state, rule = NewtonCholesky().init(of, of.zeros(), 0.1), StoppingRule(of, 0.1, max_iter, True)

    def ahead(self, objective, state, asked):
        seen.append(asked.tolist())
        return torch.zeros_like(state.decrement)

    monkeypatch.setattr(StoppingRule, "_ahead", ahead)
    value = float(state.point.value[0])
    missed = (0.0, 0.009 * value, 0.011 * value)  # below and above ``tol ** 2``
    each = dict.fromkeys(("least", "before", "quiet"), ())
    run = RunState(of, state, (0, 1, 2), (0, 0, 0), first=0, n_iter=5, missed=missed, **each)
    assert rule.after_proof(run, state).missed == missed
    assert seen == [[False, True, max_iter == 5]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tol", [1e-2, 1e-3])
def test_a_short_step_that_is_not_newtons_says_nothing_of_the_next(seed, tol):
    """With two rows of 1e5 deviations small decrements hid twice the minimum."""
    rng = np.random.default_rng([seed, 5])
    X = rng.normal(size=(400, 4))
    y = (3 * X @ rng.normal(size=(4, 4)) + rng.gumbel(size=(400, 4))).argmax(axis=1)
    X[:2] *= 1e5
    options = {"C": 1e9, "fit_intercept": False, "max_iter": 1000}
    model = TorchLogisticClassifier(solver="lbfgs", tol=tol, **options).fit(X, y)
    best = TorchLogisticClassifier(solver="newton-cholesky", tol=1e-8, **options).fit(X, y)

    def value(coef):
        proba = log_softmax(X @ coef.T, axis=1)
        return -proba[np.arange(400), y].sum() + (coef**2).sum() / 2e9

    least = value(best.coef_)
    assert model.converged_
    assert value(model.coef_) - least <= 10 * tol**2 * least


@pytest.mark.parametrize("tol", [0.3, 0.03])
@pytest.mark.parametrize("size", [1e5, 1e6])
def test_a_penalty_that_is_not_smooth_hides_no_long_step_either(size, tol):
    """One entry held the others fifteen minima above the least value, and that was certified."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 7))
    slope = 5 * rng.normal(size=7)
    slope[3] = 10
    y = (X @ slope + 0.3 * rng.logistic(size=3000) > 0).astype(int)
    X[0, 3], y[0] = size, 1
    options = {"C": 3e4, "l1_ratio": 0.1, "penalty_factor": [0, 1, 0, 0, 0, 0, 0]}
    model, best = (TorchLogisticClassifier(tol=t, **options).fit(X, y) for t in (tol, 1e-8))

    def value(fitted):
        w = fitted.coef_[0]
        loss = np.logaddexp(0, np.where(y == 1, -1, 1) * (X @ w + fitted.intercept_)).sum()
        return loss + (0.45 * w[1] ** 2 + 0.1 * abs(w[1])) / 3e4

    assert model.converged_
    assert value(model) - value(best) <= 10 * tol**2 * value(best)


@pytest.mark.parametrize("seed", [131, 155, 158])
def test_a_step_of_conjugate_gradients_may_leave_out_what_is_long(seed):
    """Sixteen rows, two of them large: up to 58 ``tol ** 2`` were left, and certified."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(16, 5)), rng.integers(0, 4, 16)
    y[:4] = range(4)
    X[:2] *= 10 ** rng.uniform(4, 7)
    options = {"C": 1e9, "max_iter": 1000}
    model = TorchLogisticClassifier(solver="newton-cg", tol=1e-4, **options).fit(X, y)
    best = TorchLogisticClassifier(solver="newton-cholesky", tol=1e-7, **options).fit(X, y)

    def value(fitted):
        proba = log_softmax(X @ fitted.coef_.T + fitted.intercept_, axis=1)
        return -proba[np.arange(16), y].sum() + (fitted.coef_**2).sum() / 2e9

    assert model.converged_
    assert value(model) - value(best) <= 10 * model.tol**2 * value(best)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_long_steps_of_rows_with_leverage_are_found_where_a_hessian_is_expensive(seed):
    """Conjugate gradients find them last: such fits ended up to 62 % above the minimum."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(6000, 200))
    y = X @ rng.normal(size=200) + rng.logistic(size=6000) > 0
    X[:2] *= 1e4
    model = TorchLogisticClassifier(C=1e-2, tol=1e-2, solver="lbfgs").fit(X, y)
    exact = TorchLogisticClassifier(C=1e-2, tol=1e-7, solver="newton-cholesky").fit(X, y)

    def value(model):
        logits = model.decision_function(X)
        loss = np.logaddexp(0, np.where(y, -logits, logits)).sum()
        return 1e-2 * loss + (model.coef_**2).sum() / 2

    assert model.converged_
    assert value(model) <= value(exact) * (1 + 10 * 1e-2**2)


@pytest.mark.parametrize("seed", [10, 17])
def test_rows_of_leverage_hide_no_decrement_from_an_older_hessian(seed):
    """Up to 40,000 ``tol ** 2`` were left where such rows had lost their curvature since."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2000, 200))
    y = X @ rng.normal(size=200) + rng.logistic(size=2000) > 0
    X[:3] *= 10 ** rng.uniform(1, 6, (3, 1))
    X *= 10 ** rng.uniform(-3, 3, 200)
    options = {"C": rng.choice([1e-4, 1e-2]), "max_iter": 1000}
    model = TorchLogisticClassifier(solver="lbfgs", tol=rng.choice([0.1, 1e-3, 1e-4]), **options)
    exact = TorchLogisticClassifier(solver="newton-cholesky", tol=1e-7, **options).fit(X, y)
    model.fit(X, y)

    def value(fitted):
        logits = fitted.decision_function(X)
        loss = np.logaddexp(0, np.where(y, -logits, logits)).sum()
        return options["C"] * loss + (fitted.coef_**2).sum() / 2

    assert model.converged_
    assert value(model) <= value(exact) * (1 + 10 * model.tol**2)


@pytest.mark.parametrize("seed", [15, 34, 38])
def test_sparse_rows_of_leverage_hide_no_decrement(seed):
    """Up to 430 ``tol ** 2`` were left, and certified."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4000, 170)) * (rng.random((4000, 170)) < 0.1)
    y = X @ rng.normal(size=170) / 4 + rng.logistic(size=4000) > 1
    X[:5] *= 10 ** rng.uniform(1, 4, (5, 1))
    model = TorchLogisticClassifier(C=1e-2, tol=2e-3).fit(sp.csr_array(X), y)
    exact = TorchLogisticClassifier(C=1e-2, tol=1e-7, solver="newton-cholesky").fit(X, y)

    def value(fitted):
        logits = fitted.decision_function(X)
        loss = np.logaddexp(0, np.where(y, -logits, logits)).sum()
        return 1e-2 * loss + (fitted.coef_**2).sum() / 2

    assert model.converged_
    assert value(model) <= value(exact) * (1 + 10 * model.tol**2)

"""Newton's method by one kernel is Newton's method."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import from_arrays
from skorch_logreg.data.computed_rows import ComputedRows
from skorch_logreg.data.dense import DenseBlock
from skorch_logreg.data.threads import workers
from skorch_logreg.kernels.library import library
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import Objective, hessian_product, inner
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import NewtonCholesky, Outcome, Status, drive, newton
from skorch_logreg.solvers.choose import choose_curvature, choose_solver
from tests.catalogue import CONTAINERS, LOSSES, PENALTIES, objective, parameters


def small(loss, penalty="l2", reg_strength=1.0, container="c-order", fit_intercept=True):
    """One model over rows that are few enough to be formed."""
    of = objective(
        LOSSES[loss], PENALTIES[penalty], CONTAINERS[container],
        reg_strength=(reg_strength,), fit_intercept=fit_intercept,
    )  # fmt: skip
    data = of.data
    return replace(of, data=data.standardised(data.center, data.scale, data.targets, 1))


@pytest.mark.parametrize("penalty", ["l2", "l2-factor"])
@pytest.mark.parametrize("reg_strength", [1e-4, 1.0, 50.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("container", ["c-order", "strided"])
def test_takes_the_same_steps_with_and_without_a_kernel(
    container, penalty, reg_strength, fit_intercept
):
    of = small("binomial", penalty, reg_strength, container, fit_intercept=fit_intercept)
    found = drive(NewtonCholesky(), of, of.zeros(), tol=1e-12, max_iter=50)
    with mock.patch.object(newton, "_compiled_at", return_value=None):
        expected = drive(NewtonCholesky(), of, of.zeros(), tol=1e-12, max_iter=50)
    assert found.status == expected.status == (Status.CONVERGED,)
    assert found.n_iter.tolist() == expected.n_iter.tolist()
    torch.testing.assert_close(found.params, expected.params, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-13, atol=0)
    torch.testing.assert_close(found.logits, of.logits(found.params))


@pytest.mark.skipif(library() is None, reason="no kernels")
@pytest.mark.parametrize("penalty", ["l2", "l2-factor"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_gap_proves_convergence_by_itself(penalty, fit_intercept):
    """Promise 2: no more is left than `duality_gap` says, and it is at most the tolerance."""
    of = small("binomial", penalty, 0.5, fit_intercept=fit_intercept)
    best = drive(NewtonCholesky(), of, of.zeros(), tol=1e-12, max_iter=50)
    tol, steps, n_proven = 1e-3, torch.tensor([7]), 0
    for size in np.geomspace(1e-6, 1e-1, 20):
        moved = best.params + size * parameters(of).sign()
        if not fit_intercept:
            moved[..., -1] = 0.0
        found = newton.proven_at(of, moved, tol, steps)
        left = float((of.evaluate(moved).value - best.value) / best.value)
        if not isinstance(found, Outcome):
            assert left > 1e-3 * tol**2  # a gap is larger than what is left, but not by any factor
            assert torch.equal(found.solved, NewtonCholesky().init(of, moved, tol).solved)
            continue
        assert 0.999 * left - 1e-14 <= float(found.duality_gap) <= tol**2
        assert found.status == (Status.CONVERGED,)
        assert int(found.n_iter) == 7
        assert torch.equal(found.params, moved)
        torch.testing.assert_close(found.value, of.evaluate(moved).value, rtol=1e-13, atol=0)
        n_proven += 1
    assert 0 < n_proven < 20


@pytest.mark.skipif(library() is None, reason="no kernels")
@pytest.mark.parametrize("C", [1e-3, 1e-2])
@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_small_fits_are_proven_by_their_gap(C, tol, n_classes):
    """Where it is within the tolerance, no solver is asked."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    y = np.argmax(X @ rng.normal(size=(5, n_classes)) + rng.gumbel(size=(200, n_classes)), axis=1)
    model = TorchLogisticClassifier(C=C, tol=tol)
    with mock.patch("skorch_logreg.fitting.exact.drive") as drives:
        model.fit(X, y)
    assert not drives.called
    assert model.duality_gap_ <= tol**2


@pytest.mark.skipif(library() is None, reason="no kernels")
def test_steps_without_a_line_search_end_where_the_objective_rises():
    of = small("binomial", reg_strength=1e-3)
    far = of.zeros() + torch.linspace(-30.0, 30.0, of.shape[2])
    taken = [newton.newton_steps(of, far, 1e-12, most) for most in (0, 1, 2, 30)]
    values = [float(of.evaluate(params).value) for params, _ in taken]
    assert values[-1] <= values[0]
    assert [int(n) for _, n in taken[:2]] == [0, 1]
    assert int(taken[-1][1]) < 30
    many = small("binomial")
    pair = replace(many, reg_strength=torch.ones(2, dtype=torch.float64))
    assert newton.newton_steps(pair, pair.zeros(), 1e-12, 5) is None


@pytest.mark.parametrize("loss", LOSSES)
def test_state_is_that_of_the_point(loss):
    of = small(loss, reg_strength=0.3)
    params = parameters(of)
    state = NewtonCholesky().init(of, params, 1.0)
    point = of.evaluate(params)
    torch.testing.assert_close(state.point.value, point.value)
    torch.testing.assert_close(state.point.gradient, point.gradient)
    torch.testing.assert_close(hessian_product(of, point)(state.solved), point.gradient)
    torch.testing.assert_close(state.decrement, inner(point.gradient, state.solved) / 2)


@pytest.mark.skipif(library() is None, reason="no kernels are built")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("is_rough", [False, True])
def test_blocks_of_rows_have_the_step_of_all_rows(n_classes, is_rough):
    """Threads sum their blocks: logits, value, gradient, Hessian row of the intercept and step."""
    generator = torch.Generator().manual_seed(2)
    X = 2 + torch.randn(3000, 12, dtype=torch.float64, generator=generator)
    y = torch.randint(n_classes, (3000,), generator=generator)
    loss = Binomial() if n_classes == 2 else Multinomial(n_classes)
    data = replace(from_arrays(X, y), block_rows=700)
    data = data.standardised(data.center, data.scale, loss.encode(data.targets), loss.n_outputs)
    data.design = None
    of = Objective(data, loss, L2(), torch.full((1,), 0.3, dtype=torch.float64), True)
    params = torch.randn(of.shape, dtype=torch.float64, generator=generator)
    plan = choose_curvature(of).last
    found = newton._compiled_at(of, params, 1e-4, plan, is_rough)
    one = replace(of, data=replace(data, block_rows=None))
    with workers(1):
        assert data.is_split
        assert not one.data.is_split
        expected = newton._compiled_at(one, params, 1e-4, plan, is_rough)
    assert torch.equal(found.point.logits, expected.point.logits)
    fields = ("value", "gradient", *(("intercept_hessian",) if n_classes == 2 else ()))
    pairs = [(getattr(found.point, a), getattr(expected.point, a)) for a in fields]
    rtol = 1e-5 if is_rough else 1e-10
    for a, b in (*pairs, (found.solved, expected.solved)):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * float(b.abs().max()))


@pytest.mark.skipif(library() is None, reason="no kernels are built")
def test_logits_that_are_not_stored_are_computed_without_a_hessian():
    """A later pass would otherwise compute the Hessian again, for the logits of its rows."""
    of = rows_of(3000, 12)
    of = replace(of, data=replace(of.data, stores_logits=False, block_rows=700))
    state = NewtonCholesky().init(of, parameters(of), 1e-4)
    assert isinstance(state.point.logits, ComputedRows)
    with mock.patch.object(DenseBlock, "newton_sums", side_effect=AssertionError):
        torch.testing.assert_close(state.point.logits[0:], of.logits(state.point.params)[0:])


@pytest.mark.skipif(library() is None, reason="no kernels are built")
def test_a_hessian_of_float32_products_is_confirmed_by_an_exact_one():
    of = rows_of(3000, 60)
    rough = NewtonCholesky().init(of, parameters(of), 1e-4)
    exact = NewtonCholesky().init(of, parameters(of), 1.0)
    assert not rough.trusted.any()
    assert rough.is_newton == (False,)
    assert not torch.equal(rough.solved, exact.solved)
    torch.testing.assert_close(rough.solved, exact.solved, rtol=1e-4, atol=1e-5)
    confirmed = NewtonCholesky().confirm(of, rough, [0])
    assert confirmed.is_newton == (True,)
    assert confirmed.trusted.all()
    torch.testing.assert_close(confirmed.decrement, exact.decrement)


def test_small_models_take_the_same_steps_for_weights_and_repeated_rows():
    """Float32 products would round their sums differently, and save nothing."""
    X, y = load_iris(return_X_y=True)
    weighted = TorchLogisticClassifier().fit(X[:100], y[:100], np.full(100, 2.0))
    repeated = TorchLogisticClassifier().fit(np.repeat(X[:100], 2, 0), np.repeat(y[:100], 2))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-12)


@pytest.mark.parametrize("distance", [1e-3, 1e-4, 1e-5])
def test_nearly_collinear_columns_leave_float32_products(distance):
    """Their difference has less curvature than float32 products hold."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(3000, 60, dtype=torch.float64, generator=generator)
    z, X[:, 1] = 3 * X[:, 1], X[:, 0] + distance * X[:, 1]
    y = (z + torch.randn(3000, dtype=torch.float64, generator=generator) > 0).long()
    data = from_arrays(X, y)
    data = data.standardised(data.center, data.scale, Binomial().encode(data.targets), 1)
    of = Objective(data, Binomial(), L2(), torch.full((1,), 1e-12, dtype=torch.float64), True)
    found = drive(NewtonCholesky(), of, of.zeros(), tol=1e-8, max_iter=50)
    with mock.patch.object(newton, "_compiled_at", return_value=None):
        expected = drive(NewtonCholesky(), of, of.zeros(), tol=1e-8, max_iter=50)
    assert found.status == expected.status == (Status.CONVERGED,)
    assert found.n_iter <= expected.n_iter + 3
    torch.testing.assert_close(found.value, expected.value, rtol=1e-11, atol=0)


def test_a_step_that_goes_too_far_is_searched_for():
    """From far out the quadratic model promises what the loss does not keep."""
    of = small("binomial", reg_strength=1e-3)
    state = NewtonCholesky().init(of, parameters(of, size=8.0), 1e-4)
    moved = NewtonCholesky().step(of, state)
    whole = of.evaluate(state.point.params - state.solved)
    assert whole.value > state.point.value > moved.point.value


def test_a_singular_hessian_is_solved_in_its_range():
    """Twice the same column, and one of zeros, without a penalty."""
    of = small("binomial", reg_strength=0.0)
    rows = of.data.design[:, :-1]
    X = torch.cat([rows[:, :2], rows[:, :1], torch.zeros_like(rows[:, :1])], dim=1)
    of = replace(of, data=of.data.recast(X))
    found = drive(NewtonCholesky(), of, of.zeros(), tol=1e-8, max_iter=50)
    assert found.status == (Status.CONVERGED,)
    assert found.params.abs().max() < 100
    torch.testing.assert_close(found.params[..., 0], found.params[..., 2], rtol=0.01, atol=0)


def rows_of(n_rows, n_columns):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n_rows, n_columns, dtype=torch.float64, generator=generator)
    y = (X[:, 0] + torch.randn(n_rows, dtype=torch.float64, generator=generator) > 0).long()
    data = from_arrays(X, y)
    data = data.standardised(data.center, data.scale, Binomial().encode(data.targets), 1)
    return Objective(data, Binomial(), L2(), torch.ones(1, dtype=torch.float64), True)


def test_serves_models_whose_hessian_is_cheap_or_whose_rows_are_few():
    many = objective(LOSSES["binomial"], reg_strength=(1.0, 2.0))
    for of in (many, small("binomial", container="csr"), rows_of(3000, 100)):
        assert choose_solver(of, is_smooth=True) == "newton-cholesky"
    several = replace(rows_of(3000, 100), reg_strength=torch.ones(2, dtype=torch.float64))
    for of in (several, rows_of(30, 2000)):
        assert choose_solver(of, is_smooth=True) == "lbfgs"


@pytest.mark.skipif(library() is None, reason="no kernels are built")
@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_hessian_of_its_start_bounds_the_decrement_after_a_short_step(seed, is_long):
    """Where a logit changes by more than 1/2, the decrement is that of a new Hessian."""
    of = rows_of(3000, 60)
    best = drive(NewtonCholesky(), of, of.zeros(), tol=1e-8, max_iter=50).params
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(of.shape, dtype=torch.float64, generator=generator)
    plan = choose_curvature(of).last
    state = newton._compiled_at(of, best + (0.3 if is_long else 0.01) * noise, 0.1, plan, False)
    if is_long:
        state = replace(state, curvature=plan.build(of, state.point))
    torch.testing.assert_close(state.curvature.solve(state.point.gradient), state.solved)
    found = newton._after_last_hessian(of, state, -state.solved)
    own = plan.build(of, found.point).solve(found.point.gradient)
    exact = inner(found.point.gradient, own) / 2
    change = (found.point.logits - state.point.logits).abs().max()
    assert bool(change > 0.5) == is_long
    if is_long:
        torch.testing.assert_close(found.decrement, exact)
    else:
        assert exact < found.decrement < 2.8 * exact
    assert bool(found.trusted)


@pytest.mark.skipif(library() is None, reason="no kernels are built")
@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-5])
def test_the_last_step_needs_no_hessian(tol):
    of = rows_of(3000, 60)
    with mock.patch.object(newton, "_compiled_at", side_effect=newton._compiled_at) as compiled:
        found = drive(NewtonCholesky(), of, of.zeros(), tol=tol, max_iter=50)
    assert found.status == (Status.CONVERGED,)
    assert compiled.call_count == int(found.n_iter)


@pytest.mark.skipif(library() is None, reason="no kernels are built")
@pytest.mark.parametrize("distance", [1.0, 1e-6])
def test_a_hessian_with_rounded_curvature_is_used_once(distance):
    """Its own rounding would stay hidden: 7,000 ``tol ** 2`` were left, and certified."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(3000, 60, dtype=torch.float64, generator=generator)
    z, X[:, 1] = 3 * X[:, 1], X[:, 0] + distance * X[:, 1]
    y = (z + torch.randn(3000, dtype=torch.float64, generator=generator) > 0).long()
    data = from_arrays(X, y)
    data = data.standardised(data.center, data.scale, Binomial().encode(data.targets), 1)
    of = Objective(data, Binomial(), L2(), torch.full((1,), 1e-12, dtype=torch.float64), True)
    best = drive(NewtonCholesky(), of, of.zeros(), tol=1e-9, max_iter=50).params
    best[0, 0, :2] += torch.tensor([1.0, -1.0]) * 1e-2 / distance
    state = newton._compiled_at(of, best, 1e-4, choose_curvature(of).last, False)
    assert 1e-8 < float(state.decrement / state.point.value) < 1e-4  # so near that a step ends
    assert (state.curvature is None) == (distance < 1)

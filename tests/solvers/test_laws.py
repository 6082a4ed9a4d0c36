"""Every solver reaches what `drive` asks, in single and batched fits (promises 2 and 8)."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from skorch_logreg.curvature import UncorrelatedColumns
from skorch_logreg.objective import hessian_product, inner
from skorch_logreg.objective.line_search import line_search
from skorch_logreg.solvers import (
    LBFGS,
    SOLVERS,
    ProximalNewton,
    Status,
    conjugate_gradient,
    drive,
)
from skorch_logreg.solvers.choose import choose_curvature
from skorch_logreg.solvers.conjugate_gradient import newton_direction
from tests.catalogue import CONTAINERS, LOSSES, PENALTIES, objective, parameters
from tests.catalogue import SOLVERS as INSTANCES

PAIRS = [
    (s, p)
    for s, solver in INSTANCES.items()
    for p, penalty in PENALTIES.items()
    if penalty.smooth or "prox" in solver.requires
]


@pytest.fixture(params=LOSSES.values(), ids=LOSSES.keys())
def loss(request):
    return request.param


@pytest.mark.parametrize(("solver", "penalty"), PAIRS)
@pytest.mark.parametrize("container", ["c-order", "csr", "blocks-of-7", "computed-logits"])
@pytest.mark.parametrize("tol", [1e-4, 1e-7])
def test_reaches_its_tolerance(loss, solver, penalty, container, tol):
    of = objective(loss, PENALTIES[penalty], CONTAINERS[container], reg_strength=(2.0,))
    found = drive(INSTANCES[solver], of, of.zeros(), tol=tol, max_iter=100)
    assert found.status == (Status.CONVERGED,)
    assert float(found.optimality) <= tol
    best = drive(_other(solver, penalty), of, of.zeros(), tol=1e-9, max_iter=300).value
    assert float(found.value - best) <= max(10 * tol**2, 1e-13) * float(best)


def _other(solver, penalty):
    """A second judge: another solver where the penalty allows one."""
    if not PENALTIES[penalty].smooth:
        return ProximalNewton()
    return INSTANCES["newton-cholesky" if solver != "newton-cholesky" else "lbfgs"]


@pytest.mark.parametrize(("solver", "penalty"), PAIRS)
def test_company_does_not_matter(loss, solver, penalty):
    """Promise 8: easy, hard and nearly empty models together, as each alone."""
    strengths = (1e-3, 1.0, 1e3, 0.05)
    of = objective(loss, PENALTIES[penalty], reg_strength=strengths)
    together = drive(INSTANCES[solver], of, of.zeros(), tol=1e-9, max_iter=200)
    for i, reg_strength in enumerate(strengths):
        alone = replace(of, reg_strength=torch.tensor([reg_strength], dtype=torch.float64))
        single = drive(INSTANCES[solver], alone, alone.zeros(), tol=1e-9, max_iter=200)
        torch.testing.assert_close(together.value[i : i + 1], single.value, rtol=1e-13, atol=0)
        if penalty == "lasso" and loss.n_outputs > 1:
            continue  # four classes share a feature's weight in more than one way
        torch.testing.assert_close(together.params[i : i + 1], single.params, rtol=1e-7, atol=1e-7)


def test_a_separable_model_does_not_hold_up_the_others():
    of = objective(reg_strength=(0.0, 1.0), n=5)
    found = drive(LBFGS(), of, of.zeros(), tol=1e-6, max_iter=100)
    assert found.status == (Status.SEPARABLE, Status.CONVERGED)
    assert found.params.isfinite().all()
    assert found.n_iter[0] < found.n_iter[1] + 10


def test_max_iter_and_stop_requests():
    of = objective()
    assert drive(LBFGS(), of, of.zeros(), tol=1e-6, max_iter=0).status == (Status.MAX_ITER,)
    seen = []
    stopped = drive(
        LBFGS(),
        of,
        of.zeros(),
        tol=0.0,
        max_iter=100,
        callback=lambda iterate: seen.append(iterate.n_iter) or len(seen) == 2,
    )
    assert stopped.status == (Status.STOPPED,)
    assert seen == [1, 2]


def test_precision_is_told_from_slowness():
    """A tolerance of zero ends where rounding begins, well before the last iteration."""
    of = objective()
    found = drive(INSTANCES["newton-cholesky"], of, of.zeros(), tol=0.0, max_iter=500)
    assert found.status[0] in (Status.PRECISION, Status.CONVERGED)
    assert found.n_iter[0] < 50


def test_a_start_that_has_converged_is_returned(loss):
    for name, solver in INSTANCES.items():
        of = objective(loss, PENALTIES["lasso" if name == "proximal-newton" else "l2"])
        first = drive(solver, of, of.zeros(), tol=1e-6, max_iter=100)
        again = drive(solver, of, first.params, tol=1e-4, max_iter=100)
        assert again.n_iter.tolist() == [0]
        torch.testing.assert_close(again.params, first.params, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_are_frozen_settings(name):
    solver = SOLVERS[name]()
    assert solver == SOLVERS[name]()
    assert hash(solver) == hash(SOLVERS[name]())


def test_slow_steps_hand_over_to_conjugate_gradients(monkeypatch):
    """Where no exact Hessian is affordable and L-BFGS is slow, Newton-CG proves the end."""
    from skorch_logreg.curvature import UncorrelatedColumns
    from skorch_logreg.solvers import smooth
    from skorch_logreg.solvers.choose import CurvaturePlan

    def poor(objective):
        return CurvaturePlan(UncorrelatedColumns.build, False, lambda m: 1000.0, 0.0)

    monkeypatch.setattr(smooth, "choose_curvature", poor)
    loss = LOSSES["multinomial"]
    of = objective(loss, n=200, reg_strength=(1e-3,))
    found = drive(LBFGS(memory=1), of, of.zeros(), tol=1e-8, max_iter=200)
    monkeypatch.undo()
    best = drive(INSTANCES["newton-cholesky"], of, of.zeros(), tol=1e-9, max_iter=200)
    assert found.status == (Status.CONVERGED,)
    assert float(found.value - best.value) <= 1e-13 * float(best.value)


def test_line_search_of_a_huge_step(loss):
    """Directions a million and 1e41 times too long, and one a million times too short."""
    of = objective(loss, reg_strength=(0.7, 0.7, 0.7))
    point = of.evaluate(parameters(of))
    size = torch.tensor([1e6, 1e-6, 1e41], dtype=torch.float64)
    direction = -point.gradient * size[:, None, None]
    along, start = (
        partial(of.along, point, direction, of.logits(direction)),
        inner(point.gradient, direction),
    )
    value, slope, _ = along(line_search(along, start, point.value, of.rounding))
    assert (value < point.value).all()
    assert (slope.abs() <= 0.31 * start.abs()).all()


@pytest.mark.parametrize("solver", ["newton-cg", "lbfgs", "newton-cholesky"])
@pytest.mark.parametrize("reg_strength", [1.0, 1e-9])
def test_saturated_rows_never_raise_the_objective(loss, solver, reg_strength):
    """Logits of hundreds on the wrong side: no curvature, and directions without measure."""
    of = objective(loss, reg_strength=(reg_strength,), n=40)
    offset = 300 * parameters(objective(loss, n=40)).new_ones(40, 1, of.shape[1])
    offset[::2] *= -1
    offset[..., ::2] *= -1
    of = replace(of, offset=offset)
    state = INSTANCES[solver].init(of, of.zeros(), 1e-3)
    values = [float(state.point.value)]
    for _ in range(20):
        assert float(state.decrement) > 0 or not state.point.gradient.any()
        state = INSTANCES[solver].step(of, state)
        values.append(float(state.point.value))
    assert all(
        after <= before * (1 + 1e-13) for before, after in zip(values, values[1:], strict=False)
    )


@pytest.mark.parametrize("container", ["c-order", "csr", "computed-logits"])
def test_directions_of_a_batch_multiply_the_models_that_need_it(loss, container, monkeypatch):
    """Those that are done early are those of each model alone, and take part no longer."""
    n_columns = 0

    def counted(of, point):
        product = hessian_product(of, point)

        def multiply(vector):
            nonlocal n_columns
            n_columns += len(vector)
            return product(vector)

        return multiply

    monkeypatch.setattr(conjugate_gradient, "hessian_product", counted)
    of = objective(loss, container=CONTAINERS[container], reg_strength=(1e3, 1e-3, 3e2, 1e2), p=20)
    point = of.evaluate(0.1 * parameters(of))

    def directions(models):
        part, at = of.select(models), point.select(models)
        return newton_direction(part, at, UncorrelatedColumns.build(part, at), 1e-7)

    together, (joint, n_columns) = directions(torch.arange(4)), (n_columns, 0)
    alone = [directions(torch.tensor([i])) for i in range(4)]
    assert joint < 1.5 * n_columns
    for found, single in zip(together, map(torch.cat, zip(*alone, strict=True)), strict=True):
        torch.testing.assert_close(found, single, rtol=1e-3, atol=1e-6 * float(single.abs().max()))


def test_no_curvature_is_no_decrement_of_zero(loss):
    """Where the Hessian underflows and the gradient does not, the objective may fall by all."""
    of = objective(loss, reg_strength=(0.0,), n=40)
    curvature = choose_curvature(of).build(of, of.evaluate(of.zeros()))
    sign = torch.ones(40, 1, of.shape[1], dtype=torch.float64)
    sign[..., 1:] = -1  # one class is certain, which is wrong for most rows
    of = replace(of, offset=1e4 * sign)
    point = of.evaluate(of.zeros())
    assert not bool(hessian_product(of, point)(point.gradient).any())
    direction, decrement = newton_direction(of, point, curvature, 1e-3)
    assert float(decrement) > 0.5 * float(point.value)
    assert float(inner(direction, point.gradient)) < 0

"""Value, gradient, products and certificate, against autograd, differences and mpmath."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skorch_logreg.objective import (
    duality_gap,
    duality_gap_nearby,
    feasible_gradient,
    hessian_product,
    inner,
    loss_hessian,
    minimise_intercept,
    output_curvature,
    penalty_diagonal,
)
from tests.catalogue import CONTAINERS, LOSSES, PENALTIES, objective, parameters

# where every coefficient is allowed: the others are infinite a step away
FINITE = {name: penalty for name, penalty in PENALTIES.items() if not penalty.constrains}


@pytest.fixture(params=LOSSES.values(), ids=LOSSES.keys())
def loss(request):
    return request.param


@pytest.fixture(params=FINITE.values(), ids=FINITE.keys())
def penalty(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["intercept", "no-intercept"])
def fit_intercept(request):
    return request.param


@pytest.fixture
def several(loss, penalty, fit_intercept):
    """Three models that differ in strength, one of them without penalty."""
    return objective(loss, penalty, reg_strength=(0.0, 0.7, 20.0), fit_intercept=fit_intercept)


def test_gradient(several):
    params, direction = parameters(several), parameters(several, seed=2)
    h = 1e-6
    change = several.evaluate(params + h * direction).value
    change = change - several.evaluate(params - h * direction).value
    point = several.evaluate(params)
    slope = inner(point.gradient, direction)
    if not several.penalty.smooth:
        coef, move = params[..., :-1], direction[..., :-1]
        ahead = several.penalty.value(coef + h * move)
        behind = several.penalty.value(coef - h * move)
        smooth = inner(several.penalty.value_gradient(coef)[1], move)
        change = change - several.reg_strength * (ahead - behind - 2 * h * smooth)
    torch.testing.assert_close(slope, change / (2 * h), rtol=1e-7, atol=1e-6)


def test_hessian_product_is_the_difference_of_gradients(several):
    params, direction = parameters(several), parameters(several, seed=2)
    point = several.evaluate(params)
    h = 1e-5
    ahead = several.evaluate(params + h * direction).gradient
    behind = several.evaluate(params - h * direction).gradient
    product = hessian_product(several, point)(direction)
    torch.testing.assert_close(product, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-6)


def test_gram_is_the_hessian_of_the_loss(several):
    params = parameters(several)
    point = several.evaluate(params)
    gram = loss_hessian(several, point)
    direction = parameters(several, seed=2)
    product = torch.einsum("mkplq,mlq->mkp", gram, direction)
    if not several.fit_intercept:
        product[..., -1] = 0.0
    pull = penalty_diagonal(several, params) * direction
    torch.testing.assert_close(product + pull, hessian_product(several, point)(direction))


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_hessian_of_saturated_classes_is_relatively_exact(container):
    """Where a probability rounds to one, ``diag(p) - p p'`` must not be the difference of both."""
    of = objective(LOSSES["multinomial"], container=container, reg_strength=(0.0,))
    params = parameters(of)
    params[:, 0, -1] += 60.0
    point = of.evaluate(params)
    z = point.logits[0:][:, 0].numpy().astype(np.longdouble)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    assert (1 - p.max(axis=1) < 1e-14).all()
    curvature = -p[:, :, None] * p[:, None, :]
    for k in range(p.shape[1]):
        curvature[:, k, k] = p[:, k] * np.delete(p, k, axis=1).sum(axis=1)
    eye = torch.eye(of.shape[2], dtype=torch.float64)[:, None, None]
    rows = torch.cat([of.logits(e.expand(of.shape))[0:] for e in eye], dim=1)[..., 0]
    rows, weight = (a.numpy().astype(np.longdouble) for a in (rows, of.row_weight()[:, 0]))
    expected = np.einsum("i,ikl,ij,ig->kjlg", weight, curvature, rows, rows)
    found = loss_hessian(of, point)[0].numpy()
    scale = np.sqrt(np.einsum("kjkj->kj", expected))
    np.testing.assert_array_less(abs(found - expected), 1e-12 * np.multiply.outer(scale, scale))
    direction = parameters(of, seed=2)
    image = np.einsum("kjlg,lg->kj", expected, direction[0].numpy().astype(np.longdouble))
    product = hessian_product(of, point)(direction)[0].numpy()
    reach = np.sqrt(np.einsum("kj,kjlg,lg->", direction[0], expected, direction[0]))
    np.testing.assert_array_less(abs(product - image), 1e-12 * scale * float(reach))


def test_line_agrees_with_evaluation(several):
    params, direction = parameters(several), parameters(several, seed=2)
    point = several.evaluate(params)
    moved, change = several.move(point, direction), several.logits(direction)
    step = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    value, slope, curvature = several.along(point, direction, change, step)
    there = several.evaluate(params + step[:, None, None] * direction)
    torch.testing.assert_close(value, there.value)
    torch.testing.assert_close(slope, inner(there.gradient, direction))
    bend = inner(hessian_product(several, there)(direction), direction)
    torch.testing.assert_close(curvature, bend)
    torch.testing.assert_close(moved.value, several.evaluate(params + direction).value)


def test_best_intercept(loss, penalty):
    of = objective(loss, penalty, reg_strength=(0.5, 3.0))
    params = parameters(of, size=3.0)
    moved, logits = minimise_intercept(of, params, of.logits(params))
    point = of.at_logits(moved, logits)
    torch.testing.assert_close(logits, of.logits(moved))
    assert point.gradient[..., -1].abs().max() < 1e-12
    assert (moved[..., :-1] == params[..., :-1]).all()


def test_what_does_not_read_the_rows(several):
    """The best intercept is found from the logits, and costs no pass over X."""
    params = parameters(several)
    point = several.evaluate(params)
    assert point.logits.dtype is several.logits_dtype
    before = several.data.n_passes
    minimise_intercept(several, params, point.logits)
    weight = several.row_weight()
    assert several.data.n_passes == before
    expected = several.data.weight.expand_as(weight)
    torch.testing.assert_close(weight, expected)


def test_prior_is_the_best_without_coefficients(loss):
    """The logarithms of the classes' weights, centred over the classes."""
    of = objective(loss, reg_strength=(0.5, 3.0))
    params = of.zeros()
    params[..., -1] = of.prior()
    point = of.evaluate(params)
    assert point.gradient[..., -1].abs().max() < 1e-12
    if loss.n_outputs > 1:
        assert params[..., -1].sum(dim=1).abs().max() < 1e-14


def test_an_offset_is_added_and_taken_off(loss):
    plain = objective(loss)
    offset = 3.0 + parameters(plain).new_ones(plain.data.n_samples, 1, 1).cumsum(dim=0)
    of, params = replace(plain, offset=offset), parameters(plain)
    logits = plain.logits(params)
    for one, expected in ((plain, logits), (of, logits + offset)):
        torch.testing.assert_close(one.with_offset(logits), expected)
        torch.testing.assert_close(one.evaluate(params).logits, expected)
        torch.testing.assert_close(one.without_offset(expected), logits)
        torch.testing.assert_close(one.logits(params), logits)


def test_best_intercept_of_a_rare_class():
    """From zero to log(1e-6), where an unguarded Newton step overshoots."""
    loss = LOSSES["binomial"]
    of = objective(loss)
    of.data.targets[:] = 1.0
    of.data.targets[0] = -1.0
    of.data.weight[0] = 1e-6
    params, _ = minimise_intercept(of, of.zeros(), of.logits(of.zeros()))
    odds = of.data.weight[0] / of.data.weight[1:].sum()
    torch.testing.assert_close(params[0, 0, -1:], odds.log(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())
def test_duality_gap_is_above_the_gap_and_small_at_the_optimum(loss, penalty):
    """Promise 2: never below the true gap."""
    from skorch_logreg.solvers import LBFGS, ProximalNewton, drive

    of = objective(loss, penalty)
    solver = LBFGS() if penalty.smooth else ProximalNewton()
    best = drive(solver, of, of.zeros(), tol=1e-7, max_iter=200)
    assert float(best.duality_gap) < 1e-11
    for size in (1e-6, 1e-3, 0.3):
        params = best.params + parameters(of, size=size)
        params[..., :-1] = penalty.feasible(params[..., :-1], best.params[..., :-1])
        params, logits = minimise_intercept(of, params, of.logits(params))
        point = of.at_logits(params, logits)
        truth = point.value - best.value
        gap = duality_gap(of, point)
        assert float(gap) >= float(truth) * (1 - 1e-9)
    assert float(gap) < 1e3 * float(truth)


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-4])
def test_feasible_gradient_gives_a_bound_that_is_nearly_that_of_the_best_intercept(loss, size):
    """Promise 2: a bound all the same, at a third of the passes."""
    from skorch_logreg.solvers import NewtonCholesky, drive

    of = objective(loss, reg_strength=(0.5, 3.0))
    best = drive(NewtonCholesky(), of, of.zeros(), tol=1e-10, max_iter=50)
    point = of.evaluate(best.params + parameters(of, size=size))
    gradient, _ = feasible_gradient(of, point)
    assert (gradient[..., -1].abs() <= 1e-9 * point.gradient[..., -1].abs() + 1e-13).all()
    bound = duality_gap_nearby(of, point)
    assert (bound >= (point.value - best.value) * (1 - 1e-6) - 1e-13 * point.value).all()
    params, logits = minimise_intercept(of, point.params, point.logits)
    moved = of.at_logits(params, logits)
    other = duality_gap(of, moved) + (point.value - moved.value)
    torch.testing.assert_close(bound, other, rtol=5e-3, atol=1e-12)


@pytest.mark.parametrize("size", [1e-4, 5e-4])
def test_excess_is_what_the_intercepts_lack(loss, size):
    """Where the penalty leaves nothing but intercepts the bound is theirs, and tight."""
    from skorch_logreg.solvers import NewtonCholesky, drive

    of = objective(loss, reg_strength=(1e7,))
    best = drive(NewtonCholesky(), of, of.zeros(), tol=1e-12, max_iter=50)
    shift = torch.zeros_like(best.params)
    shift[..., 0, -1] = size
    point = of.evaluate(best.params + shift - shift.mean(dim=1, keepdim=True) * (len(shift[0]) > 1))
    excess = duality_gap_nearby(of, point)
    truth = point.value - best.value
    assert (excess >= truth * (1 - 1e-5)).all()
    assert (excess <= truth * 1.002).all()


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_what_is_feasible_does_not_depend_on_the_unit_of_weights(loss, size):
    """What is left of the residuals' sum is measured by the value."""
    of = objective(loss, reg_strength=(0.5 * size, 3.0 * size))
    of.data.weight.mul_(size)
    params = 0.1 * parameters(of)
    params, _ = minimise_intercept(of, params, of.logits(params))
    for shift in (1e-3, 1e-8):
        params[:, 0, -1] += shift
        gradient, step = feasible_gradient(of, of.evaluate(params))
        assert step.isfinite().all()
        assert (gradient[..., -1].abs() <= 1e-12 * size).all()


def test_feasible_gradient_says_where_it_is_none(loss):
    of = objective(loss, reg_strength=(0.5, 3.0))
    params = of.zeros()
    params[1, 0, -1] = 3.0
    point = of.evaluate(params)
    assert feasible_gradient(of, point)[1][1].isinf().all()
    assert duality_gap_nearby(of, point) is None
    assert duality_gap(of, point)[1].isinf()


def test_no_bound_without_penalty(loss):
    of = objective(loss, reg_strength=(0.0,))
    assert duality_gap(of, of.evaluate(of.zeros())).isinf().all()


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_containers_agree(loss, container):
    """Promise 7."""
    dense, other = objective(loss), objective(loss, container=container)
    params = parameters(dense)
    a, b = dense.evaluate(params), other.evaluate(params)
    torch.testing.assert_close(a.value, b.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(a.gradient, b.gradient, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(a.logits, b.logits[0:], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(duality_gap(dense, a), duality_gap(other, b), rtol=1e-9, atol=0)
    image, found = (hessian_product(*each)(params) for each in ((dense, a), (other, b)))
    torch.testing.assert_close(found, image, rtol=1e-10, atol=1e-10)
    curvature = output_curvature(dense, a)
    torch.testing.assert_close(output_curvature(other, b)[0:], curvature, rtol=1e-10, atol=1e-12)


def test_company_does_not_matter(several):
    """Promise 8: what a batch computes is what each model computes alone."""
    params = parameters(several)
    together = several.evaluate(params)
    for i in range(3):
        reg_strength = several.reg_strength[i : i + 1]
        alone = replace(several, reg_strength=reg_strength).evaluate(params[i : i + 1])
        torch.testing.assert_close(alone.value, together.value[i : i + 1])
        torch.testing.assert_close(alone.gradient, together.gradient[i : i + 1])


@pytest.mark.parametrize("container", ["c-order", "csr", "blocks-of-7"])
@pytest.mark.parametrize("loss", ["binomial", "soft-binomial"])
def test_the_last_point_brings_along_what_its_dual_bound_needs(loss, container):
    of = objective(LOSSES[loss], container=CONTAINERS[container], reg_strength=(0.5, 2.0))
    before, direction = of.evaluate(of.zeros()), parameters(of)
    plain, last = of.move(before, direction), of.move(before, direction, last=True)
    for name in ("params", "logits", "value", "gradient"):
        torch.testing.assert_close(getattr(last, name), getattr(plain, name))
    assert plain.intercept_hessian is None
    torch.testing.assert_close(
        last.intercept_hessian, hessian_product(of, plain)(_unit_intercepts(of))
    )
    reads = of.data.n_passes
    bound = feasible_gradient(of, last)
    assert of.data.n_passes == reads
    for part, expected in zip(bound, feasible_gradient(of, plain), strict=True):
        torch.testing.assert_close(part, expected)
    index = torch.tensor([1])
    torch.testing.assert_close(last.select(index).intercept_hessian, last.intercept_hessian[index])


@pytest.mark.parametrize("offset", [None, 0.5])
def test_only_one_output_with_an_intercept_brings_it_along(loss, fit_intercept, offset):
    of = objective(loss, reg_strength=(0.5, 2.0), fit_intercept=fit_intercept)
    if offset is not None:
        of = replace(of, offset=of.zeros().new_full((of.data.n_samples, 1, 1), offset))
    params = parameters(of)
    plain, last = of.evaluate(params), of.evaluate(params, last=True)
    assert (last.intercept_hessian is not None) == (fit_intercept and loss.n_outputs == 1)
    for name in ("logits", "value", "gradient"):
        torch.testing.assert_close(getattr(last, name), getattr(plain, name))


def _unit_intercepts(of):
    unit = of.zeros()
    unit[..., -1] = 1.0
    return unit

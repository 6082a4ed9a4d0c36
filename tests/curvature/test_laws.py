"""What every curvature owes: exact ones invert the Hessian, all are positive definite."""

import pytest
import torch

from skorch_logreg.curvature import ClassBlocks, DualHessian, ExactHessian, RoughHessian
from skorch_logreg.curvature.cholesky import scaled_cholesky
from skorch_logreg.curvature.classes import thin
from skorch_logreg.objective import hessian_product, inner
from tests.catalogue import CONTAINERS, CURVATURES, LOSSES, PENALTIES, objective, parameters

FLOAT32 = ("classes", "classes-sample", "rough", "rough-sample")


@pytest.fixture(params=LOSSES.values(), ids=LOSSES.keys())
def loss(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["intercept", "no-intercept"])
def fit_intercept(request):
    return request.param


@pytest.mark.parametrize("build", [ExactHessian.build, DualHessian.build], ids=["exact", "dual"])
@pytest.mark.parametrize("container", ["c-order", "f-order", "csr"])
@pytest.mark.parametrize("penalty", ["l2", "l2-factor"])
def test_exact_ones_invert_the_hessian(loss, build, container, penalty, fit_intercept):
    of = objective(
        loss,
        PENALTIES[penalty],
        CONTAINERS[container],
        reg_strength=(0.7, 5.0),
        fit_intercept=fit_intercept,
        n=30,
    )
    point = of.evaluate(parameters(of))
    curvature = build(of, point)
    gradient = point.gradient
    back = hessian_product(of, point)(curvature.solve(gradient))
    torch.testing.assert_close(back, gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("container", ["c-order", "f-order", "strided", "blocks-of-7", "csr"])
def test_a_rough_one_nearly_inverts_the_hessian(loss, container, fit_intercept):
    """What it gets wrong is what a step leaves: some thousandths, of all rows."""
    of = objective(
        loss, container=CONTAINERS[container], reg_strength=(2.0,), fit_intercept=fit_intercept
    )
    point = of.evaluate(parameters(of))
    back = hessian_product(of, point)(RoughHessian.build(of, point).solve(point.gradient))
    left = back - point.gradient
    exact = ExactHessian.build(of, point)
    left, all_ = inner(left, exact.solve(left)), inner(point.gradient, exact.solve(point.gradient))
    assert (left <= 0.01**2 * all_).all()


@pytest.mark.parametrize("name", CURVATURES)
@pytest.mark.parametrize("container", ["c-order", "csr"])
def test_all_are_symmetric_and_positive(loss, name, container, fit_intercept):
    of = objective(
        loss, container=CONTAINERS[container], reg_strength=(0.7, 5.0), fit_intercept=fit_intercept
    )
    point = of.evaluate(parameters(of))
    curvature = CURVATURES[name](of, point)
    a, b = point.gradient, of.evaluate(parameters(of, seed=3)).gradient
    solved_a, solved_b = curvature.solve(a), curvature.solve(b)
    assert (inner(a, solved_a) > 0).all()
    size = (inner(a, solved_a) * inner(b, solved_b)).sqrt()
    rounding = 1e-5 if name in FLOAT32 else 1e-9
    assert ((inner(a, solved_b) - inner(b, solved_a)).abs() <= rounding * size).all()
    if not fit_intercept:
        assert (solved_a[..., -1] == 0).all()


@pytest.mark.parametrize("name", CURVATURES)
def test_selected_models_keep_theirs(loss, name):
    of = objective(loss, reg_strength=(0.7, 5.0, 0.1))
    point = of.evaluate(parameters(of))
    curvature = CURVATURES[name](of, point)
    models = torch.tensor([2, 0])
    part = curvature.select(models)
    torch.testing.assert_close(
        part.solve(point.gradient[models]), curvature.solve(point.gradient)[models]
    )


@pytest.mark.parametrize("name", CURVATURES)
def test_models_alone_have_the_same(loss, name):
    """Promise 8: a model's curvature does not depend on the other models of the batch."""
    of = objective(loss, reg_strength=(0.7, 5.0))
    point = of.evaluate(parameters(of))
    together = CURVATURES[name](of, point).solve(point.gradient)
    if name == "mixed":  # the first model is the one with a Hessian of its own
        return
    for i in range(2):
        model = torch.tensor([i])
        alone = CURVATURES[name](of.select(model), point.select(model))
        torch.testing.assert_close(alone.solve(point.gradient[model]), together[model])


def test_thinned_weights_have_the_sums_of_all():
    """Few rows have the sums over any group of many, and those of great weight are kept."""
    weight = torch.rand(3, 20_000, generator=torch.Generator().manual_seed(0)) ** 20
    place = (torch.arange(20_000, dtype=torch.float64) * 0.6180339887498949).frac().float()
    least = weight.sum(dim=1, keepdim=True) / 2000
    thinned = weight.clone()
    thin(thinned, least, place)
    assert ((thinned > 0).sum(dim=1) <= 2100).all()
    large = weight >= least
    assert large.any()
    assert (thinned[large] == weight[large]).all()
    for group in (slice(None), slice(0, 5000), slice(3, None, 7)):
        part, whole = thinned[:, group].sum(dim=1), weight[:, group].sum(dim=1)
        assert ((part / whole - 1).abs() <= 0.05).all()


def test_shared_is_exact_where_all_rows_weigh_alike():
    """At zero every row of a balanced problem has the same curvature."""
    of = objective(LOSSES["binomial"], PENALTIES["l2-factor"], reg_strength=(0.0, 0.7, 50.0))
    point = of.evaluate(of.zeros())
    exact = ExactHessian.build(of, point).solve(point.gradient)
    shared = CURVATURES["shared"](of, point).solve(point.gradient)
    torch.testing.assert_close(shared, exact, rtol=1e-9, atol=1e-9)


def test_shared_follows_the_models():
    of = objective(LOSSES["binomial"], reg_strength=(0.7,))
    far = of.evaluate(20 * parameters(of))
    shared = CURVATURES["shared"](of, of.evaluate(of.zeros()))
    followed = shared.at(far)
    torch.testing.assert_close(followed.weight, CURVATURES["shared"](of, far).weight)
    assert (followed.weight < 0.5 * shared.weight).all()


def test_partial_ones_are_close_on_easy_data(loss):
    """Conjugate gradients need a handful of products, not one a coefficient."""
    from skorch_logreg.solvers.conjugate_gradient import newton_direction

    of = objective(loss, n=300)
    point = of.evaluate(parameters(of))
    exact = ExactHessian.build(of, point)
    truth = inner(point.gradient, exact.solve(point.gradient)) / 2
    for name in CURVATURES:
        curvature = CURVATURES[name](of, point)
        # of a step, which is solved to a residual, and where it decides about convergence
        deciding = float((1.5 * truth / point.value).max().sqrt())
        for tol, rtol in ((1e-4, 0.1), (deciding, 0.03)):
            before = of.data.n_passes
            _, decrement = newton_direction(of, point, curvature, tol)
            assert of.data.n_passes - before <= 25, name
            torch.testing.assert_close(decrement, truth, rtol=rtol, atol=0)


@pytest.mark.parametrize("penalty", ["l2", "l2-factor"])
def test_blocks_of_another_strength_are_those_built_with_it(loss, penalty, fit_intercept):
    def built(reg_strength):
        of = objective(
            loss, PENALTIES[penalty], reg_strength=(reg_strength,), fit_intercept=fit_intercept
        )
        point = of.evaluate(parameters(of))
        return of, point, ClassBlocks.build(of, point)

    *_, blocks = built(20.0)
    for reg_strength in (7.0, 2.0, 0.5):
        of, point, truth = built(reg_strength)
        blocks = blocks.at_strength(of, point)
        torch.testing.assert_close(
            blocks.solve(point.gradient), truth.solve(point.gradient), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("container", ["c-order", "computed-logits"])
def test_blocks_in_the_memory_of_others_are_new_ones(container):
    of = objective(LOSSES["multinomial"], container=CONTAINERS[container], n=300)
    point, other = of.evaluate(parameters(of)), of.evaluate(-parameters(of))
    before, truth = ClassBlocks.build(of, other), ClassBlocks.build(of, point, 20)
    found = ClassBlocks.build(of, point, 20, before=before)
    for blocks in (found, before):  # those of an earlier state are valid, too
        assert torch.equal(blocks.solve(point.gradient), truth.solve(point.gradient))
    assert found.factor.data_ptr() == before.factor.data_ptr()


def test_singular_matrices_are_factored():
    """Duplicated columns and a zero one: the solution is finite and solves the system."""
    root = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    root[:, 4], root[:, 5] = root[:, 0], 0.0
    scales = torch.logspace(-8, 8, 6, dtype=torch.float64)
    matrix = ((root * scales).T @ (root * scales))[None]
    rhs = matrix @ torch.ones(6, 1, dtype=torch.float64)
    factor, scale, _ = scaled_cholesky(matrix)
    solved = torch.cholesky_solve(rhs * scale[..., None], factor) * scale[..., None]
    assert solved.isfinite().all()
    ratio = (matrix @ solved) / rhs.abs().clamp(min=1e-300)
    torch.testing.assert_close(ratio, rhs.sign(), rtol=1e-4, atol=1e-4)

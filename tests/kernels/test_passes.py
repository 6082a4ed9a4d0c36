"""Kernels compute what torch computes, to rounding, for every kind of rows that they take."""

import math
from unittest import mock

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.curvature import ExactHessian
from skorch_logreg.data import dense, from_arrays
from skorch_logreg.kernels import passes, products
from skorch_logreg.kernels.library import library
from skorch_logreg.kernels.logits import weighted_loss
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import Objective
from skorch_logreg.objective.hessian import hessian_product, loss_hessian
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import NewtonCholesky, newton
from tests.kernels.compiler import without_kernels

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels are built")

ROWS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "fortran": np.asfortranarray,
    "fortran float32": lambda X: np.asfortranarray(X, dtype=np.float32),
    "every second row and column": lambda X: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "columns of a wider array": lambda X: np.hstack([X, X])[:, : X.shape[1]],
    "csr": sp.csr_array,
    "csr with 64 bit indices": lambda X: with_indices(sp.csr_array(X), np.int64),
    "csr with unsorted, duplicate entries": lambda X: untidy(sp.csr_array(X)),
}
SHAPES = [(1, 1), (1, 40), (7, 1), (130, 3), (700, 17), (300, 600), (3, 2500)]


def with_indices(X, kind):
    return sp.csr_array((X.data, X.indices.astype(kind), X.indptr.astype(kind)), shape=X.shape)


def untidy(X):
    """The same matrix, with every entry in two halves and the rows back to front."""
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))[::-1]
    rows, columns, halves = (np.tile(a, 2) for a in (rows, X.indices[::-1], X.data[::-1] / 2))
    order = np.argsort(rows, kind="stable")
    return sp.csr_array((halves[order], columns[order], 2 * X.indptr), shape=X.shape)


def problem(shape, sparse, weighted, seed=0):
    """Rows near zero and not, weights of zero among them, and logits from small to saturated."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=shape) + rng.normal(size=shape[1])
    X = np.where(rng.random(shape) < 0.3, X, 0.0) if sparse else X
    weight = rng.exponential(size=shape[0]) * (rng.random(shape[0]) < 0.8) if weighted else None
    before = torch.from_numpy(rng.normal(size=(shape[0], 1, 1)) * 10.0 ** rng.uniform(-2, 3))
    return X, rng.integers(0, 2, shape[0]), weight, before


def sums(objective, before, columns):
    """Everything that kernels compute, and the sum of the sizes of its terms."""
    data = objective.data
    rng = np.random.default_rng(1)
    params = torch.from_numpy(rng.normal(size=(1, 1, data.n_features + 1)))
    params /= data.n_features**0.5
    start = objective.evaluate(params, last=True)
    point = objective.move(objective.at_logits(params, before), params / 3, last=True)
    hessian = hessian_product(objective, point)(params)
    some = torch.from_numpy(columns)
    grams = loss_hessian(objective, point), loss_hessian(objective, point, some)
    squares = data.reduce(lambda block: (block.deviations(block.weight[:, 0]),))
    return (
        *(a for p in (start, point) for a in (p.logits, p.value, p.gradient)),
        start.intercept_hessian,
        point.intercept_hessian,
        hessian,
        *grams,
        *squares,
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_equal_torch_to_rounding(shape, rows, weighted):
    X, y, weight, before = problem(shape, "csr" in rows, weighted)
    rng = np.random.default_rng(2)
    center, scale = (torch.from_numpy(a) for a in (rng.normal(size=shape[1]), rng.random(shape[1])))
    data = from_arrays(ROWS[rows](X), y, weight)
    loss = Binomial()
    data = data.standardised(center, scale + 0.5, loss.encode(data.targets))
    objective = Objective(data, loss, L2(), torch.ones(1, dtype=torch.float64), True)
    columns = rng.permutation(shape[1])[: max(shape[1] // 2, 1)]
    with without_kernels():
        wanted = sums(objective, before, columns)
    found = sums(objective, before, columns)
    for a, b in zip(found, wanted, strict=True):
        # the terms of these sums are no larger than this, each
        size = b.abs().max() + (0 if weight is None else weight.sum()) + shape[0]
        assert (a - b).abs().max() <= 1e-13 * size


def test_kernels_take_these_rows():
    """Otherwise the test above would compare torch with torch."""
    X = np.ones((6, 4))
    for rows, convert in ROWS.items():
        X_kind = convert(X)
        X_kind = X_kind if sp.issparse(X_kind) else torch.from_numpy(X_kind)
        assert passes.is_supported(X_kind) == (rows != "every second row and column")
    gaps = sp.csr_array(X)
    gaps.data = np.repeat(gaps.data, 2)[::2]
    assert not passes.is_supported(gaps)
    for refused in (torch.ones(6, 4, dtype=torch.float16), torch.ones(6, 4, dtype=torch.int64)):
        assert not passes.is_supported(refused)


LOGITS = [0.0, 1e-300, 1e-17, 1e-8, 0.3, 0.88, 0.8813735870195429, 1.0, 5.0, 36.7, 37.5, 100.0]
LOGITS += [700.0, 708.3, 709.0, 720.0, 740.0, 745.0, 746.0, 800.0, 1e5, 1e300]


def terms(logits, sign):
    """Loss, residual and second derivative of single rows, whose only entry is the logit."""
    one = torch.ones(1, 1, dtype=torch.float64)
    out, params = torch.empty(1, 1, 1, dtype=torch.float64), one.new_tensor([[[1.0, 0.0]]])
    target = torch.full((1, 1, 1), sign, dtype=torch.float64)
    for logit in logits:
        X = torch.tensor([[logit]], dtype=torch.float64)
        value, gradient, second = passes.logistic_loss(
            X, target, one, params, units=None, logits=out, second=True
        )
        yield value.item(), gradient[0, 0, -1].item(), second[0, 0, -1].item()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_exponential_and_logarithm_are_exact_to_two_units_in_the_last_place(sign):
    logits = [s * z for z in LOGITS for s in (1, -1)]
    logits += np.random.default_rng(0).normal(scale=20, size=300).tolist()
    with mpmath.workdps(400):
        for z, (value, gradient, second) in zip(logits, terms(logits, sign), strict=True):
            margin = mpmath.mpf(z) * sign
            wrong = 1 / (1 + mpmath.exp(-margin))
            exact = mpmath.log1p(mpmath.exp(margin)), wrong * sign, wrong * (1 - wrong)
            for found, wanted in zip((value, gradient, second), exact, strict=True):
                unit = max(np.spacing(abs(float(wanted))), 5e-324)
                assert abs(found - wanted) <= 3 * mpmath.mpf(unit), (z, found, wanted)


def test_numbers_that_are_not_finite_are_found_in_the_sums():
    found = list(terms([np.inf, -np.inf, np.nan], 1.0))
    assert found[0] == (np.inf, 1.0, 0.0)
    assert found[1] == (0.0, 0.0, 0.0)
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize("rows", [rows for rows in ROWS if "csr" in rows])
@pytest.mark.parametrize("width", [1, 2, 9])
def test_products_of_sparse_rows(rows, width):
    X, *_ = problem((60, 23), True, False)
    kind = ROWS[rows](X)
    right, left = (
        torch.from_numpy(np.random.default_rng(3).normal(size=(n, width))) for n in (23, 60)
    )
    assert np.abs(passes.sparse_product(kind, right).numpy() - X @ right.numpy()).max() < 1e-13
    for power in (0, 1, 2):
        entries = kind.copy()
        entries.data **= power
        wanted = entries.toarray().T @ left.numpy()
        found = passes.sparse_transposed_product(kind, left, power).numpy()
        assert np.abs(found - wanted).max() < 1e-13


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["c-order", "fortran", "stored"])
@pytest.mark.parametrize("shape", [(5, 1), (130, 3), (90, 15), (90, 16), (600, 40)], ids=str)
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_a_newton_step_of_dense_rows(n_classes, shape, layout, weighted, fit_intercept):
    X, y, weight, _ = problem(shape, False, weighted)
    y = np.random.default_rng(2).integers(0, n_classes, len(y))
    data = from_arrays(np.asfortranarray(X) if layout == "fortran" else X, y, weight)
    loss = Binomial() if n_classes == 2 else Multinomial(n_classes)
    one = torch.ones(shape[1], dtype=torch.float64)
    with mock.patch.object(dense, "CACHED_ENTRIES", 10**6 if layout == "stored" else 0):
        data = data.standardised(0.3 * one, 1.7 * one, loss.encode(data.targets))
    strength = torch.tensor([0.7], dtype=torch.float64)
    objective = Objective(data, loss, L2(), strength, fit_intercept)
    params = torch.from_numpy(np.random.default_rng(1).normal(size=objective.shape))
    params[..., -1] *= fit_intercept
    with without_kernels():
        wanted = NewtonCholesky().init(objective, params, 10.0)
        border = loss_hessian(objective, wanted.point)[:, 0, -1]
    with mock.patch.object(newton, "_at"):  # it is the kernel that is tested
        found = NewtonCholesky().init(objective, params, 10.0)
    pairs = [
        (getattr(found.point, a), getattr(wanted.point, a)) for a in ("logits", "value", "gradient")
    ]
    pairs += [(found.solved, wanted.solved), (found.decrement, wanted.decrement)]
    if n_classes == 2:
        pairs += [(found.point.intercept_hessian, border)]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12 * float(b.abs().max()))
    assert torch.equal(found.trusted, wanted.trusted)


def test_a_newton_step_without_a_factor_is_left_to_torch():
    X = np.repeat([[1.0, 1.0], [-1.0, -1.0]], 10, axis=0)
    data, one = from_arrays(X, np.arange(20) % 2), torch.ones(2, dtype=torch.float64)
    data = data.standardised(0 * one, one, Binomial().encode(data.targets))
    params = torch.zeros(1, 1, 3, dtype=torch.float64)
    sums = data.whole.newton_sums("logistic", params, data.empty_rows(1, 1), is_rough=False)
    assert passes.newton_step(sums, params, 0 * params, shift=0.0, fit_intercept=True) is None


@pytest.mark.parametrize("own_targets", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("shape", [(5, 1), (130, 3), (90, 16), (600, 40)], ids=str)
def test_newton_steps_of_many_models(shape, fit_intercept, own_targets):
    """Each takes the steps that it would take alone, until its last decrement was small.

    A model with the same targets and weights as the one before begins where that one stopped.
    """
    rng, n_models = np.random.default_rng(3), 5
    X, y, *_ = problem(shape, False, False)
    weight = rng.exponential(size=(len(y), n_models)) * (rng.random((len(y), n_models)) < 0.8)
    targets = rng.random((len(y), n_models)).round() if own_targets else y
    weight[:, 3] = weight[:, 2]
    data, one = from_arrays(X, targets, weight), torch.ones(shape[1], dtype=torch.float64)
    loss = Binomial()
    data = data.standardised(0.3 * one, 1.7 * one, loss.encode(data.targets), n_models)
    strength = torch.logspace(-2, 2, n_models, dtype=torch.float64)
    objective = Objective(data, loss, L2(), strength, fit_intercept)
    wanted, wanted_steps = objective.zeros(), []
    with without_kernels():
        for i in range(n_models):
            own = objective.select(torch.tensor([i]))
            first = wanted[[2]] if i == 3 and not own_targets else own.zeros()
            point, ratio, n_steps = own.evaluate(first), math.inf, 0
            while ratio > 1e-5 and n_steps < 4:
                step = ExactHessian.build(own, point).solve(point.gradient)
                ratio = float((point.gradient * step).sum() / 2 / point.value)
                point, n_steps = own.evaluate(point.params - step), n_steps + 1
            wanted[i] = point.params
            wanted_steps.append(n_steps)
    found, n_steps = data.whole.newton_steps(
        "logistic",
        objective.zeros(),
        objective.ridge,
        shift=1e-14,
        fit_intercept=fit_intercept,
        goal=1e-5,
        max_steps=4,
    )
    assert n_steps.tolist() == wanted_steps
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11 * float(wanted.abs().max()))


def test_newton_steps_end_where_the_objective_rises():
    """From far away a Newton step goes too far: the model keeps the parameters before it."""
    weight = np.array([[1.0, 2.0]] * 3)
    data = from_arrays(np.array([[1.0], [-1.0], [1.0]]), np.array([1, 0, 0]), weight)
    one = torch.ones(1, dtype=torch.float64)
    data = data.standardised(0 * one, one, Binomial().encode(data.targets), 2)
    start = torch.tensor([[[6.0, 0.0]], [[0.1, 0.0]]], dtype=torch.float64)
    options = {"shift": 0.0, "fit_intercept": False, "goal": 1e-9, "max_steps": 20}
    ridge = torch.full_like(start, 1e-6)
    found, n_steps = data.whole.newton_steps("logistic", start, ridge, **options)
    assert n_steps[0] == 1
    assert found[0].tolist() == start[0].tolist()
    assert 1 < n_steps[1] < 20
    assert found[1, 0, 0] == pytest.approx(math.log(2), rel=1e-5)


def test_newton_steps_from_where_the_objective_is_no_number():
    """A row of weight 0 whose logit overflows: the model keeps its parameters."""
    X = torch.tensor([[1e308], [1.0], [-1.0], [2.0]], dtype=torch.float64)
    weight = torch.tensor([[0.0], [1.0], [1.0], [1.0]], dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).view(-1, 1, 1)
    start = torch.tensor([[[100.0, 0.0]]], dtype=torch.float64)
    options = {"units": None, "shift": 0.0, "fit_intercept": True, "goal": 1e-9, "max_steps": 5}
    found, n_steps = passes.newton_steps(X, signs, weight, start, torch.ones_like(start), **options)
    assert n_steps.tolist() == [0]
    assert torch.equal(found, start)


def test_sums_of_losses_are_exact_to_the_last_digit():
    """A certificate at the edge of float64 compares two of them."""
    n = 200_001
    rng = np.random.default_rng(0)
    z, weight = rng.normal(size=n), rng.exponential(size=n) * 10.0 ** rng.uniform(-6, 6, size=n)
    logits, sign = torch.from_numpy(z).view(-1, 1, 1), torch.ones(n, 1, 1, dtype=torch.float64)
    factor = torch.from_numpy(weight)[:, None]
    losses = Binomial().value(logits, sign)[:, 0].numpy()
    exact = math.fsum(losses * weight)
    rows, params = (logits[:, :, 0], sign, factor), logits.new_tensor([[[1.0, 0.0]]])
    out = torch.empty_like(logits)
    found = [passes.logistic_loss(*rows, params, units=None, logits=out)[0]]
    for m in (1, 3):
        wide = [
            array.expand(n, m, *array.shape[2:]).contiguous() for array in (logits, sign, factor)
        ]
        found.append(weighted_loss("logistic", *wide)[0])
    assert all(abs(float(v) - exact) <= 4e-16 * exact for value in found for v in value)


def test_chunks_with_and_without_kernels_are_one_fit():
    """The sums of partitions have the same terms, whatever computes them."""

    class Chunks:
        def __init__(self, *parts):
            self.parts = parts

        def __len__(self):
            return len(self.parts)

        def chunk(self, i):
            return self.parts[i]

    X, y, *_ = problem((16_000, 20), False, False)  # too large for a copy
    strided = np.repeat(X[8000:], 2, axis=1)[:, ::2]
    even, mixed = (
        TorchLogisticClassifier(tol=1e-9).fit(Chunks(X[:8000], last), y)
        for last in (X[8000:], strided)
    )
    np.testing.assert_allclose(even.coef_, mixed.coef_, rtol=1e-8)


@pytest.mark.parametrize("rows", [name for name in ROWS if "csr" in name])
def test_last_rows_of_a_sparse_gram(rows):
    """They are those of the whole matrix, whatever the order of the columns."""
    X, _, _, _ = problem((130, 12), sparse=True, weighted=False)
    weight = torch.from_numpy(np.random.default_rng(2).exponential(size=130))
    columns = torch.tensor([7, 2, 11, 0, 5])
    whole = passes.sparse_gram(ROWS[rows](X), weight, columns)
    found = passes.sparse_gram(ROWS[rows](X), weight, columns, 3)
    torch.testing.assert_close(found[:-1], whole[3:-1], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found[-1], whole[-1], rtol=1e-13, atol=1e-13)
    dense = np.column_stack([X[:, columns.numpy()], np.ones(130)])
    torch.testing.assert_close(
        whole, torch.from_numpy(dense.T @ (weight.numpy()[:, None] * dense)), rtol=1e-13, atol=1e-13
    )


def test_a_gram_of_strided_columns():
    X, _, _, _ = problem((130, 80), sparse=False, weighted=False)
    weight = torch.from_numpy(np.random.default_rng(2).exponential(size=130))
    rows, columns = torch.from_numpy(np.ascontiguousarray(X)), torch.arange(80)[1::2]
    found = products.grams(rows, None, weight[:, None], columns)
    assert torch.equal(found, products.grams(rows, None, weight[:, None], columns.clone()))


@pytest.mark.parametrize("rows", [rows for rows in ROWS if "csr" not in rows])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rows_are_written_in_their_units(rows, dtype):
    """To the bits of torch: infinities, NaN and ties of bfloat16 among them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(37, 13)) * 10.0 ** rng.integers(-45, 39, size=(37, 13))
    X[3, :6] = np.inf, -np.inf, np.nan, 1 + 2**-8, 1 + 3 * 2**-8, 0.0
    X = ROWS[rows](X)
    X = torch.from_numpy(X)
    center, unit = X.new_zeros(13, dtype=torch.float64), X.new_ones(13, dtype=torch.float64)
    for scaled in (False, True):
        if scaled:
            center, unit = (torch.from_numpy(rng.normal(size=13)) for _ in range(2))
        out = torch.full((37, 15), 7.0, dtype=dtype)
        assert passes.write_rows(X, center, unit, out[:, 1:14]).shape == (37, 13)
        wanted = (X.double() - center) * unit
        if passes.of_rows(X, "rows") is None or X.stride(1) != 1:  # torch rounds twice
            tolerance = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 1e-37}
        else:
            wanted, tolerance = (
                wanted.float() if dtype == torch.bfloat16 else wanted,
                {"rtol": 0, "atol": 0},
            )
        torch.testing.assert_close(out[:, 1:14], wanted.to(dtype), equal_nan=True, **tolerance)
        assert bool((out[:, [0, 14]] == 7).all())

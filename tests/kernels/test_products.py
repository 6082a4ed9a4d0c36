"""Passes over dense rows with several logits compute what torch computes, to rounding."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from skorch_logreg.data import dense, from_arrays
from skorch_logreg.kernels import products
from skorch_logreg.kernels.library import library
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import Objective
from skorch_logreg.objective.hessian import hessian_product, loss_hessian
from skorch_logreg.penalties import L2
from tests.kernels.compiler import without_kernels
from tests.kernels.test_passes import ROWS

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels are built")

DENSE = [rows for rows in ROWS if "csr" not in rows]
SHAPES = [(1, 1), (1, 40), (7, 0), (7, 1), (130, 3), (700, 17), (300, 600), (3, 2500)]
LOSSES = {
    "two models": (Binomial(), 2),
    "nine models": (Binomial(), 9),
    **{f"{k} classes": (Multinomial(k), 1) for k in (2, 3, 5, 20)},
    "two models of seven classes": (Multinomial(7), 2),
}


def problem(shape, rows, name, *, far=False, stored=False, shared=False):
    """An objective of several logits, whose models share their targets and weights or do not."""
    loss, m = LOSSES[name]
    n_columns = 1 if shared else m
    rng = np.random.default_rng(0)
    X = ROWS[rows](rng.normal(size=shape) + (1e6 if far else rng.normal(size=shape[1])))
    y = rng.integers(0, max(loss.n_outputs, 2), size=(shape[0], n_columns))
    weight = rng.exponential(size=(shape[0], n_columns)) * (rng.random((shape[0], 1)) < 0.8)
    center = torch.from_numpy(np.asarray(X, dtype=np.float64).mean(axis=0))
    scale = torch.from_numpy(rng.random(shape[1]) + 0.5)
    data = from_arrays(X, y, weight)
    with mock.patch.object(dense, "CACHED_ENTRIES", 10**7 if stored else 0):
        data = data.standardised(center, scale, loss.encode(data.targets), m * loss.n_outputs)
    objective = Objective(data, loss, L2(), torch.ones(m, dtype=torch.float64), True)
    if shared:
        offset = torch.from_numpy(rng.normal(size=(shape[0], 1, 1)))
        objective = replace(objective, offset=offset)
    return objective


def sums(objective):
    """All sums of a pass that have a kernel."""
    rng = np.random.default_rng(1)
    params = torch.from_numpy(rng.normal(size=objective.shape))
    params /= max(objective.data.n_features, 1) ** 0.5
    start = objective.evaluate(params)
    point = objective.move(start, params / 3)
    known = objective.at_logits(params, point.logits)
    return (
        *(a for p in (start, point, known) for a in (p.logits, p.value, p.gradient)),
        objective.logits(params),
        hessian_product(objective, point)(params),
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["stored", "near", "far", "shared"])
@pytest.mark.parametrize("rows", DENSE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_equal_torch_to_rounding(shape, rows, kind, name):
    if kind == "far" and "float32" in rows:
        pytest.skip("float32 does not hold such rows")
    options = {option: kind == option for option in ("stored", "far", "shared")}
    objective = problem(shape, rows, name, **options)
    with without_kernels():
        wanted = sums(objective)
    found = sums(objective)
    size = objective.data.weight.sum() + shape[0]
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-13 * (b.abs().max() + size)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["stored", "near", "far"])
@pytest.mark.parametrize("rows", DENSE)
@pytest.mark.parametrize("shape", [(1, 1), (7, 0), (300, 3), (130, 17), (70, 60)], ids=str)
def test_hessians_equal_those_of_torch(shape, rows, kind, name):
    """All columns, or some in any order, of which a tile holds all products or not."""
    if kind == "far" and "float32" in rows:
        pytest.skip("float32 does not hold such rows")
    objective = problem(shape, rows, name, stored=kind == "stored", far=kind == "far")
    params = torch.from_numpy(np.random.default_rng(1).normal(size=objective.shape))
    point = objective.evaluate(params / max(shape[1], 1) ** 0.5)
    chosen = torch.arange(shape[1]).flip(0)[::2]
    for columns in (None, chosen):
        with without_kernels():
            wanted = loss_hessian(objective, point, columns)
        found = loss_hessian(objective, point, columns)
        # the weighted mean of products of two columns, of deviations about one
        limit = 1e-9 if kind == "far" else 1e-13
        torch.testing.assert_close(found, wanted, rtol=0, atol=limit * (shape[0] + 1))


@pytest.mark.parametrize("are_pairs", [False, True])
@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("rows", [rows for rows in DENSE if "second" not in rows])
@pytest.mark.parametrize("shape", [(1, 1), (7, 0), (300, 3), (130, 17), (70, 100)], ids=str)
def test_rough_grams_equal_exact_ones_to_float32(shape, rows, far, are_pairs):
    """Products are float32 numbers, and weights that float32 does not hold are zero."""
    if far and "float32" in rows:
        pytest.skip("float32 does not hold such rows")
    objective = problem(shape, rows, "5 classes", far=far)
    X, units = objective.data.X, (objective.data.center, objective.data.scale)
    seeded = torch.Generator().manual_seed(0)
    factor = 30.0 * torch.randn(len(X), 5, generator=seeded, dtype=torch.float64)
    factor = factor.softmax(dim=-1)
    exact = products.grams(X, units, factor, None, are_pairs=are_pairs)
    rough = products.grams(X, units, factor, None, are_pairs=are_pairs, is_rough=True)
    size = exact.diagonal(dim1=1, dim2=2).amax(dim=1).clamp(min=1e-20)[:, None, None]
    assert 0.0 < (rough - exact).abs().div_(size).max() <= 1e-5


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rows", [rows for rows in DENSE if "second" not in rows])
def test_kernels_take_these_rows(rows, name):
    """Otherwise the test above would compare torch with torch."""
    objective = problem((130, 3), rows, name)
    point = objective.evaluate(objective.zeros())
    block = objective.data.block(slice(0, 130))
    proba = point.logits.softmax(dim=-1)
    for loss in ("logistic", "multinomial"):
        params, logits = objective.zeros(), torch.empty_like(point.logits)
        terms = block.loss_terms(loss, params, logits, None, False)
        assert (terms is not None) == (loss == objective.loss.kernel)
    product = block.hessian_product("multinomial", params, proba)
    several = block._rows_of_several(point.logits[0].numel())
    affine = params[..., :-1], params[..., -1]
    assert product is not None
    assert products.product(*several, affine, logits)
    assert products.transposed_product(*several, logits) is not None
    with mock.patch.object(dense.products, "grams", wraps=products.grams) as grams:
        block.gram(proba, proba if objective.loss.kernel == "multinomial" else None)
    assert grams.call_count == (objective.shape[0] if objective.loss.n_outputs > 1 else 1)


def test_products_of_columns_that_overflow_before_they_are_weighted():
    """Rows of hardly any weight may be far away."""
    X = torch.ones(30, 3, dtype=torch.float64)
    X[-1] = 1e160
    proba = torch.full((30, 3), 0.5, dtype=torch.float64)
    proba[-1] = 1e-158
    assert products.grams(X, None, proba, None, are_pairs=True) is None
    data = from_arrays(X.numpy(), np.arange(30) % 3)
    zeros = torch.zeros(3, dtype=torch.float64)
    block = data.standardised(zeros, zeros + 1, data.targets, 3)
    gram = block.block(slice(0, 30)).gram(proba[:, None], proba[:, None])[0, 0, 0, 1, 0]
    torch.testing.assert_close(gram, zeros[0] - (29 / 4 + 1e4))


def test_blas_takes_coefficients_that_no_cache_holds():
    """Kernels copy them in every thread."""
    objective = problem((3, 2500), "float64", "20 classes")
    block = objective.data.block(slice(0, 3))
    assert block._rows_of_several(20) is not None
    assert block._rows_of_several(60) is None


def test_few_logits_need_no_low_precision():
    """Kernels are as fast in float64, for float64 rows and losses that they compute."""
    for name, rows, is_low in (
        ("5 classes", "float64", False),
        ("5 classes", "float32", True),
        ("20 classes", "float64", True),
    ):
        objective = problem((30_000, 3), rows, name)
        assert objective.low_precision().is_low_precision == is_low
    five = problem((30_000, 3), "float64", "5 classes").data
    assert five.low_precision(has_kernel=True) is five
    assert five.low_precision() is not five

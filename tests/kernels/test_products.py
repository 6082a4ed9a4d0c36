"""Passes over dense rows with several logits compute what torch computes, to rounding."""

from unittest import mock

import numpy as np
import pytest
import torch

from skorch_logreg.data import dense, from_arrays
from skorch_logreg.kernels.library import library
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import Objective
from skorch_logreg.objective.hessian import hessian_product
from skorch_logreg.penalties import L2
from tests.kernels.compiler import without_kernels
from tests.kernels.test_passes import ROWS

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels are built")

DENSE = [rows for rows in ROWS if "csr" not in rows]
SHAPES = [(1, 1), (1, 40), (7, 1), (130, 3), (700, 17), (300, 600), (3, 2500)]
LOSSES = {
    "two models": (Binomial(), 2),
    "nine models": (Binomial(), 9),
    **{f"{k} classes": (Multinomial(k), 1) for k in (2, 3, 5, 20)},
    "two models of seven classes": (Multinomial(7), 2),
}


def problem(shape, rows, name, *, far=False, stored=False):
    """An objective of several logits, whose models have weights and targets of their own."""
    loss, m = LOSSES[name]
    rng = np.random.default_rng(0)
    X = ROWS[rows](rng.normal(size=shape) + (1e6 if far else rng.normal(size=shape[1])))
    y = rng.integers(0, max(loss.n_outputs, 2), size=(shape[0], m))
    weight = rng.exponential(size=(shape[0], m)) * (rng.random((shape[0], m)) < 0.8)
    center = torch.from_numpy(np.asarray(X, dtype=np.float64).mean(axis=0))
    scale = torch.from_numpy(rng.random(shape[1]) + 0.5)
    data = from_arrays(X, y, weight)
    with mock.patch.object(dense, "CACHED_ENTRIES", 10**7 if stored else 0):
        data = data.standardised(center, scale, loss.encode(data.targets), m * loss.n_outputs)
    return Objective(data, loss, L2(), torch.ones(m, dtype=torch.float64), True)


def sums(objective):
    """All sums of a pass that have a kernel."""
    rng = np.random.default_rng(1)
    params = torch.from_numpy(rng.normal(size=objective.shape))
    params /= objective.data.n_features**0.5
    start = objective.evaluate(params)
    point = objective.move(start, params / 3)
    known = objective.at_logits(params, point.logits)
    products = [objective.logits(params)]
    if objective.shape[0] == 1 or objective.shape[1] == 1:
        products.append(hessian_product(objective, point)(params))
    return (
        *(a for p in (start, point, known) for a in (p.logits, p.value, p.gradient)),
        *products,
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["stored", "near", "far"])
@pytest.mark.parametrize("rows", DENSE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_equal_torch_to_rounding(shape, rows, kind, name):
    if kind == "far" and "float32" in rows:
        pytest.skip("float32 does not hold such rows")
    objective = problem(shape, rows, name, far=kind == "far", stored=kind == "stored")
    with without_kernels():
        wanted = sums(objective)
    found = sums(objective)
    size = objective.data.weight.sum() + shape[0]
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-13 * (b.abs().max() + size)

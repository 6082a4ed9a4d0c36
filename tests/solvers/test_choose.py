"""The cost model: what it picks over a range of shapes, and that it can always be built."""

from functools import partial
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from skorch_logreg.curvature import (
    ClassBlocks,
    DualHessian,
    ExactHessian,
    RoughHessian,
    SharedHessian,
    UncorrelatedColumns,
)
from skorch_logreg.data import low_precision
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import choose
from skorch_logreg.solvers.choose import choose_curvature, newton_samples, sample_sizes

# rows, columns, classes, models, stored entries a row (None: dense)
SHAPES = [
    (150, 4, 3, 1, None),
    (10_000, 50, 2, 1, None),
    (1_000_000, 30, 2, 1, None),
    (10_000_000, 30, 2, 1, None),
    (500_000, 100, 2, 1, None),
    (20_000, 2_000, 2, 1, None),
    (20_000, 10_000, 2, 1, None),
    (500, 20_000, 2, 1, None),
    (60, 7_000, 8, 1, None),
    (100_000, 100, 10, 1, None),
    (20_000, 16, 26, 1, None),
    (50_000, 1_000, 20, 1, None),
    (100_000, 100_000, 2, 1, 50),
    (200_000, 400, 2, 1, 10),
    (30_000, 45_000, 30, 1, 50),
    (50_000, 200, 2, 100, None),
]


def stated(n, p, classes, m, entries):
    """An objective of a shape, without its rows."""
    data = SimpleNamespace(
        n_samples=n,
        n_features=p,
        row_size=5.0 * entries if entries else float(p),
        single_block=n * p <= 1 << 20 or n <= 1024,
    )
    loss = Binomial() if classes == 2 else Multinomial(classes)
    return Objective(data, loss, L2(), torch.ones(m, dtype=torch.float64), True)


def told(model):
    """Say in words what a model is built from."""
    build = model.build
    settings = build.keywords if isinstance(build, partial) else {}
    build = getattr(build, "func", build)
    kind = getattr(build, "__self__", ExactHessian)
    what = {
        ClassBlocks: "block of each class",
        DualHessian: "of rows",
        ExactHessian: "exact",
        RoughHessian: "low precision",
        SharedHessian: "one factorisation",
        UncorrelatedColumns: "uncorrelated columns",
    }[kind].format(**settings)
    if not settings.get("with_means", True):
        what = "diagonal"
    if settings.get("rough"):
        what += ", low precision"
    rows = settings.get("n_rows")
    return what if rows is None else f"{what}, {rows:,} rows"


def chain(model):
    """Names of what is built, one after another; the same in a row once."""
    names = [told(model)]
    while model.fallback is not None:
        model = model.fallback
        if told(model) != names[-1]:
            names.append(told(model))
    return names


def table():
    """Rows of a table of what is chosen with kernels, where bfloat16 is fast."""
    with (
        mock.patch.object(low_precision, "has_fast_bfloat16", return_value=True),
        mock.patch.object(choose, "has_grams", return_value=True),
    ):
        yield ["rows", "columns", "classes", "models", "entries a row", "begins on", "curvature"]
        yield ["---"] * 7
        for shape in SHAPES:
            *counts, entries = shape
            of = stated(*shape)
            sizes = ", ".join(f"{size:,}" for size in sample_sizes(of)) or "all rows"
            cells = [f"{count:,}" for count in counts]
            yield [*cells, str(entries or "dense"), sizes, "; ".join(chain(choose_curvature(of)))]


@pytest.fixture(params=[True, False], ids=["bfloat16", "float32"])
def fast(request, monkeypatch):
    monkeypatch.setattr(low_precision, "has_fast_bfloat16", lambda device: request.param)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_has_a_curvature_with_a_price(shape):
    of = stated(*shape)
    model = choose_curvature(of)
    while model is not None:
        assert 0 < model.cost(1) < float("inf")
        assert 0 < model.cost(1000) < float("inf")
        assert model.max_models() >= 1
        model = model.fallback


@pytest.mark.usefixtures("fast")
def test_what_is_dear_comes_last():
    """Where a chain ends in an exact Hessian, that is the dearest of it."""
    for shape in SHAPES:
        model, prices = choose_curvature(stated(*shape)), []
        while model is not None and not model.is_adaptive:
            prices.append(model.cost(1))
            model = model.fallback
        assert prices == sorted(prices)


@pytest.mark.usefixtures("fast")
def test_blocks_of_classes_come_after_a_joint_hessian_that_costs_no_more():
    """Ordered classes are coupled: blocks of them take three times as many passes."""
    assert chain(choose_curvature(stated(20_000, 60, 5, 1, None)))[0].startswith("low precision")
    assert chain(choose_curvature(stated(1_797, 64, 10, 1, None)))[0].startswith("block")


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("shape", [(2000, 600, 3), (5000, 600, 3), (5000, 500, 5)], ids=str)
def test_blocks_take_the_place_of_a_joint_hessian_that_costs_too_much(shape, monkeypatch):
    """Correlated columns take ten times as long on uncorrelated ones."""
    monkeypatch.setattr(choose, "has_grams", lambda _: True)
    assert chain(choose_curvature(stated(*shape, 1, None)))[0].startswith("block of each class")


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    "shape", [(11_000, 3_600, 20, 1, 60), (20_000, 1_500, 5, 1, 60), (5_000, 1_500, 10, 1, None)]
)
def test_there_are_no_blocks_of_classes_that_cost_hundreds_of_passes(shape):
    """Conjugate gradients need some ten passes of them."""
    assert chain(choose_curvature(stated(*shape))) == ["uncorrelated columns"]


@pytest.mark.usefixtures("fast")
def test_samples_grow_up_to_a_fifteenth():
    sizes = sample_sizes(stated(15_000_000, 30, 2, 1, None))
    assert sizes == (10_000, 100_000, 1_000_000)
    assert sample_sizes(stated(1_500_000, 30, 2, 1, None)) == (10_000, 100_000)
    assert sample_sizes(stated(100_000, 30, 2, 1, None)) == (10_000,)
    assert sample_sizes(stated(50_000, 30, 2, 1, None)) == ()


@pytest.mark.usefixtures("fast")
def test_newton_steps_start_on_samples_with_enough_rows_of_both_classes():
    assert newton_samples(stated(10_000, 50, 2, 1, None), 0.5) == (1500,)
    assert newton_samples(stated(10_000, 50, 2, 1, None), 0.1) == ()
    assert newton_samples(stated(8_000, 50, 2, 1, None), 0.5) == ()
    assert newton_samples(stated(1_000_000, 30, 2, 1, None), 0.5) == (1500, 10_000)
    assert newton_samples(stated(1_000_000, 30, 2, 1, None), 0.05) == (6200, 10_000)
    assert newton_samples(stated(20_000, 2_000, 2, 1, None), 0.5) == ()
    assert newton_samples(stated(1_000_000, 1_000, 2, 1, 1e-2), 0.5) == ()


def test_the_same_is_chosen_by_any_clock(monkeypatch):
    """Promise 9: but for one fact of the machine, a written model decides."""
    monkeypatch.setattr(low_precision, "repeat", lambda *_, **__: [0.0])
    first = [chain(choose_curvature(stated(*shape))) for shape in SHAPES]
    assert first == [chain(choose_curvature(stated(*shape))) for shape in SHAPES]

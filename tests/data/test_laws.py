"""Every container is the dense one, whatever the size of its blocks (promises 7 and 10)."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg.data import from_arrays
from skorch_logreg.data.low_precision import bfloat16_grams
from skorch_logreg.kernels import passes
from skorch_logreg.kernels.library import library
from skorch_logreg.losses import Binomial
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import L2
from tests.catalogue import CONTAINERS, LOSSES, Container, problem
from tests.kernels.compiler import without_kernels

M, K = 2, 3


@pytest.fixture(params=CONTAINERS.values(), ids=CONTAINERS.keys())
def container(request):
    return request.param


# every container, and once more with the design formed where it may be
CASES = [(name, False) for name in CONTAINERS]
CASES += [(name, True) for name in CONTAINERS if "csr" not in name]


def _held(name, standardised):
    X, y, weight = problem(LOSSES["binomial"])
    held = CONTAINERS[name](X, y, weight)
    center, scale = torch.zeros(5).double(), torch.ones(5).double()
    if standardised:
        center, scale = held.column_moments()
    held = held.standardised(center, scale, LOSSES["binomial"].encode(held.targets))
    Z = (torch.from_numpy(X) - center) / scale
    return held, torch.cat([Z, torch.ones(len(X), 1).double()], dim=1)


@pytest.fixture(params=[False, True], ids=["plain", "standardised"])
def standardised(request):
    return request.param


@pytest.fixture(params=CASES, ids=lambda c: c[0] + ("-formed" if c[1] else ""))
def data(request, standardised):
    """Data of a container and their design [Z 1] as an ordinary array."""
    name, formed = request.param
    held, design = _held(name, standardised)
    assert (held.design is not None) == ("csr" not in name)
    if not formed:
        held.design = None
    return held, design


def _random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_matmul(data):
    held, design = data
    params = _random(M, K, design.shape[1])
    out = held.empty_rows(M, K)

    def kernel(block, rows):
        rows.copy_(block.matmul(params))
        return ()

    held.reduce(kernel, out)
    _close(out[0:], torch.einsum("np,mkp->nmk", design, params))


def test_rmatmul(data):
    held, design = data
    residual = _random(len(design), M, K)
    (total,) = held.reduce(lambda block, r: (block.rmatmul(r),), residual)
    _close(total, torch.einsum("np,nmk->mkp", design, residual))


@pytest.mark.parametrize("columns", [None, [1, 4], []])
@pytest.mark.parametrize("rank_one", [False, True])
@pytest.mark.parametrize("n_outputs", [1, K])
def test_gram(data, columns, rank_one, n_outputs):
    held, design = data
    weight = _random(len(design), M, n_outputs).abs()
    q = 0.3 * _random(len(design), M, n_outputs, seed=1).abs()
    if rank_one:  # the matrix of a softmax maps constants to zero
        weight = q * q.sum(dim=-1, keepdim=True)
    chosen = None if columns is None else torch.tensor(columns, dtype=torch.int64)

    def kernel(block, w, v):
        return (block.gram(w, v if rank_one else None, chosen),)

    (gram,) = held.reduce(kernel, weight, q)
    z = design if columns is None else design[:, [*columns, -1]]
    middle = torch.diag_embed(weight)
    if rank_one:
        middle = middle - q[..., :, None] * q[..., None, :]
    _close(gram, torch.einsum("np,nmkl,nq->mkplq", z, middle, z))


def test_grams_of_many_models(data):
    held, design = data
    weight = _random(len(design), 40, 1).abs()
    (grams,) = held.reduce(lambda block, w: (block.gram(w, None),), weight)
    _close(grams[:, 0, :, 0], torch.einsum("np,nm,nq->mpq", design, weight[..., 0], design))


@pytest.mark.parametrize("columns", [None, range(18, 0, -1)], ids=["every", "some"])
@pytest.mark.parametrize("formed", [False, True], ids=["rows", "design"])
def test_grams_of_models_with_many_rows(formed, columns):
    """A kernel computes them, one model after the other."""
    X = _random(500, 19) + 2.0
    weight = _random(len(X), 3, 1, seed=1).abs()
    held = from_arrays(X.numpy(), np.arange(len(X)) % 2, np.ones(len(X)))
    center, scale = held.column_moments()
    held = held.standardised(center, scale, LOSSES["binomial"].encode(held.targets))
    if not formed:
        held.design = None
    assert (held.design is not None) == formed
    chosen = None if columns is None else torch.tensor(columns)
    (grams,) = held.reduce(lambda block, w: (block.gram(w, None, chosen),), weight)
    z = (X - center) / scale if columns is None else ((X - center) / scale)[:, chosen]
    design = torch.cat([z, torch.ones(len(X), 1).double()], dim=1)
    expected = torch.einsum("np,nm,nq->mpq", design, weight[..., 0], design)
    torch.testing.assert_close(grams[:, 0, :, 0], expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("rank_one", [False, True])
@pytest.mark.parametrize("few", [False, True])
def test_low_precision_gram(data, rank_one, few):
    """Its lower triangle is that of the exact one, to some thousandths of its size."""
    held, design = data
    q = _random(len(design), 1).abs() * _random(len(design), K, seed=1).softmax(dim=-1)
    weight = q * q.sum(dim=-1, keepdim=True)

    def kernel(block, w, v):
        return (block.bfloat16_gram(w, v if rank_one else None),)

    n_outputs = K if rank_one else 1
    (gram,) = held.reduce(kernel, weight[:, :n_outputs], q, few=few)
    assert gram.dtype is torch.float32
    middle = torch.diag_embed(weight[:, :n_outputs])
    if rank_one:
        middle = middle - q[:, :, None] * q[:, None, :]
    exact = torch.einsum("np,nkl,nq->kplq", design, middle, design).reshape(gram.shape)
    size = exact.diagonal().sqrt()
    off = (gram - exact) / size / size[:, None]
    assert off.tril().abs().max() <= 0.01


@pytest.mark.parametrize("few", [False, True])
def test_low_precision_grams(data, few):
    """The lower triangles are those of the weighted products, to some thousandths."""
    held, design = data
    weight = _random(len(design), 4).square()
    weight[::3, 1:] = 0.0

    def kernel(block, w):
        return (block.bfloat16_grams(w),)

    (grams,) = held.reduce(kernel, weight, few=few)
    assert grams.dtype is torch.float32
    exact = torch.einsum("np,nk,nq->kpq", design, weight, design)
    size = exact.diagonal(dim1=1, dim2=2).sqrt()
    off = (grams - exact) / size[:, None] / size[..., None]
    assert off.tril().abs().max() <= 0.005


def test_a_low_precision_gram_of_many_rows_and_columns():
    """More columns than a strip of the product has, and more rows than are held at a time."""
    n_rows, n_columns = 9000, 1100
    z = _random(n_rows, n_columns)
    weight = _random(n_rows, 1, seed=1).square()
    (gram,) = bfloat16_grams(lambda rows, out: out.copy_(z[rows]), n_columns, weight)
    design = torch.cat([z, torch.ones(n_rows, 1).double()], dim=1)
    exact = design.T @ (weight * design)
    off = (gram - exact).tril() / exact.diagonal().mean()
    assert off.abs().max() <= 0.005
    assert off.square().mean().sqrt() <= 0.0005


@pytest.mark.parametrize("others", [[0, 1, 3], [2, 0, 1, 4, 3]])
def test_cross(data, others):
    held, design = data
    weight, columns = _random(len(design)).abs(), [1, 4]
    chosen = torch.tensor(columns), torch.tensor(others)
    (cross,) = held.reduce(lambda block, w: (block.cross(w, *chosen),), weight)
    _close(cross, (design[:, columns] * weight[:, None]).T @ design[:, [*others, -1]])


def test_columns_are_copied_from_the_last_copy(data):
    """What is wanted next may lie there; X itself is read if a column is lacking."""
    held, design = data
    for columns, more in (([0, 3, 4], 1), ([4, 0], 0), ([4, 2, 3], 1), ([2, 3, 4], 0), ([1], 1)):
        before = held.n_passes
        part = held.take_columns(torch.tensor(columns))
        assert held.n_passes - before == more
        params = _random(1, 1, len(columns) + 1)
        (total,) = part.reduce(lambda block, p=params: (block.matmul(p).sum(dim=0),))
        _close(total[0, 0], (design[:, [*columns, -1]] @ params[0, 0]).sum())


def test_deviations(data):
    held, design = data
    weight = _random(len(design)).abs()
    (sums,) = held.reduce(lambda block, w: (block.deviations(w),), weight)
    _close(sums, torch.stack([weight @ design, weight @ design.square()])[:, :-1])


@pytest.mark.parametrize("name", [n for n, c in CONTAINERS.items() if c.block_rows is None])
def test_outer(name, standardised):
    held, design = _held(name, standardised)
    d = _random(5).abs()
    (outer,) = held.reduce(lambda block: (block.outer(d),))
    _close(outer, (design[:, :-1] * d) @ design[:, :-1].T)


@pytest.mark.parametrize("make", [np.ascontiguousarray, np.asfortranarray, sp.csr_array])
def test_a_symmetric_product_of_many_rows(make):
    """Made piece by piece, half of it, and kept until something else is asked for."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 900)) * (rng.random((600, 900)) < 0.5)
    held = from_arrays(make(X), np.arange(600) % 2)
    center, scale = held.column_moments()
    held = held.standardised(center, scale, held.targets)
    design, before = (torch.from_numpy(X) - center) / scale, held.n_passes
    for seed in (0, 0, 1):
        d = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2, 900))
        _close(held.outer(d), (design * d) @ design.T)
        _close(held.outer(d), (design * d) @ design.T)
        rough, size = held.outer(d, low_precision=True), ((design.square() * d).sum(dim=1)).sqrt()
        off = (rough - (design * d) @ design.T) / size / size[:, None]
        assert off.abs().max() <= 0.01
    assert held.n_passes == before + 6


@pytest.mark.parametrize("name", CONTAINERS)
def test_columns_are_taken_in_their_units(name):
    held, design = _held(name, True)
    columns = torch.tensor([3, 0])
    part = held.take_columns(columns)
    params, logits = _random(2, 1, 3), part.empty_rows(2, 1)
    part.reduce(lambda block, out: (block.matmul(params, out=out).sum(),), logits)
    _close(logits[0:][:, 0, 0], design[:, columns] @ params[0, 0, :2] + params[0, 0, 2])
    assert part.targets is held.targets


def test_moments(container):
    X, y, weight = problem(LOSSES["binomial"])
    mean, deviation = container(X, y, weight).column_moments()
    expected = np.average(X, axis=0, weights=weight)
    _close(mean, torch.from_numpy(expected))
    variance = np.average((X - expected) ** 2, axis=0, weights=weight)
    _close(deviation, torch.from_numpy(variance).sqrt())


def test_passes_are_counted(data):
    held, _ = data
    before = held.n_passes
    held.reduce(lambda block: (block.weight.sum(),))
    held.reduce(lambda block: (block.weight.sum(),), reads=0)
    assert held.n_passes == before + 1


def test_sample_keeps_the_weight(container):
    X, y, weight = problem(LOSSES["binomial"])
    part = container(X, y, weight).sample(10)
    assert 10 <= part.n_samples <= 12
    assert float(part.weight.sum()) == pytest.approx(weight.sum())


def test_constant_columns_have_no_deviation():
    X = np.full((50, 3), [0.1, 1e6 + 0.1, 0.0])
    _, deviation = from_arrays(X, np.arange(50) % 2).column_moments()
    assert deviation.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_a_rare_column_is_not_constant(make):
    """One entry in 50,000 rows, which no sample of the rows would see."""
    X = np.random.default_rng(0).normal(size=(50_000, 2))
    X[:, 1] = 0.0
    X[12_345, 1] = 3.0
    _, deviation = from_arrays(make(X), np.arange(len(X)) % 2).column_moments()
    np.testing.assert_allclose(deviation, X.std(axis=0), rtol=1e-10)


@pytest.mark.parametrize("order", ["C", "F"])
def test_float32_is_summed_in_float64(order):
    """Promise 7: products of float32 data are those of the same data in float64."""
    X, y, _ = problem(LOSSES["binomial"])
    low = np.asarray(X, dtype=np.float32, order=order)
    params = _random(1, 1, 6)
    outs = []
    for Z in (low, low.astype(np.float64)):
        held = Container(lambda Z: Z, 7)(Z, y)
        out = held.empty_rows(1, 1)
        held.reduce(lambda block, rows: (rows.copy_(block.matmul(params)).sum(),), out)
        outs.append(out)
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-14, atol=1e-14)


STORED = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16,
    torch.uint32, torch.uint64, torch.float16, torch.bfloat16, torch.float32,
]  # fmt: skip
UNSIGNED = {torch.uint16: 2**9, torch.uint32: 2**25, torch.uint64: 2**57}
PRODUCTS = {
    "matmul": lambda block, w: block.matmul(_random(M, K, 6)).square().sum(dim=0),
    "rmatmul": lambda block, w: block.rmatmul(w[..., None]),
    "gram": lambda block, w: block.gram(w[..., None], None),
    "gram of columns": lambda block, w: block.gram(w[..., None], None, torch.tensor([3, 0])),
    "deviations": lambda block, w: block.deviations(w[:, 0]),
    "cross": lambda block, w: block.cross(w[:, 0], torch.tensor([3]), torch.tensor([0, 4])),
    "outer": lambda block, w: block.outer(_random(5).abs()),
}
ROUGH = {
    "gram": lambda block, w: block.bfloat16_gram(w, None),
}


@pytest.fixture(params=STORED, ids=str)
def stored(request):
    """Rows in a type, and the same numbers in float64; rows are not formed."""
    X, y, weight = problem(LOSSES["binomial"])
    numbers = torch.from_numpy(X).abs().mul(3).round().clamp(max=127)
    # those of wide unsigned integers reach beyond the signed ones
    low = (numbers * UNSIGNED.get(request.param, 1)).to(request.param)
    pair = []
    for rows in (low, low.to(torch.float64)):
        held = from_arrays(rows, y, weight)
        held = held.standardised(*held.column_moments(), held.targets)
        held.design = None
        pair.append(held)
    return pair


@pytest.mark.parametrize("product", PRODUCTS)
def test_rows_of_every_type_multiply_as_in_float64(stored, product):
    """Promise 7: and they are stored as they are."""
    weight = _random(60, 1).abs()
    found, expected = (
        held.reduce(lambda block, w: (PRODUCTS[product](block, w),), weight)[0] for held in stored
    )
    _close(found, expected)


def test_rows_of_every_type_are_kept_in_it(stored, request):
    dtype = request.node.callspec.params["stored"]
    assert stored[0].X.element_size() == dtype.itemsize


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("product", ROUGH)
def test_low_precision_products_of_every_type(stored, product, few):
    weight = _random(60, 1).abs()
    found, expected = (
        held.reduce(lambda block, w: (ROUGH[product](block, w),), weight, few=few)[0].tril()
        for held in stored
    )
    assert (found - expected).abs().max() <= 0.01 * expected.abs().max()


def test_columns_and_samples_of_every_type(stored):
    for part, whole in (
        [held.take_columns(torch.tensor([3, 0])) for held in stored],
        [held.sample(10) for held in stored],
    ):
        assert part.X.element_size() == stored[0].X.element_size()
        params = _random(1, 1, part.n_features + 1)
        _close(
            *(held.reduce(lambda block, p=params: (block.matmul(p).sum(dim=0),))[0]
              for held in (part, whole))
        )  # fmt: skip


def test_low_precision_rows_of_every_type_are_float32_of_centred_ones(stored):
    """Under so many logits that it pays, whether the rows are kept or not."""
    low, _ = stored
    rows = low.X.repeat(400, 1)
    held = from_arrays(rows, np.arange(len(rows)) % 2)
    held = held.standardised(*held.column_moments(), held.targets, 64)
    rough, params = held.low_precision(), _random(64, 1, 6)
    assert rough is not held
    exact = held.reduce(lambda block: (block.matmul(params).sum(dim=0),))[0]
    for formed in (True, False):
        if not formed:
            rough = _not_stored(rough)
        found = rough.reduce(lambda block: (block.matmul(params).sum(dim=0),))[0]
        assert (found - exact).abs().max() <= 1e-5 * len(rows)


@pytest.mark.parametrize("name", ["c-order", "f-order", "strided", "read-only", "blocks-of-7"])
def test_dense_rows_are_not_copied(name):
    """Promise 10."""
    X, y, _ = problem(LOSSES["binomial"])
    made = CONTAINERS[name].make(X)
    held = from_arrays(made, y)
    assert held.X.data_ptr() == made.__array_interface__["data"][0]


def _wide(name="c-order", n_logits=64, n=3000):
    """Rows under so many logits that rough products pay."""
    X, y, weight = problem(LOSSES["binomial"], n=n)
    held = CONTAINERS[name](X if name == "csr" else X + 1e4, y, weight)
    center, scale = held.column_moments()
    encoded = LOSSES["binomial"].encode(held.targets)
    return held.standardised(center, scale, encoded, n_logits)


def _not_stored(rough):
    """float32 products of rows that have too many columns to be stored in their units."""
    exact = rough.exact
    if exact.is_sparse:
        return rough
    return replace(rough, X=exact.X, center=exact.center, scale=exact.scale)


@pytest.mark.parametrize("name", ["c-order", "f-order", "strided", "csr"])
@pytest.mark.parametrize("kept", [True, False])
def test_low_precision_products_are_float32_of_centred_rows(name, kept):
    """A mean of 1e4 costs dense data no digits: rows are centred before they are rounded."""
    exact = _wide(name, n=20_000)
    with without_kernels():  # which multiply sparse rows in float64
        rough = exact.low_precision()
    if not kept:
        rough = _not_stored(rough)
    assert rough is not exact
    assert rough.exact is exact
    params = _random(64, 1, 6)
    results = []
    for held in (exact, rough):
        logits = held.empty_rows(64, 1)
        (back,) = held.reduce(
            lambda block, out: (block.rmatmul(block.matmul(params, out=out)),), logits
        )
        assert back.dtype == torch.float64
        results.append((logits, back))
    assert results[1][0].dtype == torch.float32
    for fine, coarse in zip(*results, strict=True):
        error = (coarse - fine).abs().max() / fine.abs().max()
        assert 1e-9 < error < 1e-5


def test_low_precision_products_are_for_many_logits():
    few = _wide(n_logits=1)
    assert few.low_precision() is few


@pytest.mark.skipif(library() is None, reason="no kernels are built")
def test_kernels_multiply_sparse_rows_in_float64():
    sparse = _wide("csr", n=20_000)
    assert sparse.low_precision() is sparse


@pytest.mark.parametrize("n_logits", [1, 64])
def test_a_sample_of_formed_rows_is_of_those_rows(n_logits):
    held = _wide(n_logits=n_logits, n=10_000 // n_logits + 2000).low_precision()
    assert (held.design is not None) == (n_logits == 1)
    part = held.sample(100)
    params = _random(2, 1, 6)
    logits, few = held.empty_rows(2, 1), part.empty_rows(2, 1)
    held.reduce(lambda block, out: (block.matmul(params, out=out).sum(),), logits)
    part.reduce(lambda block, out: (block.matmul(params, out=out).sum(),), few)
    torch.testing.assert_close(few, logits[held.sampled(100)])


def test_models_keep_their_own_columns():
    X, y, _ = problem(LOSSES["binomial"])
    targets = torch.stack([torch.from_numpy(y), torch.from_numpy(1 - y), torch.from_numpy(y)], 1)
    held = from_arrays(X, targets, _random(len(y), 3).abs())
    for models in (torch.tensor([2, 0]), torch.tensor([1]), torch.tensor([0, 1, 2])):
        part = held.select(models)
        torch.testing.assert_close(part.targets, held.targets[:, models])
        torch.testing.assert_close(part.weight, held.weight[:, models])
    shared = from_arrays(X, y)
    assert shared.select(torch.tensor([2, 0])).weight.shape == (len(y), 1)


def test_other_rows_keep_targets_and_weights():
    X, y, weight = problem(LOSSES["binomial"])
    held = from_arrays(X, y, weight)
    other = _random(len(y), 3)
    recast = held.recast(other)
    assert (recast.n_features, recast.n_samples) == (3, len(y))
    params = _random(2, 1, 4)
    out = recast.empty_rows(2, 1)
    recast.reduce(lambda block, out: (block.matmul(params, out=out).sum(),), out)
    _close(out, torch.einsum("np,mkp->nmk", other, params[..., :-1]) + params[..., -1])
    assert recast.weight is held.weight


@pytest.fixture
def warn_always():
    """Have torch repeat the warnings that it gives once in a process."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_sparse_products_read_what_may_not_be_written(dtype, rtol, warn_always):
    """Arrays that joblib has mapped into memory are read-only; torch would warn of them."""
    X = sp.random(20, 40, density=0.2, format="csr", dtype=dtype, random_state=0)
    X.data.setflags(write=False)
    data = from_arrays(sp.csr_array(X), torch.zeros(20, dtype=torch.int64))
    params = torch.randn(3, 2, 41, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = data.block(slice(0, 20)).matmul(params)
        none = data.block(slice(5, 5)).matmul(params)
    dense = torch.einsum("np,mkp->nmk", torch.from_numpy(X.toarray()).double(), params[..., :-1])
    torch.testing.assert_close(logits.double(), dense + params[..., -1], rtol=rtol, atol=rtol)
    assert none.shape == (0, 3, 2)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_entries_above_a_size_are_found_in_their_column(container):
    X = np.random.default_rng(0).normal(size=(300, 3)) * [1.0, 10.0, 100.0]
    held = from_arrays(container(X), np.arange(300) % 2)
    data = held.standardised(0 * held.center, torch.tensor([2.0, 3.0, 5.0]).double(), held.targets)
    most = torch.from_numpy(np.abs(X).max(axis=0)) / data.scale
    assert not data.has_entries_above(1.01 * most)
    for column in range(3):
        least = 1.01 * most
        least[column] *= 0.98
        assert data.has_entries_above(least)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@pytest.mark.parametrize("n", [7, 5000])
def test_the_largest_entries_of_columns(n, dtype, layout, kernels, monkeypatch):
    X = layout((100 * np.random.default_rng(0).normal(size=(n, 3))).astype(dtype))
    monkeypatch.setattr(passes, "compiled", passes.compiled if kernels else lambda name: None)
    held = from_arrays(X, np.arange(n) % 2)
    center, scale = torch.tensor([0.5, -3.0, 2.0]).double(), torch.tensor([1.0, 2.0, np.inf])
    for data in (held.standardised(center, scale.double(), held.targets), held.centred(center)):
        z = (torch.from_numpy(X.astype(np.float64)) - center) / data.scale
        before = data.reads[0]
        for _ in range(2):
            torch.testing.assert_close(data.largest_entries(), z.abs().amax(dim=0))
        assert data.reads[0] == before + 1


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(300_001, 3), (90, 3000)])
def test_the_first_pass_finds_the_largest_entries(shape, dtype, layout, kernels, monkeypatch):
    """It does of rows that are not checked; without kernels they take a read of their own."""
    X = layout((100 * np.random.default_rng(0).normal(size=shape)).astype(dtype))
    monkeypatch.setattr(passes, "compiled", passes.compiled if kernels else lambda name: None)
    held = from_arrays(X, np.arange(shape[0]) % 2, is_checked=False)
    center = torch.linspace(-90.0, 90.0, shape[1], dtype=torch.float64)
    scale = torch.linspace(1.0, 9.0, shape[1], dtype=torch.float64)
    data = held.standardised(center, scale, Binomial().encode(held.targets))
    objective = Objective(data, Binomial(), L2(), torch.ones(1, dtype=torch.float64), True)
    assert data.largest_entries(reads=False) is None
    params = objective.zeros() + 1e-3
    point = objective.evaluate(params)
    data.confirm_finite(point.value, point.gradient)
    before, is_known = data.reads[0], kernels and library() is not None
    assert (data.largest_entries(reads=False) is not None) == is_known
    wanted = (torch.from_numpy(X).double() - center).abs().amax(dim=0) / scale
    torch.testing.assert_close(data.largest_entries(), wanted)
    assert data.reads[0] == before + (not is_known)
    again = objective.evaluate(params)  # the same without looking at the largest entries
    torch.testing.assert_close(again.gradient, point.gradient, rtol=0, atol=0)

"""Parts of rows are the rows: every sum, sample and copy of columns is that of one array."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg.data import (
    ChunkParts,
    DaskParts,
    FirstPassSample,
    as_it_is,
    from_arrays,
    from_parts,
    look_through,
)
from tests.catalogue import LOSSES, problem


class Chunks:
    """An array in chunks of some length."""

    def __init__(self, X, length):
        self.X, self.length = X, length

    def __len__(self):
        return -(-self.X.shape[0] // self.length)

    def chunk(self, index):
        rows = self.X[index * self.length : (index + 1) * self.length]
        return sp.csr_array(rows) if sp.issparse(rows) else torch.from_numpy(rows)


def as_chunks(X, length, y, weight=None, **_):
    """Chunks, whose sample has as many rows as the first."""
    chunks = Chunks(X, length)
    lengths, survey = look_through(chunks, X.shape[0])
    weight = None if weight is None else torch.as_tensor(weight)
    read = ChunkParts.of(chunks, lengths)
    return from_parts(
        read,
        as_it_is,
        X.shape[1],
        y,
        sample_weight=weight,
        survey=survey,
        n_passes=1,
    )


@pytest.mark.parametrize("lengths", [(10,) * 5, (0, *(10,) * 5), (10, 0, *(10,) * 4)], ids=str)
def test_the_sample_has_as_many_rows_as_a_chunk(lengths):
    parts = np.split(np.arange(100.0).reshape(50, 2), np.cumsum(lengths)[:-1])

    class Parts(list):
        chunk = list.__getitem__

    found, survey = look_through(Parts(map(torch.from_numpy, parts)), 50)
    assert tuple(found) == lengths
    assert len(survey.kept) == 10


def as_blocks(X, length, y, weight=None, **sample):
    dask = pytest.importorskip("dask")
    starts = range(0, X.shape[0], length)
    blocks = DaskParts(
        [dask.delayed(X[start : start + length]) for start in starts],
        [min(length, X.shape[0] - start) for start in starts],
    )
    weight = None if weight is None else torch.as_tensor(weight)
    sample = FirstPassSample(**sample)
    return from_parts(blocks, read, X.shape[1], y, sample_weight=weight, survey=sample)


def read(X, index, check):
    return sp.csr_array(X) if sp.issparse(X) else torch.from_numpy(X)


@pytest.fixture(params=[as_chunks, as_blocks])
def make(request):
    return request.param


@pytest.fixture(params=[7, 16, 1000])
def length(request):
    return request.param


@pytest.fixture(params=["dense", "sparse", "models"])
def both(request, length, make):
    """The rows in parts and in one array; with several models each has weights of its own."""
    X, y, weight = problem(LOSSES["binomial"])
    if request.param == "models":
        weight = np.stack([weight, weight[::-1]], axis=1)
    if request.param == "sparse":
        X = sp.csr_array(X)
    part = make(X, length, torch.as_tensor(y), weight)
    whole = from_arrays(X, y, weight)
    units, encode = whole.column_moments(), LOSSES["binomial"].encode
    return tuple(data.standardised(*units, encode(data.targets)) for data in (part, whole))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def squares(block):
    return (block.deviations(block.weight[:, 0]),)


def test_sums(both):
    side = both[0].n_features + 1
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(1, 2, side, dtype=torch.float64, generator=generator)
    columns, others = torch.tensor([1, 3]), torch.tensor([0, 1, 3])

    def kernel(block, rows):
        block.matmul(params, out=rows)
        weight = block.weight[:, :1]
        return (
            block.rmatmul(rows.sin()),
            block.gram(weight[..., None], None),
            block.deviations(weight[:, 0]),
            block.cross(weight[:, 0], columns, others),
        )

    found, logits = [], []
    for data in both:
        rows = data.empty_rows(1, 2)
        found.append(data.reduce(kernel, rows))
        logits.append(rows)
    close(logits[0][0:], logits[1])
    for part, whole in zip(*found, strict=True):
        close(part, whole)


def test_moments_and_passes(both):
    found, whole = both
    for part, expected in zip(found.column_moments(), whole.column_moments(), strict=True):
        close(part, expected)
    assert found.n_passes == 2


def test_moments_of_many_rows_are_those_of_a_sample(make):
    """And of all, where a column is constant in it."""
    sample = {"max_bytes": 1600 * 3 * 8}
    X = torch.randn(8000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = make(X.numpy(), 1600, (X[:, 0] > 0).long(), **sample)
    close(found.column_moments()[0], X[2::5].mean(dim=0))
    assert found.n_passes == 1
    X[:, 2] = 0.0
    X[0, 2] = 1.0
    found = make(X.numpy(), 1600, (X[:, 0] > 0).long(), **sample)
    close(found.column_moments()[1], X.std(dim=0, correction=0))
    assert found.n_passes == 2


@pytest.mark.parametrize("n_rows", [5, 11, 10_000])
def test_a_sample_is_of_the_rows_that_it_names(both, n_rows):
    found, whole = both
    rows = found.sampled(n_rows)
    part = found.sample(n_rows)
    assert part.n_samples == len(range(*rows.indices(whole.n_samples))) <= max(n_rows, 16)
    params = torch.linspace(-1, 1, found.n_features + 1, dtype=torch.float64)[None, None]

    def kernel(block, rows):
        block.matmul(params, out=rows)
        return ()

    of_sample, of_all = part.empty_rows(1, 1), whole.empty_rows(1, 1)
    part.reduce(kernel, of_sample)
    whole.reduce(kernel, of_all)
    close(of_sample, of_all[rows])
    close(part.weight.sum(dim=0), whole.weight.sum(dim=0))


@pytest.mark.parametrize("copied", [0, 1 << 28])
def test_columns_are_copied_or_read(both, copied):
    if isinstance(both[0].parts, ChunkParts):
        both[0].parts = replace(both[0].parts, max_copied_bytes=copied)
    columns = torch.tensor([3, 0])
    part, whole = (data.take_columns(columns).reduce(squares)[0] for data in both)
    close(part, whole)


def test_rows_that_are_picked_are_those_of_the_first_pass():
    X = np.random.default_rng(0).normal(size=(40, 3))
    found = as_chunks(X, 10, torch.arange(40) % 2)
    every = torch.arange(10)
    np.testing.assert_array_equal(found.pick(lambda *rows: every)[0], X)
    X[33, 1] += 1.0
    with pytest.raises(ValueError, match="Part 3 of X has other numbers"):
        found.pick(lambda *rows: every)


def test_models_are_selected(both):
    if both[0].weight.shape[1] == 1:
        pytest.skip("one weight for all models")
    index = torch.tensor([1])
    part, whole = (data.select(index) for data in both)
    close(part.weight[0:], whole.weight)
    close(part.reduce(squares)[0], whole.reduce(squares)[0])


def test_rows_that_are_chosen_come_here(both):
    """As they are, in the order of the rows, by targets, weights and other arrays."""

    def choose(targets, weight, logits):
        return ((logits[:, 0, 0] > 0) & (weight[:, 0] > 0)).nonzero()[:, 0]

    generator = torch.Generator().manual_seed(1)
    params = torch.randn(1, 1, both[0].n_features + 1, dtype=torch.float64, generator=generator)
    found = []
    for data in both:
        logits = data.empty_rows(1, 1)
        data.reduce(lambda block, rows: (block.matmul(params, out=rows).sum(dim=0),), logits)
        before = data.n_passes
        X, targets, weight = data.pick(choose, logits)
        assert data.n_passes - before == (data is both[0])
        found.append((X.toarray() if sp.issparse(X) else X, targets, weight))
    assert 0 < len(found[0][0]) < both[0].n_samples
    for part, whole in zip(*found, strict=True):
        np.testing.assert_array_equal(part, whole)

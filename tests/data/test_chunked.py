"""Chunks of rows are the rows: every sum, sample and copy of columns is that of one array."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg.data import chunked, from_arrays, from_chunks
from tests.catalogue import LOSSES, problem


class Parts:
    """An array in chunks of some length."""

    def __init__(self, X, length):
        self.X, self.length = X, length

    def __len__(self):
        return -(-self.X.shape[0] // self.length)

    def chunk(self, index):
        rows = self.X[index * self.length : (index + 1) * self.length]
        return sp.csr_array(rows) if sp.issparse(rows) else torch.from_numpy(rows)


@pytest.fixture(params=[7, 16, 1000])
def length(request):
    return request.param


@pytest.fixture(params=["dense", "sparse", "models"])
def both(request, length):
    """The rows in chunks and in one array; with several models each has weights of its own."""
    X, y, weight = problem(LOSSES["binomial"])
    if request.param == "models":
        weight = np.stack([weight, weight[::-1]], axis=1)
    if request.param == "sparse":
        X = sp.csr_array(X)
    part = from_chunks(Parts(X, length), X.shape[1], torch.float64, torch.as_tensor(y), weight)
    whole = from_arrays(X, y, weight)
    mean, deviation = whole.column_moments()
    units = mean, deviation, LOSSES["binomial"].encode(whole.targets)
    return part.standardised(*units), whole.standardised(*units)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def squares(block):
    return (block.column_squares(block.weight),)


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
            block.column_squares(weight),
            block.column_counts(),
            block.cross(weight[:, 0], columns, others),
        )

    found, logits = [], []
    for data in both:
        rows = data.empty_rows(1, 2)
        found.append(data.reduce(kernel, rows))
        logits.append(rows)
    close(*logits)
    for part, whole in zip(*found, strict=True):
        close(part, whole)


def test_moments_and_passes(both):
    chunks, whole = both
    for part, expected in zip(chunks.column_moments(), whole.column_moments(), strict=True):
        close(part, expected)
    assert chunks.n_passes == 2
    chunks.column_moments()
    assert chunks.n_passes == 2


def test_moments_of_many_rows_are_those_of_a_sample():
    """And of all, where a column is constant in it."""
    X = torch.randn(8000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chunks = from_chunks(Parts(X.numpy(), 2000), 3, torch.float64, X[:, 0] > 0)
    close(chunks.column_moments()[0], X[2::4].mean(dim=0))
    assert chunks.n_passes == 1
    X[:, 2] = 0.0
    X[0, 2] = 1.0
    chunks = from_chunks(Parts(X.numpy(), 2000), 3, torch.float64, X[:, 0] > 0)
    close(chunks.column_moments()[1], X.std(dim=0, correction=0))
    assert chunks.n_passes == 2


@pytest.mark.parametrize("n_rows", [5, 11, 10_000])
def test_a_sample_is_of_the_rows_that_it_names(both, n_rows):
    chunks, whole = both
    rows = chunks.sampled(n_rows)
    part = chunks.sample(n_rows)
    assert part.n_samples == len(range(*rows.indices(whole.n_samples))) <= max(n_rows, 16)
    params = torch.linspace(-1, 1, chunks.n_features + 1, dtype=torch.float64)[None, None]

    def kernel(block, rows):
        block.matmul(params, out=rows)
        return ()

    of_sample, of_all = part.empty_rows(1, 1), whole.empty_rows(1, 1)
    part.reduce(kernel, of_sample)
    whole.reduce(kernel, of_all)
    close(of_sample, of_all[rows])
    close(part.weight.sum(dim=0), whole.weight.sum(dim=0))


@pytest.mark.parametrize("copied", [0, 1 << 28])
def test_columns_are_copied_or_read(both, copied, monkeypatch):
    monkeypatch.setattr(chunked, "_COPIED", copied)
    columns = torch.tensor([3, 0])
    part, whole = (data.take_columns(columns).reduce(squares)[0] for data in both)
    close(part, whole)


def test_models_are_selected(both):
    if both[0].n_weights == 1:
        pytest.skip("one weight for all models")
    index = torch.tensor([1])
    part, whole = (data.select(index) for data in both)
    close(part.weight, whole.weight)
    close(part.reduce(squares)[0], whole.reduce(squares)[0])

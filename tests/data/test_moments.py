"""Moments and products of columns that lie far from zero, against exact arithmetic."""

from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg.data import from_arrays
from tests.catalogue import LOSSES
from tests.data.test_partitioned import as_blocks, as_chunks
from tests.kernels.compiler import without_kernels

N = 60
UNEVEN = 10.0 ** np.random.default_rng(1).uniform(-8, 8, N)
UNEVEN[::7] = 0.0

HOLDERS = {
    "dense": from_arrays,
    "strided": lambda X, *rows: from_arrays(np.repeat(X, 2, axis=1)[:, ::2], *rows),
    "sparse": lambda X, *rows: from_arrays(sp.csr_array(X), *rows),
    "chunks": lambda X, *rows: as_chunks(X, 17, *rows),
    "sparse chunks": lambda X, *rows: as_chunks(sp.csr_array(X), 17, *rows),
    "Dask": lambda X, *rows: as_blocks(X, 17, *rows),
    "sparse on Dask": lambda X, *rows: as_blocks(sp.csr_array(X), 17, *rows),
}


@pytest.fixture(params=HOLDERS)
def hold(request):
    y = torch.arange(N) % 2
    return lambda X, weight: HOLDERS[request.param](X, y, weight)


def columns_far_from_zero():
    """Distances of one from means up to 1e15; some lack an entry, or many in rows of no weight."""
    rng = np.random.default_rng(0)
    Z = rng.integers(-4, 5, (N, 7)) / 4.0
    X = Z + np.array([0.0, 1e6, -1e8, 1e12, 1e15, 1e8, 1e8])
    X[4, 5] = 0.0
    X[::7, 6] = 0.0
    return X


def exact_moments(X, weight):
    """Mean and deviation of columns in rational numbers."""
    w = [Fraction(float(value)) for value in weight]
    mean, deviation = [], []
    for column in X.T:
        x = [Fraction(float(value)) for value in column]
        mean.append(sum(a * b for a, b in zip(w, x, strict=True)) / sum(w))
        squares = sum(a * (b - mean[-1]) ** 2 for a, b in zip(w, x, strict=True)) / sum(w)
        deviation.append(sqrt(squares))
    return np.array([float(m) for m in mean]), np.array(deviation)


@pytest.mark.parametrize("weight", [np.ones(N), UNEVEN], ids=["even", "uneven"])
def test_far_from_zero(hold, weight):
    X = columns_far_from_zero()
    mean, deviation = hold(X, weight).column_moments()
    expected = exact_moments(X, weight)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-14)
    np.testing.assert_allclose(deviation, expected[1], rtol=1e-6)


def test_a_constant_has_equal_entries_where_rows_have_weight(hold):
    weight = np.random.default_rng(0).uniform(0.1, 3, N)
    weight[5] = 0.0
    weight[9] = 1e-12
    above = np.nextafter(1e8, 2e8)
    X = np.full((N, 8), [0.0, 0.1, 1e6 + 0.1, 1e8, 1e8, 1e8, 0.0, 1e8])
    X[5, 2:4] = 0.0, 7.0  # a row of no weight
    X[11, 4] = above  # the next number
    X[9, 5] = 0.0  # of hardly any weight
    X[9, 6] = 1.0
    X[::2, 7] = above
    mean, deviation = hold(X, weight).column_moments()
    assert deviation[:4].tolist() == [0.0] * 4
    assert mean[:4].tolist() == [0.0, 0.1, 1e6 + 0.1, 1e8]
    np.testing.assert_allclose(deviation[4:], exact_moments(X, weight)[1][4:], rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("make", [as_chunks, as_blocks])
def test_the_rows_of_a_sample_may_have_no_weight(make, sparse):
    """Their moments are none; those of all rows are found from scratch."""
    X = np.random.default_rng(0).normal(size=(N, 3)) + [0.0, 1e8, 1e8]
    X[:, 2] = 1e8
    weight = np.ones(N)
    found = make(
        sp.csr_array(X) if sparse else X, 12, torch.arange(N) % 2, weight, max_bytes=12 * 3 * 8
    )
    found.column_moments()
    weight[found.sampled(N)] = 0.0
    assert 0 < weight.sum() < N
    found = make(
        sp.csr_array(X) if sparse else X, 12, torch.arange(N) % 2, weight, max_bytes=12 * 3 * 8
    )
    mean, deviation = found.column_moments()
    expected = exact_moments(X, weight)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-14)
    np.testing.assert_allclose(deviation, expected[1], rtol=1e-6)
    assert deviation[2] == 0


@pytest.mark.parametrize("weight", [np.ones(N), UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("formed", [True, False])
def test_products_far_from_zero(hold, weight, formed):
    """Those of ``(X - center) / scale``, which is exact here but for its rounding."""
    X = columns_far_from_zero()
    held = hold(X, weight)
    center, scale = held.column_moments()
    design = torch.from_numpy((X - center.numpy()) / scale.numpy())
    design = torch.cat([design, torch.ones(N, 1).double()], dim=1)
    held = held.standardised(center, scale, LOSSES["binomial"].encode(held.targets))
    if getattr(held, "design", None) is not None and not formed:
        held.design = None
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(1, 2, 8, dtype=torch.float64, generator=generator)
    residual = torch.randn(N, 1, 2, dtype=torch.float64, generator=generator)
    columns, others = torch.tensor([1, 4, 6]), torch.arange(7)
    w = torch.as_tensor(weight)

    def kernel(block, rows, residual):
        block.matmul(params, out=rows)
        own = block.weight
        return (
            block.rmatmul(residual),
            block.gram(own[..., None], None),
            block.gram(own[..., None], None, columns),
            block.deviations(own[:, 0]),
            block.cross(own[:, 0], columns, others),
        )

    logits = held.empty_rows(1, 2)
    back, gram, some, squares, cross = held.reduce(kernel, logits, held.beside(residual))
    logits = logits[0:]
    both = design * w[:, None].sqrt()
    chosen = both[:, [*columns, 7]]

    def close(found, wanted, size):
        """To ten digits of the sizes of what is summed, the largest weight and row included."""
        assert (found - wanted).abs().max() <= 1e-10 * size

    largest = design.abs().max()
    close(logits[:, 0], design @ params[0].T, largest)
    close(back[0], residual[:, 0].T @ design, largest)
    close(gram[0, 0, :, 0], both.T @ both, w.sum())
    close(some[0, 0, :, 0], chosen.T @ chosen, w.sum())
    close(squares[1], both.square().sum(dim=0)[:-1], w.sum())
    close(cross, (both.T @ both)[columns], w.sum())
    if hasattr(held, "kernels"):
        penalty = torch.rand(7, dtype=torch.float64, generator=generator)
        outer = (design[:, :-1] * penalty) @ design[:, :-1].T
        close(held.outer(penalty), outer, outer.abs().max())


def test_entries_stored_in_parts_are_moved_once():
    X, y = columns_far_from_zero(), np.arange(N) % 2
    made = sp.csr_array(X)
    data, indices = np.repeat(made.data / 2, 2), np.repeat(made.indices, 2)
    halves = sp.csr_array((data, indices, 2 * made.indptr), shape=X.shape)
    assert not halves.has_canonical_format
    units = from_arrays(X, y).column_moments()
    residual = torch.rand(N, 1, 1, dtype=torch.float64)
    found = []
    for held in (from_arrays(made, y), from_arrays(halves, y)):
        held = held.standardised(*units, held.targets)
        found.append(held.reduce(lambda b: (b.rmatmul(residual), b.gram(residual, None))))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert halves.nnz == 2 * made.nnz


@pytest.mark.parametrize("n_logits", [8, 64])
def test_low_precision_far_from_zero(n_logits):
    """Entries are moved before they are rounded to float32."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(400_000 // n_logits, 4)).round(3)
    X = sp.csr_array(Z + 1e8)
    held = from_arrays(X, np.arange(len(Z)) % 2)
    center, scale = held.column_moments()
    encoded = LOSSES["binomial"].encode(held.targets)
    held = held.standardised(center, scale, encoded, n_logits)
    with without_kernels():  # which multiply sparse rows in float64
        rough = held.low_precision()
    assert rough is not held
    params = torch.ones(n_logits, 1, 5).double()
    logits = rough.empty_rows(n_logits, 1)
    rough.reduce(lambda block, out: (block.matmul(params, out=out).sum(),), logits)
    design = (X.toarray() - center.numpy()) / scale.numpy()
    np.testing.assert_allclose(logits[:, 0, 0], design.sum(axis=1) + 1, atol=1e-5)


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_sparse_rows_are_copied_where_they_have_to_be(far):
    X = sp.csr_array(np.random.default_rng(0).normal(size=(N, 3)) + [0.0, far, 0.0])
    before = X.data.copy()
    held = from_arrays(X, np.arange(N) % 2)
    moved = held.standardised(*held.column_moments(), held.targets)
    assert (moved.X is held.X) == (far == 0)
    np.testing.assert_array_equal(X.data, before)
    again = moved.take_columns(torch.tensor([1, 2]))
    assert again.X.data.max() < 10


def test_no_more_is_filled_in_than_there_is():
    """One row that weighs all: its columns are far from zero, and hold little else."""
    n, p = 1000, 300
    X = sp.random_array((n, p), density=0.01, format="lil", rng=np.random.default_rng(0))
    X[3] = 1.0
    X = sp.csr_array(X)
    weight = np.full(n, 1e-9)
    weight[3] = 1.0
    held = from_arrays(X, np.arange(n) % 2, weight)
    mean, deviation = held.column_moments()
    expected = exact_moments(X.toarray()[:, :5], weight)
    np.testing.assert_allclose(mean[:5], expected[0], rtol=1e-12)
    np.testing.assert_allclose(deviation[:5], expected[1], rtol=1e-6)
    moved = held.standardised(mean, deviation, held.targets)
    assert moved.X.nnz <= 2 * X.nnz


@pytest.mark.parametrize("make", [np.asarray, np.asfortranarray, sp.csr_array])
def test_gradients_keep_their_digits(make):
    """Where the mean is 1e5 deviations, a sum of entries less the mean loses five of them."""
    rng = np.random.default_rng(0)
    Z = (rng.normal(size=(4000, 40)) * 64).round() / 64
    held = from_arrays(make(Z + 2.0**17), np.arange(len(Z)) % 2)
    center = torch.full((40,), 2.0**17, dtype=torch.float64)
    held = held.standardised(center, torch.ones_like(center), held.targets)
    assert held.design is None
    residual = torch.from_numpy(rng.normal(size=(4000, 1, 1)))
    (back,) = held.reduce(lambda block, rows: (block.rmatmul(rows),), residual)
    error = np.abs(back[0, 0, :-1].numpy() - Z.T @ residual[:, 0, 0].numpy())
    assert error.max() <= 1e-15 * float(residual.abs().sum())

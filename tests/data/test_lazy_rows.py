"""Rows that are not at hand are computed with as the tensors that they are."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import softplus

from skorch_logreg.data import ComputedRows, DaskParts, RemoteRows, from_arrays
from skorch_logreg.data.partitioned import scatter_rows
from skorch_logreg.losses.softmax import softmax

dask = pytest.importorskip("dask")

LENGTHS = [5, 1, 9]


@pytest.fixture(params=["remote", "product", "with an offset", "written"])
def both(request):
    """An array as a tensor, and as rows that are not at hand."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    X, params, whole = drawn(15, 4), drawn(2, 3, 5), drawn(15, 2, 3)
    if request.param == "remote":
        return whole, scatter_rows(DaskParts([None] * 3, LENGTHS), whole)
    data = from_arrays(X, torch.zeros(15, dtype=torch.int64))
    data = replace(data, stores_logits=False, block_rows=4)
    logits = torch.einsum("np,mkp->nmk", torch.cat([X, torch.ones(15, 1).double()], dim=1), params)
    if request.param == "product":
        return logits, ComputedRows.product(data, params)
    if request.param == "with an offset":
        return logits + whole[:, :1], ComputedRows.product(data, params, whole[:, :1])

    def kernel(block, stored, computed, out):
        torch.mul(stored, computed, out=out)
        return (out.sum(dim=0),)

    out = data.empty_rows(2, 3)
    (total,) = data.reduce(kernel, whole, ComputedRows.product(data, params), out)
    torch.testing.assert_close(total, (logits * whole).sum(dim=0))
    return logits * whole, out


@pytest.fixture
def whole(both):
    return both[0]


@pytest.fixture
def remote(both):
    return both[1]


def written_in_place(x):
    y = x + 1
    z = y * 2
    y.mul_(3).sub_(x)
    return y - z


def divided_by_its_own_sum(x):
    y = x.square()
    y.div_(y.sum(dim=-1, keepdim=True))
    return y


def put_in_place(x):
    y = x.clone()
    return y.index_copy_(1, torch.tensor([1]), x[:, :1])


FUNCTIONS = {
    "arithmetic": lambda x: 1.0 - 2.0 * x + x / 3 - (-x),
    "of both": lambda x: torch.addcmul(x, x, torch.tensor([[2.0], [3.0]], dtype=x.dtype)),
    "softmax": softmax,
    "softplus": lambda x: softplus(x, threshold=40.0),
    "columns": lambda x: x[:, [1], :2],
    "last": lambda x: x[..., -1:],
    "joined": lambda x: torch.cat([x, x[:, :1]], dim=1),
    "float32": lambda x: x.to(torch.float32),
    "written in place": written_in_place,
    "divided in place": divided_by_its_own_sum,
    "put in place": put_in_place,
    "copied": lambda x: torch.empty_like(x).copy_(torch.arange(3.0)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_rows(name, whole, remote):
    expected, found = FUNCTIONS[name](whole), FUNCTIONS[name](remote)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    tol = max(rounding(remote), 4 * torch.finfo(found.dtype).eps)
    torch.testing.assert_close(found[0:], expected, rtol=tol, atol=tol)
    torch.testing.assert_close(remote[0:], whole, rtol=rounding(remote), atol=rounding(remote))


def rounding(rows):
    """Stored rows come as they are; products over other numbers of rows round differently."""
    return 0.0 if isinstance(rows, RemoteRows) else 1e-13


@pytest.mark.parametrize(
    "rows",
    [slice(0, None), slice(3, None, 4), slice(2, 9), slice(5, 6), slice(6, 6), slice(14, 99)],
)
def test_slices_of_rows_come_here(rows, whole, remote):
    tol = rounding(remote)
    torch.testing.assert_close((remote * 2)[rows], 2 * whole[rows], rtol=tol, atol=tol)


def test_sums_over_rows_come_here(whole, remote):
    assert len(remote) == 15
    if not isinstance(remote, RemoteRows):  # `Data.reduce` sums these
        with pytest.raises(TypeError, match="sum it with"):
            remote.sum(dim=0)
        return
    torch.testing.assert_close(remote.sum(dim=0), whole.sum(dim=0))
    torch.testing.assert_close(remote.sum(), whole.sum())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.mean(),
        lambda x: x.numel(),
        lambda x: x.T @ x,
        lambda x: torch.randn(15, 1, 1) + x,
        lambda x: x[3],
        lambda x: x[torch.tensor([0, 3])],
        lambda x: bool(x),
        lambda x: x.nonsense(),
        lambda x: x.tolist(),
    ],
)
def test_what_is_not_of_each_row_is_refused(function, remote):
    with pytest.raises((TypeError, AttributeError, RuntimeError)):
        function(remote)


def test_selected_and_replaced_models_are_one_product():
    """Else a pass would multiply all models, and a resumed fit would round in another way."""
    generator = torch.Generator().manual_seed(0)
    X, params, other = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((15, 4), (3, 2, 5), (2, 2, 5))
    )
    data = replace(from_arrays(X, torch.zeros(15, dtype=torch.int64)), stores_logits=False)
    few, offset = torch.tensor([2, 0]), X[:, :1, None]
    replaced = ComputedRows.product(data, params, offset)
    selected = replaced[:, few]
    replaced.index_copy_(1, few, ComputedRows.product(data, other, offset))
    for rows, expected in ((selected, params[few]), (replaced, params.index_copy(0, few, other))):
        assert torch.equal(rows.node.source.params, expected)
        assert torch.equal(rows[0:], ComputedRows.product(data, expected, offset)[0:])

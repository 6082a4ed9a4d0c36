"""Products of rows are the same in any order of their entries."""

import pytest
import torch

from skorch_logreg.data.tensors import multiply_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("in_cache", [False, True])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("k", [1, 2, 15, 16, 63, 64])
def test_rows_of_any_order_have_the_same_products(dtype, in_cache, by_column, k):
    generator = torch.Generator().manual_seed(k)
    rows = torch.randn(40, 7, dtype=torch.float64, generator=generator).to(dtype)
    coef = torch.randn(k, 7, dtype=torch.float64, generator=generator).to(dtype)
    constant = torch.randn(k, dtype=torch.float64, generator=generator).to(dtype)
    out = torch.full((50, k), torch.nan, dtype=dtype)[5:45]
    given = rows.T.contiguous().T if by_column else rows
    found = multiply_rows(given, coef, constant, out, in_cache=in_cache)
    assert found.data_ptr() == out.data_ptr()
    wanted = rows.double() @ coef.double().T + constant.double()
    size = rows.double().abs() @ coef.double().abs().T + constant.double().abs()
    assert ((out.double() - wanted).abs() <= 8 * torch.finfo(dtype).eps * size).all()

"""Rows of CSR arrays (promise 19: X is not copied)."""

import numpy as np
import pytest
import scipy.sparse as sp

from skorch_logreg.data.sparse import csr_rows


@pytest.mark.parametrize("rows", [slice(0, 9), slice(9, 30), slice(4, 5)])
def test_consecutive_rows_are_views(rows):
    """SciPy's constructor copies views of less than half of an array."""
    X = sp.random_array((30, 8), density=0.4, format="csr", rng=0, dtype=np.float32)
    part = csr_rows(X, rows)
    np.testing.assert_array_equal(part.toarray(), X.toarray()[rows])
    assert part.dtype == X.dtype
    assert np.shares_memory(part.data, X.data)
    assert np.shares_memory(part.indices, X.indices)

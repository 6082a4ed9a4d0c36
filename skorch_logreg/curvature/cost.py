"""What curvatures cost, in passes over X.

A written model of the machine decides, not a clock: the same fit takes the same way every time.
Constants are those of two cores of a server; only their ratios count.
"""

import torch

from skorch_logreg.data.low_precision import low_precision_dtype

_CALLS = 5e-4  # seconds of calls in a pass
_NUMBERS = 1.5e9  # of dense rows read a second
_ELEMENTS = 1e8  # values of the loss a second
_FLOPS = 1e11  # a second, in float64
_ROUGH_FLOPS = {torch.float32: 1.5e11, torch.bfloat16: 5e11}  # of symmetric products
_BLOCK_FLOPS = 1.2e11  # of float32 products of all outputs' weighted rows with the rows
_FILLED = 4e8  # numbers written a second into the factor of a rough product
_FACTOR_FLOPS = 6e10  # of a float32 Cholesky factor


def pass_seconds(n_samples: int, n_outputs: int, row_size: float, n_models: int = 1) -> float:
    """Time of a pass: reads, values of the loss, and products where models are many.

    Parameters
    ----------
    row_size : float
        What reading a row costs, in numbers of a dense one; see `Data`.
    """
    size = n_samples * n_outputs * n_models
    products = 4.0 * size * row_size / _FLOPS if n_models > 1 else 0.0
    return _CALLS + n_samples * row_size / _NUMBERS + size / _ELEMENTS + products


def exact_seconds(n_samples: int, n_outputs: int, n_columns: int, n_models: int = 1) -> float:
    """Time of building exact Hessians.

    A pass is bound by memory and a Hessian by arithmetic, so their ratio grows with the
    columns; on small data both are bound by the number of calls.
    """
    side = n_outputs * (n_columns + 1)
    # a product of few columns runs at a fraction of the rate of a square one
    rate = _FLOPS * side / (side + 80)
    return _CALLS + n_models * (2.0 * n_samples * side**2 + side**3 / 3) / rate


def rough_seconds(n_rows: int, n_outputs: int, n_columns: int, n_models: int = 1) -> float:
    """Time of building Hessians from low-precision products of some rows."""
    side = n_outputs * (n_columns + 1)
    rate = _ROUGH_FLOPS[low_precision_dtype(torch.device("cpu"), side)] * side / (side + 300)
    products = 1.2 * n_rows * side**2 / rate
    return _CALLS + n_models * (products + n_rows * side / _FILLED + side**3 / 3 / _FACTOR_FLOPS)


def solve_seconds(n_columns: int) -> float:
    """Time of solving a working set's quadratic problem: two factors, or so."""
    return _CALLS + 2 * n_columns**3 / 3 / _FACTOR_FLOPS


def blocks_seconds(n_rows: int, n_blocks: int, n_columns: int, n_models: int = 1) -> float:
    """Time of building blocks of outputs, all in one product, and of their factors."""
    side = n_columns + 1
    rate = _BLOCK_FLOPS * side / (side + 25)
    products = 2.0 * n_rows * side**2 / rate
    return _CALLS + n_models * n_blocks * (products + side**3 / 3 / _FACTOR_FLOPS)


def dual_cost(n_samples: int, n_outputs: int, n_models: int = 1) -> float:
    """Cost of building the inverse in passes over X; of a batch as of one, in its passes."""
    return 2.0 + n_samples / 25 + n_outputs * n_samples / 100

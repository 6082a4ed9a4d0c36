"""Cost model of curvatures, in seconds of a reference machine.

Costs are estimated from fixed constants instead of being measured, so that a fit is
reproducible.  The constants are those of two cores of a server; only their ratios matter.
"""

import torch

from skorch_logreg.data.low_precision import low_precision_dtype

_CALLS = 5e-4  # seconds of overhead per pass
_NUMBERS = 3e9  # numbers of dense rows read per second
_ELEMENTS = 1e8  # values of the loss computed per second
_FLOPS = 1e11  # float64 operations per second, and those of a float32 factorisation
# operations per second of symmetric products, by type
_ROUGH_FLOPS = {torch.float32: 1.5e11, torch.bfloat16: 5e11}
_FILLED = 4e8  # numbers per second written into the factor of a low-precision product


def pass_seconds(n_samples: int, n_outputs: int, row_size: float, n_models: int = 1) -> float:
    """Estimate the time of a pass: reads, values of the loss, and products of several models.

    A model has ``n_outputs`` logits, and ``row_size`` is the cost of reading a row, in numbers of
    a dense one; see `Data`.
    """
    size = n_samples * n_outputs * n_models
    if n_outputs == n_models == 1:  # a kernel reads the rows once
        return _CALLS + n_samples * row_size / _NUMBERS + size / _ELEMENTS
    products = 4.0 * size * row_size / _FLOPS
    return _CALLS + 2 * n_samples * row_size / _NUMBERS + size / _ELEMENTS + products


def exact_seconds(
    n_samples: int, n_outputs: int, n_columns: int, n_models: int = 1, has_kernel: bool = False
) -> float:
    """Estimate the time to build exact Hessians.

    A pass is bound by memory and a Hessian by arithmetic, so their ratio grows with the number of
    columns; on small data both are bound by the overhead of calls. ``has_kernel``: whether a
    kernel computes one triangle, and the products of two columns once for all pairs of classes.
    """
    side = n_outputs * (n_columns + 1)
    if has_kernel:
        # of few columns, it takes as long to form the products as to multiply them
        products = max(n_outputs - 1, 1) * n_samples * side * (n_columns + 20) / _FLOPS
        return _CALLS + n_models * (products + side**3 / 3 / _FLOPS)
    # products of few columns reach a fraction of the peak rate
    rate = _FLOPS * side / (side + 80)
    return _CALLS + n_models * (2.0 * n_samples * side**2 + side**3 / 3) / rate


def rough_seconds(n_rows: int, n_outputs: int, n_columns: int, n_models: int = 1) -> float:
    """Estimate the time to build Hessians from low-precision products of some rows."""
    side = n_outputs * (n_columns + 1)
    rate = _ROUGH_FLOPS[low_precision_dtype(torch.device("cpu"), side)] * side / (side + 300)
    products = 1.2 * n_rows * side**2 / rate
    return _CALLS + n_models * (products + n_rows * side / _FILLED + side**3 / 3 / _FLOPS)


def blocks_seconds(n_rows: int, n_blocks: int, n_columns: int, n_models: int = 1) -> float:
    """Estimate the time to build and factor blocks of outputs, all in one product."""
    side = n_columns + 1
    rate = _ROUGH_FLOPS[torch.float32] * side / (side + 25)
    products = 2.0 * n_rows * side**2 / rate
    return _CALLS + n_models * n_blocks * (products + side**3 / 3 / _FLOPS)


def dual_cost(n_samples: int, n_outputs: int, n_columns: int, n_models: int = 1) -> float:
    """Estimate the cost of the inverse through a matrix of rows, in passes of the same models."""
    # operations of a factorisation relative to a pass, which has a third of their rate (600 x 768,
    # 3 classes: conjugate gradients take a tenth of the time; 300 x 1500: three times as long)
    factor = (n_samples * n_outputs) ** 2 / (36 * n_columns)
    return 2.0 + n_samples / 25 + n_outputs * n_samples / 100 + factor

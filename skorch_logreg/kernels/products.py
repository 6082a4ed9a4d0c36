"""Typed calls of the passes and Gram matrices of dense rows with several logits.

A function returns None where no kernel takes its arguments, as in `passes`.  Rows X have shape
(rows, p), and ``center`` (p,) is subtracted from them if it is not None.  Logits and residuals have
shape (rows, m, K), targets (rows, m or 1, 1), as the loss encodes classes, and weights
(rows, m or 1).  ``affine`` are a slope (m, K, p) and a shift (m, K).  Sums over the rows have shape
(m, K, p + 1), those of ``[X - center, 1]``.
"""

from typing import Any

import torch
from torch import Tensor

from skorch_logreg.kernels.library import compiled
from skorch_logreg.kernels.passes import by_row, of_rows

# as in products.c
_PRODUCT, _LOGISTIC, _MULTINOMIAL, _CURVATURE = range(4)
_LOSSES = {"logistic": (_LOGISTIC, torch.float64), "multinomial": (_MULTINOMIAL, torch.int64)}


def _run(
    X: Any,
    center: Tensor | None,
    kind: int,
    shape: torch.Size,
    *,
    rows: tuple[Tensor | None, Tensor | None] = (None, None),
    affine: tuple[Tensor, Tensor] | None = None,
    before: Tensor | None = None,
    logits: Tensor | None = None,
    sums_rows: bool = True,
) -> tuple[Tensor, Tensor] | None:
    """Run the kernel, and return its sums of losses (m,) and, if wanted, over the rows."""
    kernel, (_, n_models, n_outputs) = of_rows(X, "models"), shape
    n_logits = n_models * n_outputs
    if kernel is None or n_logits == 1 or 0 in X.shape:
        return None
    for array in (before, logits, rows[1]):
        if array is not None and array.dtype != torch.float64:
            return None
    if any(a is not None and not a.is_contiguous() for a in (before, logits)):
        return None
    if kind in (_MULTINOMIAL, _CURVATURE) and n_outputs > compiled("multinomial_max_classes")():
        return None
    side = X.shape[1] + 1
    flat = None if affine is None else [a.to(torch.float64).contiguous() for a in affine]
    size = compiled("dense_models_buffer")(side - 1, n_models, n_logits)
    buffer = torch.empty(size, dtype=torch.float64, device="cpu")
    sums = buffer.new_zeros(2, n_models)
    gradient = buffer.new_empty(n_models, n_outputs, side if sums_rows else 0)
    places = [None if a is None else a.data_ptr() for a in (before, logits)]
    kernel(
        None if center is None else center.data_ptr(),
        *(kind, n_models, n_outputs),
        *(number for row in rows for number in ((None, 0, 0) if row is None else by_row(row))),
        *((None, None) if flat is None else map(Tensor.data_ptr, flat)),
        *places,
        sums.data_ptr() if kind in (_LOGISTIC, _MULTINOMIAL) else None,
        gradient.data_ptr() if sums_rows else None,
        buffer.data_ptr(),
    )
    return sums[0], gradient


def product(X: Any, center: Tensor | None, affine: tuple[Tensor, Tensor], out: Tensor) -> bool:
    """Write ``(X - center) slope' + shift`` into ``out``, and return True, if there is a kernel."""
    found = _run(X, center, _PRODUCT, out.shape, affine=affine, logits=out, sums_rows=False)
    return found is not None


def transposed_product(X: Any, center: Tensor | None, residual: Tensor) -> Tensor | None:
    """Compute the sums of the rows times residuals."""
    found = _run(X, center, _PRODUCT, residual.shape, before=residual)
    return None if found is None else found[1]


def loss_terms(
    loss: str,
    X: Any,
    center: Tensor | None,
    *,
    targets: Tensor,
    weight: Tensor,
    affine: tuple[Tensor, Tensor],
    logits: Tensor,
    before: Tensor | None,
) -> tuple[Tensor, Tensor] | None:
    """Write logits ``before + (X - center) slope' + shift``, and sum a loss and its gradient.

    Returns the weighted losses (m,) and the sums of the rows times weighted residuals.
    """
    if loss not in _LOSSES:
        return None
    kind, dtype = _LOSSES[loss]
    if targets.dtype != dtype:
        return None
    if before is not None:  # an offset may be the same for all logits
        before = before.expand_as(logits).contiguous()
    return _run(
        *(X, center, kind, logits.shape),
        rows=(targets, weight),
        affine=affine,
        before=before,
        logits=logits,
    )


def softmax_hessian_product(
    X: Any, center: Tensor | None, proba: Tensor, weight: Tensor, affine: tuple[Tensor, Tensor]
) -> Tensor | None:
    """Compute the Hessian of the multinomial loss times parameters, from probabilities."""
    rows = None, weight
    found = _run(X, center, _CURVATURE, proba.shape, rows=rows, affine=affine, before=proba)
    return None if found is None else found[1]


def has_grams(n_outputs: int) -> bool:
    """Return True if `grams` takes the pairs of so many classes of dense rows."""
    room = compiled("dense_grams_buffer")
    return room is not None and room(1, 1, n_outputs, True) > 0


def grams(
    X: Any,
    units: tuple[Tensor, Tensor] | None,
    weight: Tensor,
    columns: Tensor | None,
    *,
    are_pairs: bool = False,
    is_rough: bool = False,
) -> Tensor | None:
    """Compute ``sum_i w_i [z_i 1]'[z_i 1]`` (n_matrices, c + 1, c + 1) for one or several weights.

    ``z = (x - center) / scale``, with the two in ``units``, has some columns, or all. The weights
    of a row are those of ``weight`` (rows, n_matrices), not negative, or the products of all pairs
    of its columns, in the order of `torch.tril_indices` below the diagonal. The result is also None
    for more classes than `has_grams` takes, and if the product of two columns overflows.
    Products are computed in float32 if ``is_rough``.
    """
    kernel = of_rows(X, "grams")
    if kernel is None or weight.dtype != torch.float64:
        return None
    weight, (n_rows, n_weights) = weight.contiguous(), weight.shape
    if units is None:
        own = None
    else:
        own = [a.to(torch.float64).contiguous() for a in (units[0], units[1].reciprocal())]
    chosen = None if columns is None else columns.to(torch.int64).contiguous()
    side = 1 + (X.shape[1] if chosen is None else len(chosen))
    room = compiled("dense_grams_buffer")(n_rows, side, n_weights, are_pairs)
    if not room:
        return None
    n_matrices = n_weights * (n_weights - 1) // 2 if are_pairs else n_weights
    out = weight.new_empty(n_matrices, side, side)
    buffer = weight.new_empty(room)
    kernel(
        *(None if chosen is None else chosen.data_ptr(), side - 1),
        *((None, None) if own is None else map(Tensor.data_ptr, own)),
        *(weight.data_ptr(), n_weights, are_pairs, is_rough, out.data_ptr(), buffer.data_ptr()),
    )
    return out if bool(out.sum().isfinite()) else None

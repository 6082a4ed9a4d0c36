"""Typed calls of the compiled kernels that take logits of many models.

A function returns None where no kernel takes its arguments, as in `passes`.  ``loss`` names the
kernels of a loss, "logistic" or "multinomial"; None has none.  Logits have shape (rows, m, K),
targets (rows, m or 1, 1), as the loss encodes classes, and weights (rows, m or 1).
"""

import torch
from torch import Tensor

from skorch_logreg.kernels.library import compiled
from skorch_logreg.kernels.passes import by_row


def _shape(loss: str | None, logits: Tensor, other: Tensor) -> tuple[int, ...] | None:
    """Return the arguments that describe logits, and an array like them, or None."""
    is_single = logits.dtype == torch.float32
    if logits.dtype != torch.float64 and not (is_single and loss != "cumulative"):
        return None
    for array in (logits, other):
        if array.device.type != "cpu" or array.dtype != logits.dtype:
            return None
        if not array.is_contiguous() or array.numel() == 0:
            return None
    if loss != "multinomial":
        return tuple(logits.shape[:2])
    most = compiled("multinomial_max_classes")
    return (is_single, *logits.shape) if most and logits.shape[2] <= most() else None


def _call(
    loss: str | None,
    name: str,
    logits: Tensor,
    other: Tensor,
    *,
    rows: tuple[Tensor, ...],
    ends: tuple[Tensor, ...],
) -> bool:
    """Run a kernel, and return True, if there is one for the arguments."""
    dtype = _dtype(loss, logits)
    is_single = dtype == torch.float32
    if is_single and any(row.dtype != dtype for row in rows):
        return False  # torch computes such losses in float64
    function = compiled(f"{loss}_{name}_single" if is_single else f"{loss}_{name}")
    shape = _shape(loss, logits, other)
    if function is None or shape is None:
        return False
    rows = tuple(row.to(dtype) if row.is_floating_point() else row for row in rows)
    arrays = (argument for row in rows for argument in by_row(row))
    function(logits.data_ptr(), *shape, *arrays, *(end.data_ptr() for end in ends))
    return True


def _dtype(loss: str | None, logits: Tensor) -> torch.dtype:
    """Return the type of signs, weights and steps: with one logit that of logits, else float64."""
    return logits.dtype if loss == "logistic" else torch.float64


def weighted_loss(
    loss: str | None, logits: Tensor, targets: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Sum the losses of all models, and compute their weighted residuals.

    Returns the weighted losses (m,) in float64, and residuals (rows, m, K) of the logits' type.
    """
    residual = torch.empty_like(logits)
    sums = logits.new_zeros(2, logits.shape[1], dtype=torch.float64)
    rows, ends = (targets, weight), (sums, residual)
    if _call(loss, "models", logits, residual, rows=rows, ends=ends):
        return sums[0], residual
    return None


def cumulative_sums(logits: Tensor, targets: Tensor, weight: Tensor, ends: Tensor) -> Tensor | None:
    """Sum weighted terms of the cumulative logistic loss by class, (classes, 5, m).

    These are the probabilities of being beyond the upper and the lower end of the interval of the
    class, their derivatives, and the weights; ``ends`` (classes, 2, m) are the ends.
    """
    ends = ends.contiguous()
    by_class = ends.new_zeros(ends.shape[0], 5, ends.shape[2])
    rows, outs = (targets, weight), (ends, by_class)
    return by_class if _call("cumulative", "sums", logits, logits, rows=rows, ends=outs) else None


def cumulative_loss(
    logits: Tensor, targets: Tensor, weight: Tensor, ends: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Sum cumulative logistic losses (m,), and compute weighted residuals (rows, m, 1).

    ``shares`` (classes, m) are added to the loss of each class; ``ends`` as in `cumulative_sums`.
    """
    residual = torch.empty_like(logits)
    sums = logits.new_zeros(2, logits.shape[1], dtype=torch.float64)
    outs = (ends.contiguous(), shares.contiguous(), sums, residual)
    if _call("cumulative", "models", logits, residual, rows=(targets, weight), ends=outs):
        return sums[0], residual
    return None


def loss_along(
    loss: str | None,
    logits: Tensor,
    change: Tensor,
    step: Tensor,
    *,
    targets: Tensor,
    weight: Tensor,
) -> tuple[Tensor, ...] | None:
    """Sum the losses at ``logits + step * change``, and their derivatives in the steps (m,).

    Returns the weighted losses, first and second derivatives (m,) in float64.
    """
    step = step.to(_dtype(loss, logits)).contiguous()
    sums = logits.new_zeros(3, 2, logits.shape[1], dtype=torch.float64)
    rows, ends = (targets, weight), (sums, change, step)
    if _call(loss, "along", logits, change, rows=rows, ends=ends):
        return tuple(sums[:, 0])
    return None


def loss_of_moved(
    loss: str | None,
    logits: Tensor,
    before: Tensor,
    limit: float,
    *,
    targets: Tensor,
    weight: Tensor,
) -> Tensor | None:
    """Bound the loss (m,) of the logits that differ by more than ``limit`` from those before.

    These are the sums of ``weight * abs(residual) * max(margin, 1)``. With several classes, the
    margin is that of the largest logit over the row's own class, for the residual of that class.
    """
    sums = logits.new_zeros(2, logits.shape[1], dtype=torch.float64)
    limits = logits.new_tensor([limit], dtype=_dtype(loss, logits))
    rows, ends = (targets, weight), (sums, before, limits)
    return sums[0] if _call(loss, "moved", logits, before, rows=rows, ends=ends) else None


def multiply_softmax_curvature(proba: Tensor, change: Tensor, weight: Tensor) -> bool:
    """Multiply changes of logits with ``weight * (diag(p) - p p')``, in place.

    Returns False, and leaves them as they are, where no kernel takes the arguments.
    """
    return _call("multinomial", "product", proba, change, rows=(weight,), ends=(change,))

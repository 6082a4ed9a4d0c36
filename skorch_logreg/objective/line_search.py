"""Line search on convex functions by Newton's method, safeguarded by a bracket."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_STEP_LOGITS = 4.0  # first step of logits, which a search extends as far as needed
MAX_STEPS = 50  # of an iteration that rounding may prevent from an end
SLOPE_LEFT = 0.5  # share of the slope that a step may leave without a line search
_SEARCHED_SLOPE_LEFT = 0.3  # and after one


def line_search(
    along: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
    start: Tensor,
    value: Tensor,
    rounding: float,
) -> Tensor:
    """Find step lengths (m,) along descent directions of convex functions; 0 if none is found.

    Newton's method on the slope, safeguarded by a bracket, because it diverges with heavy-tailed
    columns, and reduces an exponential by a factor of e only: a bracket that is not halved is
    bisected.  If it spans powers of ten it is bisected geometrically: saturated rows have
    almost no curvature, and a direction may be 1e40 times too long.  The functions are convex, so
    they have decreased wherever the slope is still negative; such a step is the result if the
    search does not converge.

    Parameters
    ----------
    along : callable
        Takes step lengths (m,), and returns the values, slopes and curvatures (m,) there.
    start, value : Tensor of shape (m,)
        Slopes and values at a step of zero.
    rounding : float
        Relative rounding error of values.
    """
    step = torch.ones_like(start)
    low, high = torch.zeros_like(start), torch.full_like(start, torch.inf)
    shrink, fine = torch.full_like(start, 0.5), torch.zeros_like(start, dtype=torch.bool)
    limit = value + rounding * value.abs()
    for _ in range(MAX_STEPS):
        ahead, slope, curvature = along(step)
        left = slope < 0
        fine = (slope.abs() <= _SEARCHED_SLOPE_LEFT * start.abs()) & ((ahead <= limit) | left)
        if bool((fine | (start >= 0)).all()):
            break
        width = high - low
        low = torch.where(left & ~fine, step, low)
        high = torch.where(left | fine, high, step)
        newton = step - slope / curvature
        middle = torch.where(low > 0, (low * high).sqrt(), shrink * high)
        middle = torch.where(high.isinf(), 4 * step, middle)
        shrink = torch.where(low > 0, shrink, shrink.square())
        inside = (newton > low) & (newton < high) & (newton <= 10 * step)
        inside &= width.isinf() | (high - low <= width / 2)
        step = torch.where(fine, step, torch.where(inside, newton, middle))
    return torch.where(start < 0, torch.where(fine, step, low), torch.zeros_like(step))

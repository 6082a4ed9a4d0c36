"""Count the steps of each model that make no progress."""

import math
from collections.abc import Sequence
from typing import Any

from skorch_logreg.objective import MAX_EXCESS, VALUE_ROUNDING
from skorch_logreg.subproblems.quadratic import MAX_STALLS


def stuck_models(
    least: Sequence[Sequence[float]], state: Any, tol: float = 0.0
) -> list[bool | None]:
    """Return True for models whose step makes no progress, None after overflow.

    ``least`` are the least values and the least decrements before the step.
    Progress is a new least value or half the least decrement: where both are rounding, every other
    step lowers one of them.  Where the decrement is far below ``tol**2`` times the value, a fall of
    the value by less than that does not count: the rounding of logits may lower it for ever.
    """
    new = zip(state.point.value.tolist(), state.decrement.tolist(), strict=True)
    stuck: list[bool | None] = []
    for f0, d0, (f1, d1) in zip(*least, new, strict=True):
        is_proven = d1 <= (tol / MAX_EXCESS) ** 2 * f1
        least_fall = (tol**2 if is_proven else VALUE_ROUNDING) * f0
        is_finite = math.isfinite(f1) and math.isfinite(d1)
        no_less = d1 > 0.5 * d0 or d0 <= 0
        stuck.append(f1 >= f0 - least_fall and no_less if is_finite else None)
    return stuck


def count_stalls(stalls: tuple[int, ...], stuck: list[bool | None]) -> tuple[int, ...]:
    """Count the steps without progress in a row of each model; see `stuck_models`."""
    return tuple(
        MAX_STALLS if s is None else s * (n + 1) for s, n in zip(stuck, stalls, strict=True)
    )

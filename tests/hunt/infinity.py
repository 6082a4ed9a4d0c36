"""Whether the minimum is attained: directions along which the objective falls for ever."""

import numpy as np
from scipy.optimize import linprog

from tests.hunt.objective import Task

_GAIN = 1e-7  # of a margin of size one, that is no rounding of the linear programme's
_LP_SECONDS = 30.0  # of one method; a program that none solves counts as one without a gain


def recedes(task: Task) -> bool:
    """Whether the objective falls without end, or towards a value that it does not reach.

    It does along a direction of coefficients without penalty and bound, in which no class of a
    row that it has weight in falls behind another, and one gets ahead.
    """
    k, d = task.n_outputs, task.rows.shape[1]
    free = (task.ridge == 0) & (task.lasso == 0)
    if task.groups is not None:
        free &= task.groups < 0
    # without a bound ahead they may grow
    up, down = free & np.isposinf(task.high), free & np.isneginf(task.low)
    up, down = np.append(up, task.fit_intercept), np.append(down, task.fit_intercept)
    if not (up | down).any():
        return False
    rows, n_classes = task.rows.astype(np.float64), task.mass.shape[1]
    margins = []
    for c in range(n_classes):
        own = rows[task.mass[:, c] > 0]
        for other in range(n_classes):
            if other == c or not len(own):
                continue
            block = np.zeros((len(own), k, d))
            if k == 1:
                block[:, 0] = own if c == 1 else -own
            else:
                block[:, c], block[:, other] = own, -own
            margins.append(block.reshape(len(own), -1))
    margins = np.concatenate(margins)
    margins = np.unique(margins, axis=0)
    bounds = [(-float(b), float(a)) for _ in range(k) for a, b in zip(up, down, strict=True)]
    options = {f"{side}_feasibility_tolerance": 1e-10 for side in ("primal", "dual")}
    for method in ("highs", "highs-ipm"):  # the simplex method may cycle
        found = linprog(
            -margins.sum(axis=0), A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=bounds,
            method=method, options=options | {"time_limit": _LP_SECONDS},
        )  # fmt: skip
        if found.status == 0:
            break
    return bool(found.status == 0 and -found.fun > _GAIN)

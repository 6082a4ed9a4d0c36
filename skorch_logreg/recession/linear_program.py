"""Linear programs over a cone of directions, solved to float64 precision."""

from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp

from skorch_logreg.objective.line_search import MAX_STEPS
from skorch_logreg.recession.saturated import MIN_SHARE

_EPS = np.finfo(np.float64).eps
_TOLERANCE = 1e-10  # smallest feasibility tolerance that HiGHS accepts
MIN_GAIN = 10 * _TOLERANCE  # gain of a row in the unit box above the error of a solution
# values below which a row may be active at a vertex, tried in turn
_ZERO_ROUNDINGS = (100 * MIN_GAIN, MIN_GAIN, MIN_GAIN / 100)


class Cone:
    """Directions ``w`` in a box with ``rows w >= 0``; bounds are -1, 0 or 1."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self._bounds = np.column_stack([low, high])
        self._rows = sp.csr_array((0, len(low)))

    def add(self, rows: Any) -> None:
        """Add rows, each scaled to a largest entry of 1."""
        self._rows = sp.vstack([self._rows, _unit_rows(sp.csr_array(rows))], format="csr")

    def maximise(self, gain: np.ndarray) -> np.ndarray | None:
        """Maximise ``gain w``.

        HiGHS allows rows to be negative by its tolerance. Its vertex is therefore recomputed from
        the constraints that are active there. If a row is still violated by more than rounding, it
        is scaled up, and its error with it, and the program is solved again. Returns None if zero
        is optimal, or if rounding decides.
        """
        gain = gain / np.abs(gain).max(initial=1e-300)
        rows = self._rows
        for _ in range(MAX_STEPS):
            found = _solve(rows, gain, self._bounds)
            if found is None or gain @ found <= MIN_GAIN:
                return None
            for near, is_free in product(_ZERO_ROUNDINGS, (False, True)):
                vertex = self._vertex(found, near, is_free)
                if not self.violated(self._rows, vertex).any():
                    return vertex if gain @ vertex > MIN_GAIN else None
            violated = self.violated(self._rows, found)
            if not violated.any():
                return found
            # differences of columns that repeat each other but for rounding are long, and no gain
            sparse = self.sparsest(found, gain, np.ones(len(found)))
            if sparse is not found and gain @ sparse > MIN_GAIN:
                return sparse
            size = np.where(violated, 1e-2 / np.abs(self._rows @ found).clip(_EPS), 1.0)
            rows = sp.csr_array(rows.multiply(np.maximum(size, 1.0)[:, None]))
        return None

    def sparsest(self, direction: np.ndarray, gain: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """Find a direction with the least sum of ``costs`` times absolute values.

        Every row, and the total gain, is at least a tenth of its value along ``direction``. If
        columns are collinear there are many equivalent directions, and this one uses few columns.
        """
        low, high = self._bounds.T
        gain = gain / np.abs(gain).max(initial=1e-300)
        rows = sp.vstack([self._rows, gain[None]], format="csr")
        lead = rows @ direction
        least = np.where(lead > MIN_GAIN, MIN_SHARE * lead, 0.0)
        both = sp.hstack([rows, -rows], format="csr")
        bounds = np.column_stack([np.zeros(2 * len(low)), np.concatenate([high, -low])])
        found = _solve(both, -np.tile(costs, 2), bounds, least)
        if found is None:
            return direction
        found = found[: len(low)] - found[len(low) :]
        for near in _ZERO_ROUNDINGS:
            vertex = self._vertex(found, near, False)
            keeps_gains = (rows @ vertex >= least / 2 - _TOLERANCE).all()
            if keeps_gains and not self.violated(self._rows, vertex).any():
                return vertex
        return direction

    @staticmethod
    def violated(rows: Any, direction: np.ndarray) -> np.ndarray:
        """Return a mask of the rows that are negative by more than rounding."""
        return rows @ direction < -64 * _EPS * (abs(rows) @ np.abs(direction))

    def _vertex(self, found: np.ndarray, near: float, is_free: bool) -> np.ndarray:
        """Solve for a vertex from the rows and the bounds that are active there.

        Entries near zero are set to zero unless ``is_free``.
        """
        low, high = self._bounds.T
        at_side = (found <= low + near) | (found >= high - near)
        vertex = np.where(at_side, np.where(found > 0, high, np.where(found < 0, low, 0.0)), found)
        if not is_free:
            vertex = np.where(np.abs(found) <= near, 0.0, vertex)
            at_side |= np.abs(found) <= near
        holding = self._rows[np.abs(self._rows @ found) <= near]
        if at_side.all() or not holding.shape[0]:
            return vertex
        free = holding[:, np.flatnonzero(~at_side)].toarray()
        for _ in range(2):  # the second pass refines the first
            step = np.linalg.lstsq(free, -(holding @ vertex), rcond=1e-12)[0]
            vertex[~at_side] += step
        return vertex


def _solve(
    rows: Any, gain: np.ndarray, bounds: np.ndarray, least: np.ndarray | None = None
) -> np.ndarray | None:
    """Maximise ``gain w`` subject to ``rows w >= least``, which is zero if None.

    If columns are collinear up to rounding, HiGHS may fail; it is then tried without presolve, and
    with its interior-point method. None if all fail.
    """
    from scipy.optimize import linprog  # slow to import, and rarely needed

    most = np.zeros(rows.shape[0]) if least is None else -least
    options: dict[str, Any]
    options = {f"{side}_feasibility_tolerance": _TOLERANCE for side in ("primal", "dual")}
    for method, presolve in (("highs", True), ("highs", False), ("highs-ipm", True)):
        own = {**options, "presolve": presolve}
        found = linprog(-gain, -rows, most, bounds=bounds, method=method, options=own)
        if found.x is not None:
            return np.asarray(found.x)
    return None


def _unit_rows(rows: Any) -> Any:
    largest = abs(rows).max(axis=1).toarray().ravel()
    return sp.csr_array(rows.multiply(1 / np.where(largest > 0, largest, 1.0)[:, None]))

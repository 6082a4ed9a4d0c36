"""Linear programmes over a cone of directions, to the last digits of float64."""

from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp

_EPS = np.finfo(np.float64).eps
_TOLERANCE = 1e-10  # the least that HiGHS takes
_MIN_GAIN = 1e-9  # gain in the box of one: what the solver's tolerance may make of zero
_NEAR_ZERO = (1e-7, 1e-9, 1e-11)  # a row that near to zero may be one of those that hold the vertex
_MIN_SHARE = 0.1  # of what rows gain that fewer columns may leave
_MAX_SOLVES = 8  # with rows scaled up that rounding of the solver let through


class Cone:
    """Directions ``w`` in a box with ``rows w >= 0``.

    Parameters
    ----------
    low, high : ndarray of shape (n_directions,)
        Bounds, -1, 0 or 1.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self._bounds = np.column_stack([low, high])
        self._rows = sp.csr_array((0, len(low)))

    def add(self, rows: Any) -> None:
        """Add rows; each is scaled to a largest entry of one."""
        self._rows = sp.vstack([self._rows, _unit_rows(sp.csr_array(rows))], format="csr")

    def maximise(self, gain: np.ndarray) -> np.ndarray | None:
        """Maximise ``gain w``.

        HiGHS lets a row be wrong by its tolerance.  Its vertex is computed again from the rows
        that hold it; a row that is wrong by more than rounding is scaled up, and with it what its
        error counts.

        Returns
        -------
        direction : ndarray or None
            None where zero is the best, or rounding decides.
        """
        gain = gain / np.abs(gain).max(initial=1e-300)
        rows = self._rows
        for _ in range(_MAX_SOLVES):
            found = _solve(rows, gain, self._bounds)
            if found is None or gain @ found <= _MIN_GAIN:
                return None
            for near, is_free in product(_NEAR_ZERO, (False, True)):
                vertex = self._vertex(found, near, is_free)
                if not self.violated(self._rows, vertex).any():
                    return vertex if gain @ vertex > _MIN_GAIN else None
            violated = self.violated(self._rows, found)
            if not violated.any():
                return found
            size = np.where(violated, 1e-2 / np.abs(self._rows @ found).clip(_EPS), 1.0)
            rows = sp.csr_array(rows.multiply(np.maximum(size, 1.0)[:, None]))
        return None

    def sparsest(self, direction: np.ndarray, gain: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """Find a direction with the least sum of ``costs`` times absolute values.

        Every row, and the gain of all, has a tenth of what it has along ``direction``, at least.
        Where columns repeat each other many directions are the same, and this one has few columns.
        """
        low, high = self._bounds.T
        gain = gain / np.abs(gain).max(initial=1e-300)
        rows = sp.vstack([self._rows, gain[None]], format="csr")
        lead = rows @ direction
        least = np.where(lead > _MIN_GAIN, _MIN_SHARE * lead, 0.0)
        both = sp.hstack([rows, -rows], format="csr")
        bounds = np.column_stack([np.zeros(2 * len(low)), np.concatenate([high, -low])])
        found = _solve(both, -np.tile(costs, 2), bounds, least)
        if found is None:
            return direction
        found = found[: len(low)] - found[len(low) :]
        for near in _NEAR_ZERO:
            vertex = self._vertex(found, near, False)
            lead = rows @ vertex
            if (
                not self.violated(self._rows, vertex).any()
                and (lead >= least / 2 - _TOLERANCE).all()
            ):
                return vertex
        return direction

    @staticmethod
    def violated(rows: Any, direction: np.ndarray) -> np.ndarray:
        """Which rows are below zero by more than rounding."""
        return rows @ direction < -64 * _EPS * (abs(rows) @ np.abs(direction))

    def _vertex(self, found: np.ndarray, near: float, is_free: bool) -> np.ndarray:
        """Solve for a vertex from the rows, and the sides of the box, that hold it.

        Entries near zero remain there unless that ``is_free``.
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
        for _ in range(2):  # the second time refines
            step = np.linalg.lstsq(free, -(holding @ vertex), rcond=1e-12)[0]
            vertex[~at_side] += step
        return vertex


def _solve(
    rows: Any, gain: np.ndarray, bounds: np.ndarray, least: np.ndarray | None = None
) -> np.ndarray | None:
    """Maximise ``gain w`` where ``rows w >= least``, which is zero if None."""
    from scipy.optimize import linprog  # takes long to import, and is seldom wanted

    found = linprog(
        -gain,
        A_ub=-rows,
        b_ub=np.zeros(rows.shape[0]) if least is None else -least,
        bounds=bounds,
        method="highs",
        options={
            "primal_feasibility_tolerance": _TOLERANCE,
            "dual_feasibility_tolerance": _TOLERANCE,
        },
    )
    return None if found.x is None else np.asarray(found.x)


def _unit_rows(rows: Any) -> Any:
    largest = abs(rows).max(axis=1).toarray().ravel()
    return sp.csr_array(rows.multiply(1 / np.where(largest > 0, largest, 1.0)[:, None]))

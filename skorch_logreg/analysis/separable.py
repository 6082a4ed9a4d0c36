"""Whether classes can be separated, so that coefficients have no finite estimate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import _get_feature_names

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import to_numpy

_NONE = 1e-9  # of a direction in the box of one, and of a margin


@dataclass(frozen=True)
class Separation:
    """What `separation` finds.

    Attributes
    ----------
    is_separated : bool
        Whether some coefficients have no finite estimate of maximum likelihood.
    is_complete : bool
        Whether a plane has all rows of a class on one side and none upon it.
    direction : dict of str to float
        Features (and "intercept") that go to infinity, and the sign.
    n_separated : int
        Rows that are not on the plane.
    """

    is_separated: bool
    is_complete: bool
    direction: dict[str, float]
    n_separated: int


def separation(X: Any, y: Any, *, fit_intercept: bool = True) -> Separation:
    """Find out whether a plane separates two classes, and which columns make it.

    The linear programme: of all directions ``w`` in the box ``|w_j| <= 1`` that put no row on the
    wrong side, ``t_i x_i w >= 0`` with ``t_i`` 1 or -1, take the one with the largest sum of
    margins.  Where that is zero, the estimate of maximum likelihood is finite.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Labels of two classes.
    fit_intercept : bool, default=True

    Returns
    -------
    separation : Separation

    Raises
    ------
    ParameterError
        If there are not two classes.

    Notes
    -----
    Columns are scaled to a largest value of one.  For more than two classes ask for each pair.

    References
    ----------
    Albert, Anderson (1984). On the existence of maximum likelihood estimates in logistic
    regression models, Biometrika 71.  Konis (2007). Linear programming algorithms for detecting
    separated data in binary logistic regression models, thesis, Oxford, section 4.4.

    Examples
    --------
    >>> from skorch_logreg import separation
    >>> found = separation([[0, 3], [0, 1], [1, 2], [1, 0]], ["no", "no", "no", "yes"])
    >>> found.is_separated, found.is_complete
    (True, True)
    """
    names = _get_feature_names(X)
    X, y = to_numpy(X), to_numpy(y)
    X = check_array(X, accept_sparse="csr", dtype=np.float64)
    y = column_or_1d(y)
    check_consistent_length(X, y)
    classes = np.unique(y)
    if len(classes) != 2:
        raise ParameterError(f"y holds {len(classes)} classes; separation is asked of two.")
    if names is None:
        names = [f"x{j}" for j in range(X.shape[1])]
    largest = np.asarray(abs(X).max(axis=0).todense()).ravel() if sp.issparse(X) else abs(X).max(0)
    scale = np.where(largest > 0, largest, 1.0)
    sign = np.where(y == classes[1], 1.0, -1.0)
    rows = sp.csr_matrix(X).multiply(sign[:, None]).multiply(1 / scale).tocsr()
    if fit_intercept:
        rows = sp.hstack([rows, sign[:, None]], format="csr")
    direction = _best(rows, np.asarray(rows.sum(axis=0)).ravel())
    margin = rows @ direction
    apart = int((margin > _NONE * max(abs(margin).max(), 1.0)).sum())
    if not apart:
        return Separation(False, False, {}, 0)
    # the widest corridor: a column more, that every margin has to be above
    corridor = sp.hstack([rows, -np.ones((len(y), 1))], format="csr")
    width = _best(corridor, np.append(np.zeros(rows.shape[1]), 1.0))[-1]
    moved = {
        name: float(np.sign(value))
        for name, value in zip([*map(str, names), "intercept"], direction, strict=False)
        if abs(value) > _NONE
    }
    is_complete = bool(width > _NONE)
    return Separation(True, is_complete, moved, len(y) if is_complete else apart)


def _best(rows: Any, gain: np.ndarray) -> np.ndarray:
    """Maximise ``gain w`` over the box where ``rows w >= 0``."""
    found = linprog(
        -gain, A_ub=-rows, b_ub=np.zeros(rows.shape[0]), bounds=(-1.0, 1.0), method="highs"
    )
    if found.x is None:
        raise RuntimeError(f"The linear programme has no answer: {found.message}")
    return found.x

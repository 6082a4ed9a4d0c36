"""Whether classes can be separated, so that coefficients have no finite estimate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import _check_sample_weight, _get_feature_names

from skorch_logreg.data import from_arrays
from skorch_logreg.data.threads import single_thread, workers
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import to_numpy
from skorch_logreg.losses import Binomial, Loss, Multinomial
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import L2
from skorch_logreg.recession import count_gains, find_direction
from skorch_logreg.units import Units

_ZERO_TOL = 1e-9  # of a direction in the box of one


@dataclass(frozen=True)
class Separation:
    """What `separation` finds.

    Attributes
    ----------
    is_separated : bool
        Whether some coefficients have no finite estimate of maximum likelihood.
    is_complete : bool
        Whether all rows can be told from every other class: planes have the rows of each class
        on one side and none upon them.
    direction : dict
        Columns (and "intercept") whose coefficients go to infinity, and the sign. Of two
        classes, of the second: ``{column: sign}``. Of more, ``{class: {column: sign}}``, of the
        classes that have some; signs are those against the median class.
    n_separated : int
        Rows whose loss these coefficients lower.
    """

    is_separated: bool
    is_complete: bool
    direction: dict[Any, Any]
    n_separated: int


@np.errstate(all="ignore")
def separation(
    X: Any, y: Any, *, sample_weight: Any = None, fit_intercept: bool = True
) -> Separation:
    """Find out whether classes can be separated, and which columns do it.

    A direction ``W`` separates if ``x_i (w_y - w_k) >= 0`` for the class y of every row i and all
    others k, and is not zero for all: along it the likelihood grows for ever.  Linear programmes
    look for it in the box ``|w_kj| <= 1``, until every row that can be separated is.  Where there
    is none, the estimate of maximum likelihood is finite.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Labels of two classes or more.
    sample_weight : array-like of shape (n_samples,), float or None, default=None
        Rows of weight 0 do not count; all others count alike.
    fit_intercept : bool, default=True

    Returns
    -------
    separation : Separation

    Raises
    ------
    ParameterError
        If the rows that count have fewer than two classes.

    Notes
    -----
    Columns are scaled to a deviation of about one.  A programme has the rows that hold its
    solution, and a pass over X looks for others.

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
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> found = separation(X, y)
    >>> found.is_separated, found.is_complete, found.n_separated
    (True, False, 150)
    """
    names = _get_feature_names(X)
    X, y, sample_weight = map(to_numpy, (X, y, sample_weight))
    X = check_array(X, accept_sparse="csr", dtype=np.float64)
    y = column_or_1d(y)
    check_consistent_length(X, y)
    weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
    classes, index = np.unique(y, return_inverse=True)
    present = np.unique(index[weight > 0])
    if len(present) < 2:
        raise ParameterError(
            f"The rows of y that have a weight hold {len(present)} classes; separation is asked "
            "of two or more."
        )
    index = np.searchsorted(present, index).clip(max=len(present) - 1)  # others have no weight
    if names is None:
        names = [f"x{j}" for j in range(X.shape[1])]
    columns = [*map(str, names), "intercept"]
    with workers(), single_thread():
        objective = _objective(X, index, weight, len(present), fit_intercept)
        direction = find_direction(objective)
        if direction is None:
            return Separation(False, False, {}, 0)
        n_rows, n_lower, n_zero = count_gains(objective, direction)
    signs = _direction_signs(objective, direction)
    each = zip(classes[present].tolist(), signs, strict=False)
    moved: dict[Any, Any] = {label: _named_signs(own, columns) for label, own in each if own.any()}
    if len(present) == 2:
        moved = _named_signs(signs[0], columns)
    return Separation(True, n_zero == n_rows, moved, n_lower)


def _objective(
    X: Any, index: np.ndarray, weight: np.ndarray, n_classes: int, fit_intercept: bool
) -> Objective:
    """Objective without a penalty, in columns of deviation one."""
    loss: Loss = Binomial() if n_classes == 2 else Multinomial(n_classes)
    data = from_arrays(X, index, weight)
    units = Units.of(data, fit_intercept, None)
    data = data.standardised(units.center, units.scale, loss.encode(data.targets), loss.n_outputs)
    strength = torch.zeros(1, dtype=torch.float64)
    return Objective(data, loss, L2(), strength, fit_intercept)


def _direction_signs(objective: Objective, direction: torch.Tensor) -> np.ndarray:
    """Signs (K, p + 1) of a direction in the units of X; of more classes, against the median."""
    if len(direction) > 1:
        direction = direction - direction.median(dim=0).values
    shift = direction[:, :-1] * (objective.data.center / objective.data.scale)
    last = direction[:, -1] - shift.sum(dim=1)
    size = direction[:, -1].abs() + shift.abs().sum(dim=1)
    last = torch.where(last.abs() > _ZERO_TOL * size, last, 0.0)
    whole = torch.cat([direction[:, :-1], last[:, None]], dim=1)
    small = whole.abs() <= _ZERO_TOL
    small[:, -1] = last == 0
    return torch.where(small, 0.0, whole).sign().numpy()


def _named_signs(signs: np.ndarray, columns: list[str]) -> dict[str, float]:
    return {name: float(s) for name, s in zip(columns, signs, strict=True) if s}

"""Detection of complete and quasi-complete separation of the classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skorch_logreg.data import from_arrays
from skorch_logreg.data.threads import single_thread, workers
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting.exact import standardised
from skorch_logreg.fitting.request import FitRequest
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.inputs.torch_context import with_default_modes
from skorch_logreg.inputs.validate import validate
from skorch_logreg.losses import loss_of
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import L2
from skorch_logreg.pipelines import parameter_names
from skorch_logreg.recession import count_separated_rows, find_direction
from skorch_logreg.recession.linear_program import MIN_GAIN


@dataclass(frozen=True)
class Separation:
    """Result of `separation`.

    Attributes
    ----------
    is_separated : bool
        Whether some coefficients have no finite maximum likelihood estimate.
    is_complete : bool
        Whether the separation is complete: hyperplanes strictly separate the rows of each class
        from all others.
    direction : dict
        Signs of the coefficients that diverge to infinity, by column name or "intercept". For two
        classes, ``{column: sign}`` for the second class. For more, ``{class: {column: sign}}`` for
        the classes with such coefficients, relative to the median class.
    n_separated : int
        Number of rows whose loss decreases along the direction.
    """

    is_separated: bool
    is_complete: bool
    direction: dict[Any, Any]
    n_separated: int


@np.errstate(all="ignore")
@with_default_modes
def separation(
    X: Any, y: Any, *, sample_weight: Any = None, fit_intercept: bool = True
) -> Separation:
    """Test whether the classes are separable, and find the columns that separate them.

    A direction ``W`` separates the classes if ``x_i (w_y - w_k) >= 0`` for the class y of every
    row i and all other classes k, with strict inequality for some: the likelihood increases along
    it without a maximum. Linear programmes search for a direction in the box ``|w_kj| <= 1`` that
    separates all separable rows. If there is none, the maximum likelihood estimate is finite.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training rows.
    y : array-like of shape (n_samples,)
        Labels of two classes or more.
    sample_weight : array-like of shape (n_samples,), float or None, default=None
        Sample weights; rows of weight 0 are ignored, and all others count equally.
    fit_intercept : bool, default=True
        Whether the model has an intercept.

    Returns
    -------
    separation : Separation
        Whether the classes are separated, and the direction.

    Raises
    ------
    ParameterError
        If the rows of positive weight have fewer than two classes.

    Notes
    -----
    Columns are scaled to a standard deviation of about one. Each linear programme is restricted
    to the rows that constrain its solution, and a pass over X finds violated rows.

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
    inputs = validate(to_numpy(X), y, sample_weight)
    X, index, weight = inputs.float64_arrays()
    present = np.unique(index[weight > 0])
    if len(present) < 2:
        raise ParameterError(
            f"The rows of y that have a weight hold {len(present)} classes; separation is asked "
            "of two or more."
        )
    index = np.searchsorted(present, index).clip(max=len(present) - 1)  # absent ones have no weight
    columns = parameter_names(None, X.shape[1], inputs.names)
    with workers(), single_thread():
        data, loss = from_arrays(X, index, weight), loss_of(len(present))
        request = FitRequest.of(
            data, loss=loss, penalty=L2(), C=np.inf, fit_intercept=fit_intercept
        )
        _, objective, _ = standardised(request)
        direction = find_direction(objective)
        if direction is None:
            return Separation(False, False, {}, 0)
        n_rows, n_lower, n_zero = count_separated_rows(objective, direction)
    signs = [
        {name: float(sign) for name, sign in zip(columns, own, strict=True) if sign}
        for own in _direction_signs(objective, direction)
    ]
    if len(present) == 2:
        return Separation(True, n_zero == n_rows, signs[0], n_lower)
    each = zip(inputs.labels.classes[present].tolist(), signs, strict=True)
    return Separation(True, n_zero == n_rows, {label: own for label, own in each if own}, n_lower)


def _direction_signs(objective: Objective, direction: torch.Tensor) -> np.ndarray:
    """Compute the signs (K, p + 1) of a direction in the units of X, relative to the median."""
    if len(direction) > 1:
        direction = direction - direction.median(dim=0).values
    shift = direction[:, :-1] * (objective.data.center / objective.data.scale)
    last = direction[:, -1] - shift.sum(dim=1)
    size = direction[:, -1].abs() + shift.abs().sum(dim=1)
    # entries of a solution in the unit box are zero up to its error
    last = torch.where(last.abs() > MIN_GAIN * size, last, 0.0)
    whole = torch.cat([direction[:, :-1], last[:, None]], dim=1)
    small = whole.abs() <= MIN_GAIN
    small[:, -1] = last == 0
    return torch.where(small, 0.0, whole).sign().numpy()

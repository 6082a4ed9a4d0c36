"""Regularization path: solutions for a sequence of penalties."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skorch_logreg.data import Data, from_arrays
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.fitting import FitResult, Status, fit_path, models_at_once
from skorch_logreg.fitting.batch import BatchFitter, Models
from skorch_logreg.inputs import torch_dtype
from skorch_logreg.inputs.validate import validate
from skorch_logreg.inputs.weights import check_penalty_factor
from skorch_logreg.losses import Loss, loss_of
from skorch_logreg.penalties import L2, ElasticNet

_C_RATIO = 1000.0  # ratio of the largest C to the smallest, for more rows than columns
_C_RATIO_WIDE = 100.0  # the same ratio if there are at least as many columns as rows
_RIDGE_C_RANGE = (1e-4, 1e4)  # range of C without an l1 part, as in scikit-learn


@dataclass(frozen=True)
class RegularizationPath:
    """Result of `regularization_path`.

    Attributes
    ----------
    Cs : ndarray of shape (n_Cs,)
        Inverse regularization strengths.
    coefs : ndarray of shape (n_Cs, n_features) or (n_Cs, n_classes, n_features)
        Coefficients; the second shape with three classes or more.
    intercepts : ndarray of shape (n_Cs,) or (n_Cs, n_classes)
        Intercepts.
    classes : ndarray of shape (n_classes,)
        Class labels.
    n_active : ndarray of shape (n_Cs,)
        Number of features with a nonzero coefficient.
    duality_gap : ndarray of shape (n_Cs,)
        Proven bound on the relative distance of the objective from its optimum; nan if there is
        no bound.
    optimality : ndarray of shape (n_Cs,)
        Optimality measure, at most `tol` for converged points.
    converged : ndarray of shape (n_Cs,), bool
        Whether each point reached `tol`.
    n_iter : ndarray of shape (n_Cs,)
        Number of iterations.
    n_passes : int
        Number of passes over X by the whole path.
    """

    Cs: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    classes: np.ndarray
    n_active: np.ndarray
    duality_gap: np.ndarray
    optimality: np.ndarray
    converged: np.ndarray
    n_iter: np.ndarray
    n_passes: int


def regularization_path(
    X: Any,
    y: Any,
    *,
    Cs: int | Sequence[float] = 100,
    C_max: float | None = None,
    l1_ratio: float = 1.0,
    fit_intercept: bool = True,
    sample_weight: Any = None,
    penalty_factor: Any = None,
    tol: float = 1e-4,
    max_iter: int = 100,
) -> RegularizationPath:
    """Compute the regularization path of a logistic regression.

    Every point of the path is the solution of `TorchLogisticClassifier` for its C, to the same
    `tol`. With an l1 part, each point starts from the previous solution and its Hessian, and
    needs one or two passes over X.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training rows, in their own dtype; coefficients are float32 for float32 and bfloat16.
    y : array-like of shape (n_samples,)
        Labels of two classes or more.
    Cs : int or array-like of shape (n_Cs,), default=100
        Inverse regularization strengths, solved in ascending order and returned in the order
        given; or the number of them, evenly spaced on a logarithmic scale. A number starts the
        path at the largest C for which all penalised coefficients are zero; without an l1 part,
        at 1e-4.
    C_max : float or None, default=None
        Largest C, if `Cs` is a number. By default 1000 times the smallest C, or 100 times with at
        least as many columns as rows; without an l1 part, 1e4.
    l1_ratio : float, default=1.0
        Elastic net mixing parameter in [0, 1]: 1 is an L1 penalty, 0 an L2 penalty.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    sample_weight : array-like of shape (n_samples,) or None
        Non-negative sample weights.
    penalty_factor : array-like of shape (n_features,) or None
        Relative penalty of every feature: 0 is not penalised, inf is excluded.
    tol : float, default=1e-4
        Convergence threshold on the optimality, as in `TorchLogisticClassifier`.
    max_iter : int, default=100
        Maximum number of iterations for every point.

    Returns
    -------
    path : RegularizationPath
        Solutions, in the order of `Cs`.

    Raises
    ------
    ValueError
        If X, y or the weights are invalid.
    ParameterError
        If a parameter is invalid or does not match the data.

    Warns
    -----
    ConvergenceWarning
        If points did not reach `tol`, with their number and the worst optimality.

    References
    ----------
    Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via
    coordinate descent, section 2.5.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import regularization_path
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> path = regularization_path(scale(X), y, Cs=5)
    >>> path.coefs.shape
    (5, 30)
    >>> int(path.n_active[0])
    0
    >>> bool(path.converged.all())
    True
    """
    inputs = validate(X, y, sample_weight)
    classes = inputs.labels.classes
    if len(classes) < 2:
        raise ValueError(f"y holds one class, {classes[0]!r}; a classifier needs two at least.")
    if not 0 <= l1_ratio <= 1:
        raise ParameterError(f"l1_ratio is {l1_ratio!r}; it must lie in [0, 1].")
    data = from_arrays(inputs.X, inputs.labels.index, inputs.weight)
    factor = check_penalty_factor(penalty_factor, data.n_features)
    problem = _PathProblem(
        data=data,
        targets=inputs.labels.index,
        loss=loss_of(len(classes)),
        l1_ratio=float(l1_ratio),
        factor=None if factor is None else factor.to(data.device),
        fit_intercept=fit_intercept,
        options={"tol": tol, "max_iter": max_iter},
    )
    sorted_Cs, order = _sort_candidates(Cs, C_max)
    solve = problem.solve_l1 if l1_ratio > 0 else problem.solve_ridge
    used, fits = solve(sorted_Cs, Cs, C_max)
    dtype = np.dtype(np.float32 if torch_dtype(inputs.X) == torch.float32 else np.float64)
    path = _make_path(used, fits, order, classes, dtype)
    if not path.converged.all():
        warn_user(
            f"{int((~path.converged).sum())} of {len(path.Cs)} points of the path did not reach "
            f"tol={tol:g}; the worst optimality is {path.optimality.max():.2g}. Raise max_iter "
            f"({max_iter}), or end the path at a smaller C.",
            ConvergenceWarning,
        )
    return path


@dataclass(frozen=True)
class _PathProblem:
    """Data, loss and penalty of a path, without C."""

    data: Data
    targets: Tensor
    loss: Loss
    l1_ratio: float
    factor: Tensor | None
    fit_intercept: bool
    options: dict[str, Any]

    def solve_l1(
        self, sorted_Cs: np.ndarray | None, n_Cs: Any, C_max: float | None
    ) -> tuple[np.ndarray, FitResult]:
        """Solve in ascending order of C, starting each point from the previous solution."""

        def grid(C_min: float) -> np.ndarray:
            if sorted_Cs is not None:
                return sorted_Cs
            wide = self.data.n_features >= self.data.n_samples
            end = C_min * (_C_RATIO_WIDE if wide else _C_RATIO) if C_max is None else C_max
            if not C_min <= end < np.inf:
                raise ParameterError(
                    f"C_max is {C_max}, but the path begins at C = {C_min:.6g}, up to which all "
                    "penalised coefficients are zero."
                )
            return np.geomspace(C_min, end, n_Cs)

        penalty = ElasticNet(self.l1_ratio, self.factor)
        options = {"fit_intercept": self.fit_intercept, **self.options}
        return fit_path(self.data, self.loss, penalty, grid, **options)

    def solve_ridge(
        self, sorted_Cs: np.ndarray | None, n_Cs: Any, C_max: float | None
    ) -> tuple[np.ndarray, FitResult]:
        """Solve points without an l1 part, which share their passes over X."""
        end = _RIDGE_C_RANGE[1] if C_max is None else C_max
        used = np.geomspace(_RIDGE_C_RANGE[0], end, n_Cs) if sorted_Cs is None else sorted_Cs
        data, n_outputs = self.data, self.loss.n_outputs
        fitter = BatchFitter(
            rows=lambda *_: data,
            columns=lambda _: (self.targets, None),
            loss=self.loss,
            penalty=lambda *_: L2(self.factor),
            n_features=data.n_features,
            max_models=models_at_once(data.n_samples, data.n_features, n_outputs),
            fit_intercept=self.fit_intercept,
            options=self.options,
        )
        return used, fitter.fit_all(Models(np.zeros(len(used), int), torch.from_numpy(used)))


def _make_path(
    Cs: np.ndarray,
    fits: FitResult,
    order: np.ndarray | None,
    classes: np.ndarray,
    dtype: np.dtype[Any],
) -> RegularizationPath:
    """Collect the fits, which are in ascending order of C, in the order of the given Cs."""
    place = np.arange(len(Cs)) if order is None else np.argsort(order, kind="stable")
    fits = fits.take(torch.from_numpy(place))
    coefs, intercepts = fits.params.coef.cpu().numpy(), fits.params.intercept.cpu().numpy()
    n_active = (coefs != 0).any(axis=1).sum(axis=1)
    if len(classes) == 2:
        coefs, intercepts = coefs[:, 0], intercepts[:, 0]
    return RegularizationPath(
        Cs=Cs[place],
        coefs=coefs.astype(dtype),
        intercepts=intercepts.astype(dtype),
        classes=classes,
        n_active=n_active,
        duality_gap=fits.duality_gap.cpu().numpy(),
        optimality=fits.optimality.cpu().numpy(),
        converged=np.array([status is Status.CONVERGED for status in fits.status]),
        n_iter=fits.n_iter.cpu().numpy(),
        n_passes=fits.n_passes,
    )


def _sort_candidates(Cs: Any, C_max: float | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the Cs in ascending order, and the indices that sort them; None for a number of Cs."""
    if isinstance(Cs, Integral):
        if Cs < 1:
            raise ParameterError(f"Cs is {Cs}; a path has one point or more.")
        if C_max is not None and not 0 < C_max < np.inf:
            raise ParameterError(f"C_max is {C_max}; it must be positive and finite.")
        return None, None
    if C_max is not None:
        raise ParameterError("C_max goes with a number of Cs, not with the Cs themselves.")
    sorted_Cs = np.asarray(Cs, dtype=np.float64)
    if (
        sorted_Cs.ndim != 1
        or not len(sorted_Cs)
        or not ((sorted_Cs > 0) & (sorted_Cs < np.inf)).all()
    ):
        raise ParameterError(f"Cs is {Cs!r}; it must hold positive, finite numbers, one or more.")
    order = np.argsort(sorted_Cs, kind="stable")
    return sorted_Cs[order], order

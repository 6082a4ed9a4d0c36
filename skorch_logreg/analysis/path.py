"""Regularization path: solutions for a sequence of penalties."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.analysis.table import Table
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.fitting import FitResult, Status, fit_path
from skorch_logreg.fitting.batch import Models
from skorch_logreg.inputs.options import Options, default_grid
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.torch_context import with_default_modes
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.pipelines import feature_names as names_of

# ratio of the largest C to the smallest; the second for at least as many columns as rows
_C_RATIOS = (1000.0, 100.0)


@dataclass(frozen=True, repr=False)
class RegularizationPath(Table):
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
    feature_names : ndarray of shape (n_features,)
        Names of the features.
    template : TorchLogisticClassifier
        Classifier with the parameters of the path, without coefficients.
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
    feature_names: np.ndarray
    template: TorchLogisticClassifier

    def _index(self) -> np.ndarray:
        return self.Cs

    def _columns(self) -> dict[str, Any]:
        quality = {"optimality": self.optimality, "duality gap": self.duality_gap}
        steps = {"iterations": self.n_iter, "converged": self.converged}
        return {"features": self.n_active, **quality, **steps}

    def _notes(self) -> list[str]:
        return [f"rows by C; {len(self.feature_names)} features, {self.n_passes} passes over X"]

    def estimator(self, C: float) -> TorchLogisticClassifier:
        """Return the fitted classifier at a C.

        Parameters
        ----------
        C : float
            Inverse regularization strength within the range of `Cs`.

        Returns
        -------
        estimator : TorchLogisticClassifier
            Solution of the point with this C. Between two points, its coefficients are those of
            the points, interpolated linearly in ``1 / C`` as in glmnet; `optimality_` and
            `duality_gap_` are then nan, and `converged_` is False.

        Raises
        ------
        ParameterError
            If C is outside of the path.
        """
        if not min(self.Cs) <= C <= max(self.Cs):
            raise ParameterError(
                f"C is {C!r}, but the path is from {min(self.Cs):.17g} to {max(self.Cs):.17g}."
            )
        order = np.argsort(-self.Cs, kind="stable")
        place = float(np.interp(1 / C, 1 / self.Cs[order], np.arange(len(order))))
        low, high, share = order[int(place)], order[int(np.ceil(place))], place % 1
        coef, intercept = (
            (1 - share) * part[low] + share * part[high] for part in (self.coefs, self.intercepts)
        )
        model, is_point = copy(self.template).set_params(C=float(C)), bool(low == high)
        model.coef_, model.intercept_ = np.atleast_2d(coef), np.atleast_1d(intercept)
        model.n_iter_ = self.n_iter[[low]].astype(np.int32) * is_point
        model.n_passes_, model.converged_ = self.n_passes, is_point and bool(self.converged[low])
        model.optimality_, model.duality_gap_ = (
            float(part[low]) if is_point else np.nan for part in (self.optimality, self.duality_gap)
        )
        return model

    def predict(self, X: Any, *, C: float) -> Any:
        """Predict classes at a C; `estimator` returns the classifier for probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        C : float
            Inverse regularization strength, as in `estimator`.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted classes.
        """
        return self.estimator(C).predict(X)


@with_default_modes
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
    feature_names: Any = None,
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
    penalty_factor : array-like of shape (n_features,), dict or None
        Relative penalty of every feature: 0 is not penalised, inf is excluded. A dict has those of
        features by name; the others have 1.
    tol : float, default=1e-4
        Convergence threshold on the optimality, as in `TorchLogisticClassifier`.
    max_iter : int, default=100
        Maximum number of iterations for every point.
    feature_names : array-like of shape (n_features,) or None, default=None
        Names of the features, such as those of ``pipeline[:-1].get_feature_names_out()``; None:
        those of a data frame, or else x0, x1, ...

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
    >>> path.predict(scale(X)[:3], C=0.05)
    array([0, 0, 0])
    """
    options: dict[str, Any] = {"fit_intercept": fit_intercept, "tol": tol, "max_iter": max_iter}
    TorchLogisticClassifier(**options)._validate_params()
    inputs = validate(X, y, sample_weight)
    classes = inputs.labels.classes
    if len(classes) < 2:
        raise ValueError(f"y holds one class, {classes[0]!r}; a classifier needs two at least.")
    if not 0 <= l1_ratio <= 1:
        raise ParameterError(f"l1_ratio is {l1_ratio!r}; it must lie in [0, 1].")
    template = TorchLogisticClassifier(l1_ratio=l1_ratio, penalty_factor=penalty_factor, **options)
    given = inputs.names if feature_names is None else feature_names
    problem = replace(inputs, names=given).problem(template, Options.of(1.0, l1_ratio, "auto"))
    names = names_of(None, problem.n_features, given)
    grid = _grid(Cs, C_max, l1_ratio, inputs.X.shape)
    used, fits = _fit(problem, inputs, grid, **options)
    if not isinstance(Cs, Integral):  # in the order given
        place = np.argsort(np.argsort(np.asarray(Cs), kind="stable"))
        used, fits = used[place], fits.take(torch.from_numpy(place))
    converged = _warn_unless_converged(fits, tol, max_iter)
    coefs, intercepts = (
        part.cpu().to(problem.stored_dtype).numpy()[:, 0 if len(classes) == 2 else slice(None)]
        for part in (fits.params.coef, fits.params.intercept)
    )
    return RegularizationPath(
        Cs=used,
        coefs=coefs,
        intercepts=intercepts,
        classes=classes,
        n_active=(fits.params.coef != 0).any(dim=1).sum(dim=1).cpu().numpy(),
        duality_gap=fits.duality_gap.cpu().numpy(),
        optimality=fits.optimality.cpu().numpy(),
        converged=converged,
        n_iter=fits.n_iter.cpu().numpy(),
        n_passes=fits.n_passes,
        feature_names=names,
        template=_unfitted(template, problem, inputs),
    )


def _unfitted(
    template: TorchLogisticClassifier, problem: Problem, inputs: FitInput
) -> TorchLogisticClassifier:
    """Give the estimator of a path all fitted attributes that do not depend on C."""
    template.set_params(penalty_factor=None if problem.factor is None else problem.factor.numpy())
    template.classes_, template.n_features_in_ = inputs.labels.classes, problem.n_features
    if inputs.names is not None:
        template.feature_names_in_ = inputs.names
    return template


def _warn_unless_converged(fits: FitResult, tol: float, max_iter: int) -> np.ndarray:
    """Return which points of a path converged, and warn of the others once."""
    converged = np.array([status is Status.CONVERGED for status in fits.status])
    if not converged.all():
        warn_user(
            f"{int((~converged).sum())} of {len(converged)} points of the path did not reach "
            f"tol={tol:g}; the worst optimality is {float(fits.optimality.max()):.2g}. Raise "
            f"max_iter ({max_iter}), or end the path at a smaller C.",
            ConvergenceWarning,
        )
    return converged


def _fit(
    problem: Problem, inputs: FitInput, grid: Callable[[float], np.ndarray], **options: Any
) -> tuple[np.ndarray, FitResult]:
    """Fit the models of a path: with an l1 part one after another, else together."""
    rows = inputs.labels.index, inputs.weight
    if problem.options.l1_ratio > 0:
        data = problem.data(inputs.X, *rows)
        penalty: Any = problem.penalty(data.device)
        return fit_path(data, problem.loss, penalty, grid, **options)
    Cs = grid(default_grid(2)[0])
    options.pop("fit_intercept")
    fitter = problem.batch_fitter(inputs.X, lambda _: rows, **options)
    return Cs, fitter.fit_all(Models(np.zeros(len(Cs), int), torch.from_numpy(Cs)))


def _grid(
    Cs: Any, C_max: float | None, l1_ratio: float, shape: tuple[int, int]
) -> Callable[[float], np.ndarray]:
    """Return a function of the smallest C of a path that returns all of them, in ascending order.

    A ParameterError is raised if the parameters are not allowed.
    """
    if not isinstance(Cs, Integral):
        if C_max is not None:
            raise ParameterError("C_max goes with a number of Cs, not with the Cs themselves.")
        given = np.asarray(Cs, dtype=np.float64)
        if given.ndim != 1 or not len(given) or not ((given > 0) & (given < np.inf)).all():
            raise ParameterError(
                f"Cs is {Cs!r}; it must hold positive, finite numbers, one or more."
            )
        return lambda _: np.sort(given)
    if Cs < 1:
        raise ParameterError(f"Cs is {Cs}; a path has one point or more.")
    if C_max is not None and not 0 < C_max < np.inf:
        raise ParameterError(f"C_max is {C_max}; it must be positive and finite.")

    def spaced(C_min: float) -> np.ndarray:
        ratio = _C_RATIOS[shape[1] >= shape[0]]
        end = C_max or (C_min * ratio if l1_ratio > 0 else default_grid(2)[1])
        if l1_ratio > 0 and not C_min <= end < np.inf:
            raise ParameterError(
                f"C_max is {C_max}, but the path begins at C = {C_min:.6g}, up to which all "
                "penalised coefficients are zero."
            )
        return np.geomspace(C_min, end, Cs)

    return spaced

"""Bootstrap of coefficients, with refits solved in batches."""

from dataclasses import dataclass, replace
from numbers import Integral
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from torch import Tensor

from skorch_logreg.analysis.convergence_messages import convergence_message
from skorch_logreg.analysis.fitted_model import (
    check_names,
    dense_params,
    group_index,
    names_by_class,
    penalty_parameters,
    unwrap_estimator,
)
from skorch_logreg.analysis.normal import check_level, normal_interval
from skorch_logreg.analysis.table import Table
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.fitting import FitResult, Params, Status, models_at_once
from skorch_logreg.fitting.batch import Models, classes_shown
from skorch_logreg.inputs.labels import Targets, class_probabilities
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.torch_context import with_default_modes
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.inputs.weights import with_class_weight
from skorch_logreg.penalties import FeaturePenalty
from skorch_logreg.pipelines import parameter_names


@dataclass(frozen=True, repr=False)
class Bootstrap(Table):
    """Result of `bootstrap`.

    Attributes
    ----------
    coefs : ndarray of shape (n_kept, K, n_features)
        Coefficients of the resamples. K is 1 for two classes, else the number of classes.
    intercepts : ndarray of shape (n_kept, K)
        Intercepts of the resamples.
    coef : ndarray of shape (K, n_features)
        Coefficients of the original fit.
    intercept : ndarray of shape (K,)
        Intercept of the original fit.
    n_lost : int
        Number of resamples left out because they have no finite fit: a class is missing, or the
        classes are separable.
    n_passes : int
        Number of passes over X by all refits together.
    names : tuple of str
        Names of the parameters, as in `Inference`, for all classes.
    """

    coefs: np.ndarray
    intercepts: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    n_lost: int
    n_passes: int
    names: tuple[str, ...]

    def _columns(self) -> dict[str, Any]:
        every = replace(
            self,
            coefs=np.concatenate([self.coefs, self.intercepts[..., None]], axis=2),
            coef=np.column_stack([self.coef, self.intercept]),
        )
        lower, upper = every.interval().reshape(-1, 2).T
        errors = {"std err": every.standard_error.ravel(), "lower": lower, "upper": upper}
        return {"coef": every.coef.ravel(), **errors}

    def _notes(self) -> list[str]:
        lost = f", {self.n_lost} more have no finite fit" if self.n_lost else ""
        return [f"percentile intervals of 95% from {len(self.coefs)} resamples{lost}"]

    @property
    def standard_error(self) -> np.ndarray:
        """Standard deviations of the coefficients, of shape (K, n_features)."""
        return self.coefs.std(axis=0, ddof=1)

    def interval(self, level: float = 0.95, method: str = "percentile") -> np.ndarray:
        """Compute confidence intervals of the coefficients.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level of the intervals.
        method : {"percentile", "basic", "normal"}, default="percentile"
            "percentile" uses quantiles of the resampled coefficients, "basic" reflects them at
            the estimate, and "normal" uses the estimate and its standard error.

        Returns
        -------
        intervals : ndarray of shape (K, n_features, 2)
            Lower and upper confidence limits.

        References
        ----------
        Davison, Hinkley (1997). Bootstrap Methods and their Application, section 5.2.
        """
        methods = ["percentile", "basic", "normal"]
        if method not in methods:
            raise ParameterError(f"method={method!r}; expected one of {methods}.")
        check_level(level)
        if method == "normal":
            return normal_interval(self.coef, self.standard_error, level)
        low, high = np.quantile(self.coefs, [(1 - level) / 2, (1 + level) / 2], axis=0)
        if method == "basic":
            low, high = 2 * self.coef - high, 2 * self.coef - low
        return np.stack([low, high], axis=-1)


@with_default_modes
def bootstrap(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    n_resamples: int = 1000,
    sample_weight: Any = None,
    groups: Any = None,
    random_state: Any = None,
    memory_budget: int | None = None,
) -> Bootstrap:
    """Refit a model to bootstrap resamples of its rows.

    A resample is represented by the number of times every row was drawn, as a sample weight. All
    refits of a batch share their passes over X and their curvature, and start from the fitted
    model.

    Parameters
    ----------
    estimator : TorchLogisticClassifier, or anything with its parameters and attributes
        A fitted model with an exact solver and a ridge, lasso, elastic net or group penalty or
        none. The transformers of a pipeline that ends with one are not refitted.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training rows of the fit.
    y : array-like of shape (n_samples,), or (n_samples, n_classes) with `soft_labels`
        Labels, or class probabilities, of the fit.
    n_resamples : int, default=1000
        Number of resamples.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Sample weights of the fit, which multiply the number of times a row was drawn.
    groups : array-like of shape (n_samples,) or None, default=None
        Group labels of dependent rows; whole groups are drawn.
    random_state : int, RandomState or None, default=None
        Seed or generator for the resamples.
    memory_budget : int or None, default=None
        Bytes for arrays with one entry per row, which limits the number of refits in a batch;
        None means 1 GiB.

    Returns
    -------
    bootstrap : Bootstrap
        Coefficients of the resamples.

    Raises
    ------
    ParameterError
        If a parameter is invalid, the fit did not converge or ended in mini-batches, or fewer
        than two resamples can be fitted.

    Warns
    -----
    ConvergenceWarning
        If resamples are left out because they have no finite fit, or do not reach `tol` of the
        estimator.

    Notes
    -----
    With `soft_labels` or `label_smoothing` every row is repeated for every class, with the class
    probability as weight, so that X is copied once for every class.

    References
    ----------
    Efron, Tibshirani (1993). An Introduction to the Bootstrap, section 6.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import TorchLogisticClassifier, bootstrap
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier().fit(scale(X), y)
    >>> found = bootstrap(model, scale(X), y, random_state=0)
    >>> found.interval(0.9).shape
    (1, 30, 2)
    """
    if not isinstance(n_resamples, Integral) or n_resamples < 2:
        raise ParameterError(f"n_resamples={n_resamples!r}; it must be an integer from 2 on.")
    whole = estimator
    estimator, X = unwrap_estimator(estimator, X)
    _check_refittable(estimator)
    inputs = validate(
        X, y, sample_weight, parameters=estimator, classes=np.asarray(estimator.classes_)
    )
    check_names(estimator, X)
    n_samples, n_features = inputs.X.shape
    group = np.arange(n_samples) if groups is None else group_index(groups, n_samples)
    coef, intercept = dense_params(estimator)
    names, classes = parameter_names(whole, n_features), inputs.labels.classes
    fits, lost = _refit(
        estimator,
        inputs,
        group,
        random=check_random_state(random_state),
        n_resamples=n_resamples,
        memory_budget=memory_budget,
    )
    kept = _finite_fits(fits, lost)
    return Bootstrap(
        coefs=fits.params.coef.numpy()[kept],
        intercepts=fits.params.intercept.numpy()[kept],
        coef=coef,
        intercept=intercept,
        n_lost=n_resamples - int(kept.sum()),
        n_passes=fits.n_passes,
        names=names_by_class(names, classes[-len(coef) :], len(classes)),
    )


def _finite_fits(fits: FitResult, lost: np.ndarray) -> np.ndarray:
    """Return which resamples have a finite fit, and warn of the others once.

    ``lost`` are those that lack a class.
    """
    status = np.array(fits.status, dtype=object)
    kept = ~lost & (status != Status.SEPARABLE)
    n_resamples, n_kept = len(kept), int(kept.sum())
    if n_kept < 2:
        raise ParameterError(
            f"{n_kept} of {n_resamples} resamples have a finite fit; give a penalty, or see firth."
        )
    n_not_converged = int((status[kept] != Status.CONVERGED).sum())
    if n_kept < n_resamples or n_not_converged:
        warn_user(
            f"Of {n_resamples} resamples {n_resamples - n_kept} have no finite fit (a class is "
            "missing, or the classes are separable) and are left out, and "
            f"{n_not_converged} did not reach tol. Give a penalty, or raise max_iter.",
            ConvergenceWarning,
        )
    return kept


def _refit(
    estimator: Any,
    inputs: FitInput,
    group: np.ndarray,
    *,
    random: np.random.RandomState,
    n_resamples: int,
    memory_budget: int | None,
) -> tuple[FitResult, np.ndarray]:
    """Fit resamples from the fitted parameters, and return which of them lack a class.

    Rows of the same ``group``, (n_samples,), are drawn together. A resample that lacks a class is
    fitted to the whole sample, at whose solution all fits start.
    """
    inputs, group = _repeat_soft_rows(inputs, group)
    targets, n_groups = inputs.labels, int(group.max()) + 1
    sample_weight: Any = inputs.weight
    lost = np.zeros(n_resamples, dtype=bool)

    def columns(resamples: np.ndarray) -> tuple[Tensor, Tensor]:
        """Draw the weights (n_rows, n_resamples) of some resamples."""
        drawn = (random.randint(n_groups, size=n_groups) for _ in resamples)
        counts = [np.bincount(groups, minlength=n_groups)[group] for groups in drawn]
        weight = torch.from_numpy(np.stack(counts, axis=1)) * sample_weight[:, None]
        is_lost = ~classes_shown(targets.index, weight, targets.n_classes).all(axis=1)
        lost[resamples], weight[:, is_lost] = is_lost, sample_weight[:, None]
        if estimator.class_weight is not None:
            weight = with_class_weight(estimator.class_weight, targets, weight)
        return targets.index, weight

    C, l1_ratio = penalty_parameters(estimator)
    penalty = estimator.penalty if isinstance(estimator.penalty, FeaturePenalty) else None
    parameters = SimpleNamespace(  # scikit-learn's classifiers have no penalty_factor
        fit_intercept=estimator.fit_intercept,
        penalty_factor=getattr(estimator, "penalty_factor", None),
        bounds=None,
        intercept_scaling=1.0,
    )
    named = replace(inputs, names=getattr(estimator, "feature_names_in_", None))
    problem = named.problem(parameters, Options(C, l1_ratio, "auto", False, penalty))
    max_models = models_at_once(
        len(group), problem.n_features, problem.loss.n_outputs, memory_budget
    )
    fitter = problem.batch_fitter(inputs.X, columns, estimator, max_models=max_models)
    coef, intercept = map(torch.from_numpy, dense_params(estimator))
    start = Params(coef.expand(n_resamples, -1, -1), intercept.expand(n_resamples, -1))
    Cs = torch.full((n_resamples,), C, dtype=torch.float64)
    return fitter.fit_all(Models(np.arange(n_resamples), Cs, start=start)), lost


def _repeat_soft_rows(inputs: FitInput, group: np.ndarray) -> tuple[FitInput, np.ndarray]:
    """Repeat rows with soft labels for each class, with its probability as weight."""
    weight = inputs.weight
    if weight is None:
        weight = torch.ones(inputs.X.shape[0], dtype=torch.float64)
    if not inputs.is_soft:
        return replace(inputs, weight=weight), group
    proba = class_probabilities(inputs.labels.class_probability)
    rows, index = proba.nonzero(as_tuple=True)
    labels, weight = Targets(inputs.labels.classes, index), weight[rows] * proba[rows, index]
    return replace(inputs, X=inputs.X[rows.numpy()], labels=labels, weight=weight), group[rows]


def _check_refittable(estimator: Any) -> None:
    """Raise a ParameterError for fits that an exact solver cannot repeat on resampled rows."""
    name = type(estimator).__name__
    if getattr(estimator, "has_offset_", False):
        raise ParameterError("The model was fitted with an offset, which is not resampled.")
    if getattr(estimator, "bounds", None) is not None:
        raise ParameterError(f"bounds={estimator.bounds!r} are not resampled.")
    if getattr(estimator.solver, "finish", "exact") != "exact":
        raise ParameterError(
            f"{name} has solver={estimator.solver!r}: bootstrap refits exactly, which "
            "mini-batches do not. Fit it with finish='exact', or with an exact solver."
        )
    message = convergence_message(estimator)
    if message is not None:
        raise ParameterError(f"bootstrap refits to convergence. {message}")

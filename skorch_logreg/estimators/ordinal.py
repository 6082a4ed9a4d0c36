"""Logistic regression of ordered classes as a scikit-learn classifier."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.optimize import Bounds
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.data import RankRows
from skorch_logreg.estimators import certificate, persistence
from skorch_logreg.estimators.prediction import LogitPrediction, affine_logits
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import ArrayNamespace, to_tensor
from skorch_logreg.inputs.dask import lazy_for_dask
from skorch_logreg.inputs.options import Options, ValidatedParameters
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.validate import validate
from skorch_logreg.losses import CumulativeLogit


class OrdinalLogisticClassifier(
    persistence.VersionedState, ValidatedParameters, LogitPrediction, ClassifierMixin, BaseEstimator
):
    """Proportional odds model: logistic regression of ordered classes.

    For classes 1 to K it models ``P(y <= k) = sigmoid(t_k - x w)``, with one direction of
    coefficients ``w`` and increasing thresholds ``t_1 < ... < t_(K-1)``: a larger ``x w`` makes
    higher classes more probable, and a feature changes the odds of all ``y > k`` by the same
    factor. It minimises, over coefficients and thresholds::

        sum_i -s_i log P(y_i)  +  1/C sum_j f_j [(1 - r)/2 w_j^2 + r |w_j|]

    with ``s`` sample weight times class weight, ``f`` `penalty_factor` and ``r`` `l1_ratio`. The
    thresholds are not penalised. For two classes it is `TorchLogisticClassifier` with the
    threshold as the negative intercept.

    Parameters
    ----------
    penalty : {"elasticnet"} or object, default="elasticnet"
        Ridge and lasso by `C` and `l1_ratio`, or an object of `skorch_logreg.penalties`.
    C : float, default=1.0
        Inverse of the regularization strength, positive; ``np.inf``: no penalty.
    l1_ratio : float, default=0.0
        Share of L1 in the penalty, from 0 (ridge) to 1 (lasso).
    tol : float, default=1e-4
        Convergence threshold on `optimality_`, as in `TorchLogisticClassifier`.
    class_weight : dict, "balanced" or None, default=None
        Weight of every class; a class that a dict leaves out counts 1. "balanced" gives all
        classes the same total weight.
    categories : array-like of shape (n_classes,) or None, default=None
        Classes from the lowest to the highest; None: those of y, in the order of an ordered
        categorical of pandas, else sorted.
    max_iter : int, default=100
        Largest number of iterations.
    device : str, torch.device or None, default=None
        Device on which a dense X is fitted, such as "cuda"; None: X's own.
    penalty_factor : array-like of shape (n_features,), dict or None, default=None
        Multiplier ``f`` of the penalty of every feature, as in `TorchLogisticClassifier`.
    bounds : (low, high), dict, scipy.optimize.Bounds or None, default=None
        Bounds of the coefficients, as in `TorchLogisticClassifier`.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Classes from the lowest to the highest, of y's dtype.
    coef_ : array of shape (1, n_features)
        Coefficients: float32 for data of float32 or bfloat16, float64 for all others.
    thresholds_ : array of shape (n_classes - 1,)
        Increasing thresholds, float64.
    n_iter_ : array of shape (1,), int32
        Number of iterations.
    history_ : dict of str to list
        "n_passes" and "optimality" at the start and after every iteration.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, only if all names of X's columns are strings.
    optimality_, duality_gap_, converged_, n_passes_
        Certificate of the fit, over coefficients and thresholds, as in `TorchLogisticClassifier`.

    See Also
    --------
    TorchLogisticClassifier : Classes without an order.
    expected_cost_decision : Decisions of least expected cost from `predict_proba`.

    References
    ----------
    McCullagh (1980). Regression models for ordinal data, Journal of the Royal Statistical Society
    B 42.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch_logreg import OrdinalLogisticClassifier
    >>> X = np.arange(12.0)[:, None]
    >>> y = ["low", "low", "mid", "low", "mid", "high", "mid", "mid", "high", "mid", "high", "high"]
    >>> model = OrdinalLogisticClassifier(categories=["low", "mid", "high"]).fit(X, y)
    >>> model.predict([[0.0], [6.0], [12.0]]).tolist()
    ['low', 'mid', 'high']
    >>> model.coef_.shape, model.thresholds_.shape, model.converged_
    ((1, 1), (2,), True)

    The least expected cost, where a class costs its distance:

    >>> from skorch_logreg import expected_cost_decision
    >>> cost_matrix = abs(np.subtract.outer(range(3), range(3)))
    >>> decisions = expected_cost_decision(model.predict_proba([[0.0], [6.0]]), cost_matrix)
    >>> model.classes_[decisions].tolist()
    ['low', 'mid']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "penalty": [StrOptions({"elasticnet"}), HasMethods("of_features")],
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "categories": ["array-like", None],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "device": [str, torch.device, None],
        "penalty_factor": ["array-like", dict, None],
        "bounds": [tuple, list, dict, Bounds, None],
    }
    threshold: ClassVar[float] = 0.5  # type: ignore[misc]
    solver: ClassVar[str] = "auto"
    fit_intercept: ClassVar[bool] = True
    intercept_scaling: ClassVar[float] = 1.0
    is_ordered: ClassVar[bool] = True

    def __init__(
        self,
        penalty: Any = "elasticnet",
        *,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        tol: float = 1e-4,
        class_weight: dict[Any, float] | str | None = None,
        categories: Any = None,
        max_iter: int = 100,
        device: str | torch.device | None = None,
        penalty_factor: Any = None,
        bounds: Any = None,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.tol = tol
        self.class_weight = class_weight
        self.categories = categories
        self.max_iter = max_iter
        self.device = device
        self.penalty_factor = penalty_factor
        self.bounds = bounds

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), chunks or Dask collection
            Training rows, neither copied nor modified, as in `TorchLogisticClassifier.fit`.
        y : array-like of shape (n_samples,)
            Labels of two classes or more.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row: 2 counts the row twice, 0 ignores it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters, X, y or weights are not valid.
        ParameterError
            If `categories` are not the classes of y, or a class has no row of positive weight, so
            that its thresholds are not determined; or if `penalty`, `penalty_factor`, `bounds` or
            `device` does not suit the data.

        Warns
        -----
        ConvergenceWarning
            If ``optimality_ <= tol`` was not reached, with the value, the reason and advice.

        Notes
        -----
        If a fit raises or is interrupted, the fitted attributes stay as they were. X is read once
        or twice an iteration.
        """
        with persistence.isolated_fit(self):
            self._fit(X, y, sample_weight)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        if isinstance(X, RankRows):
            raise ParameterError("OrdinalLogisticClassifier does not support RankRows.")
        chosen = self._options()
        inputs = validate(X, y, sample_weight, model=self, chosen=chosen)
        problem = inputs.problem(self, chosen)
        classes = inputs.labels.classes
        categories = self.categories
        if categories is None and has_order(y):
            categories = [label for label in y.dtype.categories if label in classes]
        order, self.classes_ = ordered_classes(classes, categories)
        targets, weight = inputs.weighted_targets(self.class_weight)
        targets = torch.from_numpy(order.argsort()).to(targets.device)[targets]
        self._check_shown(targets, weight)
        data = problem.data(problem.design(inputs.X, inputs.device), targets, weight)
        solution = fitting.fit(
            data,
            problem.loss,
            problem.penalty(data.device),
            C=chosen.C,
            tol=self.tol,
            max_iter=self.max_iter,
            dtype=problem.stored_dtype,
        )
        passes, reached = ([step[i] for step in solution.trace] for i in range(2))
        self.history_ = {"n_passes": passes, "optimality": reached}
        self.__dict__.update(self._fitted(problem, solution))
        certificate.set_certified(self, solution, problem.namespace, problem.dtype)

    def _options(self) -> Options:
        penalty = None if self.penalty == "elasticnet" else self.penalty
        if penalty is not None and self.l1_ratio != 0:
            raise ParameterError(
                f"l1_ratio={self.l1_ratio} mixes ridge and lasso, but penalty={penalty!r} is "
                "neither; leave l1_ratio at 0."
            )
        return Options.of(self.C, self.l1_ratio, "auto", penalty)

    @staticmethod
    def _fitted(problem: Problem, solution: fitting.FitResult, number: int = 0) -> dict[str, Any]:
        """Return `coef_` and `thresholds_` of one of the models."""
        assert solution.nuisance is not None
        thresholds = (solution.nuisance.cumsum(dim=1) - solution.params.intercept)[number]
        # differences of large numbers: they need all digits
        thresholds = problem.namespace.from_tensor(thresholds)
        coef = problem.fitted(solution.params, number)["coef_"]
        return {"coef_": coef, "thresholds_": thresholds}

    def _check_shown(self, targets: Tensor, weight: Tensor | None) -> None:
        """Raise an error for classes without a row of positive weight."""
        total = torch.bincount(targets, weight, minlength=len(self.classes_))
        absent = (total <= 0).nonzero()[:, 0].tolist()
        if absent:
            raise ParameterError(
                f"The class {self.classes_[absent[0]]!r} has no row of positive weight, so that "
                "its thresholds are not determined; leave its rows out."
            )

    def __sklearn_tags__(self) -> Tags:
        """Return tags: scores are poor on classes without an order, as in scikit-learn's checks."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    @lazy_for_dask
    def linear_predictor(self, X: Any) -> Any:
        """Compute ``X coef'``, on the scale of `thresholds_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; or chunks of them, or a Dask collection, for a lazy Dask array.

        Returns
        -------
        scores : array of shape (n_samples,)
            Scores, larger ones for rows of higher classes.
        """
        logits, namespace = self._linear(X, "linear_predictor")
        return namespace.from_tensor(logits[:, 0])

    def _linear(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        return affine_logits(self, X, lambda: 0.0 * self.coef_[:, 0], method)

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        """Compute log-odds of two classes (n_samples, 1), or log-probabilities of more."""
        logits, namespace = self._linear(X, method)
        thresholds = to_tensor(self.thresholds_).to(logits.device)
        nuisance = torch.cat([thresholds[:1], thresholds.diff()])[None].to(logits.dtype)
        return class_logits(nuisance, logits), namespace


def class_logits(nuisance: Tensor, logits: Tensor) -> Tensor:
    """Return the log-odds of two ordered classes, or the log-probabilities of more.

    ``nuisance`` (m, n_classes - 1) is that of `CumulativeLogit`, ``logits`` are (..., m, 1).
    """
    is_binary = nuisance.shape[1] == 1
    return logits - nuisance if is_binary else CumulativeLogit(nuisance).log_proba(logits)


def has_order(y: Any) -> bool:
    """Return True if y is an ordered categorical."""
    return bool(getattr(getattr(y, "dtype", None), "ordered", False))


def ordered_classes(classes: Any, categories: Any) -> tuple[np.ndarray, Any]:
    """Return the places (n_classes,) of ordered categories among sorted classes, and these."""
    if categories is None:
        return np.arange(len(classes)), classes
    known, given = np.asarray(classes).tolist(), np.asarray(categories).ravel().tolist()
    if len(set(given)) < len(given):
        raise ParameterError(f"categories holds a class twice: {given}.")
    missing = [name for name in given if name not in known]
    if missing:
        raise ParameterError(
            f"categories has {missing[0]!r}, but y has no such row, so that its thresholds are not "
            "determined; leave it out of categories."
        )
    strange = [name for name in known if name not in given]
    if strange:
        raise ParameterError(f"y holds {strange[0]!r}, which is not among categories {given}.")
    order = np.array([known.index(name) for name in given])
    return order, classes[order] if isinstance(classes, np.ndarray) else classes[order.tolist()]

"""Many binary problems over the same rows, solved together."""

import copy
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    MultiOutputMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import validate_data
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators import convergence, options, persistence, weights
from skorch_logreg.estimators.arrays import Home, to_tensor
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
from skorch_logreg.estimators.cv.options import resolve_cv
from skorch_logreg.estimators.isolation import plain_torch
from skorch_logreg.estimators.multilabel import cv as label_cv
from skorch_logreg.estimators.multilabel import indicator, per_label
from skorch_logreg.estimators.multilabel.company import CERTAIN, Company, Fits
from skorch_logreg.estimators.multilabel.cv import LabelFolds
from skorch_logreg.estimators.multilabel.fits import LabelProblem
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.prediction import LabelPrediction
from skorch_logreg.estimators.multilabel.scores import LabelScores
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.scoring import Rows
from skorch_logreg.estimators.sparsity import check_indices
from skorch_logreg.exceptions import ConstantLabelWarning, ParameterError
from skorch_logreg.fitting import Params

__all__ = ["MultiLabel"]

# attributes of some fits alone
_SOMETIMES = {"C_", "Cs_", "l1_ratio_", "l1_ratios_", "label_names_", "scores_"}


class MultiLabel(
    LabelPrediction, MultiOutputMixin, ClassifierMixin, MetaEstimatorMixin, BaseEstimator
):
    """One logistic regression a label, all labels solved together.

    What `sklearn.multiclass.OneVsRestClassifier` does by one fit a label: here the labels share
    their passes over X and what is known of its curvature. Each label's model is the one that
    `TorchLogisticClassifier` finds for its column alone.

    Parameters
    ----------
    estimator : TorchLogisticClassifier, TorchLogisticClassifierCV or None, default=None
        The parameters of every label's fit; never fitted itself. None: the defaults of the
        first. With the second, C and l1_ratio of every label are chosen by cross-validation of
        that label, all labels, folds and candidates together.
    threshold : float or array-like of shape (n_labels,), default=0.5
        `predict` says that a label is present where its probability is at least this. May be
        set after `fit`.
    C : float, array-like of shape (n_labels,) or None, default=None
        Inverse strength of the penalty, of all labels or of each. None: the estimator's, or
        what it chooses.
    class_weight : dict, "balanced", list of these or None, default=None
        Weights ``{0: absence, 1: presence}``, for all labels or a list with an entry for each.
        "balanced" counts each label's own known cells. None, also in a list: the estimator's.
        For a 1-D y a dict names its classes.
    memory_budget : int or None, default=None
        Bytes that arrays as large as rows x labels may take, beside results: so many labels are
        solved at once. None: 1 GiB.

    Attributes
    ----------
    classes_ : array of shape (n_labels,)
        Numbers of the labels, ``0 ... n_labels - 1``; for a 1-D y its classes.
    coef_ : array of shape (n_labels, n_features)
        Coefficients; one row too for a 1-D y of two classes.
    intercept_ : array of shape (n_labels,)
        Intercepts.
    n_labels_ : int
        Number of binary problems.
    label_names_ : ndarray of shape (n_labels,)
        Columns of y, where it is a data frame with names that are strings.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.
    n_iter_ : array of shape (n_labels,), int32
        Iterations.
    optimality_ : array of shape (n_labels,)
        How far from its optimum each label may be, as in `TorchLogisticClassifier`.
    converged_ : array of shape (n_labels,), bool
        Whether ``optimality_ <= tol`` was reached.
    n_passes_ : int
        How often all of X was read.
    C_, l1_ratio_ : ndarray of shape (n_labels,)
        Chosen; these and the next by a TorchLogisticClassifierCV alone.
    Cs_, l1_ratios_ : ndarray
        Candidates.
    scores_ : ndarray of shape (n_labels, n_folds, n_l1_ratios, n_cs)
        Scores of the held-out rows; nan where they show nothing that can be scored.
    target_kind_, target_dtype_ : str
        What y was, and predictions are: "array", "csr_array", "csr_matrix", or "binary" and
        "multiclass" for a 1-D y.
    module_ : torch.nn.Linear
        All labels as a module over the memory of `coef_` and `intercept_`.

    See Also
    --------
    sklearn.multiclass.OneVsRestClassifier : The same models, one after the other.

    Notes
    -----
    A label that has one value in all rows that count gets that value with certainty:
    coefficients of 0 and an intercept of 1000 or -1000 (also without ``fit_intercept``).
    ``label_smoothing`` of the estimator leaves it a share of the other value, and is of two
    classes for each label.

    A 1-D y of three classes or more is split into one label a class, as `OneVsRestClassifier`
    does; the class of the largest logit is predicted.

    Folds are stratified for a 1-D y alone: a number of folds is `KFold` for an indicator, as in
    scikit-learn. A label that a fold's training rows lack, or have everywhere, is certain there.

    `predict` gives NumPy or sparse arrays, never data frames.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from skorch_logreg import MultiLabel, TorchLogisticClassifier
    >>> X, Y = make_multilabel_classification(n_classes=3, random_state=0)
    >>> model = MultiLabel(TorchLogisticClassifier(C=0.1), threshold=[0.5, 0.4, 0.3]).fit(X, Y)
    >>> model.predict(X[:2])
    array([[0, 1, 0],
           [0, 1, 1]])
    >>> model.module_
    Linear(in_features=20, out_features=3, bias=True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit"]), None],
        "threshold": [Interval(Real, 0, 1, closed="both"), "array-like"],
        "C": [Interval(Real, 0, None, closed="right"), "array-like", None],
        "class_weight": [dict, StrOptions({"balanced"}), list, tuple, None],
        "memory_budget": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator: TorchLogisticClassifier | None = None,
        *,
        threshold: Any = 0.5,
        C: Any = None,
        class_weight: Any = None,
        memory_budget: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.threshold = threshold
        self.C = C
        self.class_weight = class_weight
        self.memory_budget = memory_budget

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, label_mask: Any = None) -> Self:
        """Fit all labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; float32 stays float32. Not copied, never written.
        y : {array-like, sparse matrix} of shape (n_samples, n_labels) or (n_samples,)
            Indicator: 1 where a row has a label, else 0; nan where that is not known. Or one
            column of classes. A sparse one is never made dense as a whole. With
            ``soft_labels=True`` of the estimator, dense probabilities of shape
            (n_samples, n_labels).
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row, for all labels.
        label_mask : {array-like, sparse matrix} of shape (n_samples, n_labels), default=None
            True where y is known; elsewhere the row does not count for that label.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters, X, y or weights are not allowed, or a label has no known cell.
        ParameterError
            If a parameter does not go with the data.

        Warns
        -----
        ConvergenceWarning
            If ``optimality_ <= tol`` was not reached for all labels: how many, and the worst.
        ConstantLabelWarning
            If labels have one value in all rows that count.

        Notes
        -----
        A fit that raises or is interrupted leaves the fitted attributes as they were.
        """
        with persistence.all_or_nothing(self), plain_torch():
            self._fit(X, y, sample_weight, label_mask)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, label_mask: Any) -> None:
        estimator = self._checked_estimator(or_cv=True)
        grid = None
        if isinstance(estimator, TorchLogisticClassifierCV):
            grid = resolve_cv(_in_new_layout(estimator))
            chosen = grid.options(grid.shares[0])
        else:
            chosen = options.resolve(per_label.WithC(estimator, self.C))
        given = self._validated(X, y, sample_weight, label_mask, estimator)
        labels = given.labels
        if grid is not None:
            splits = label_cv.split(estimator.cv, given.X, y, labels)
        work = self._work(given, estimator, chosen)
        fits = Fits(work.problem, work.company.constant, work.company.device)
        found: dict[str, Any] = {}
        if grid is None:
            C = per_label.strengths(self.C, estimator, chosen, labels.n_labels)
            start = self._previous(work.problem, labels.n_labels) if estimator.warm_start else None
            work.fit(fits, C, start, verbose=bool(estimator.verbose))
            ends, failed, what = fits.ends(), fits.failed(), "labels"
        else:
            judge = LabelScores(
                scoring=grid.scoring,
                template=TorchLogisticClassifier(solver=estimator.solver),
                X=given.X,
                classes=labels.pair,
                Cs=grid.Cs,
                thresholds=given.thresholds,
                parts=[test for _, test in splits],
                weight=given.weight,
                home=given.home,
            )
            train = Rows.of([train for train, _ in splits], given.X.shape[0])
            choice = LabelFolds(work, grid, train, judge, estimator.selection).search()
            choice.fit(work, grid, fits)
            found = choice.attributes(grid)
            ends, failed, what = choice.ends, choice.failed, "models of labels"
        self._warn_constant(labels, work.company.constant)
        text = convergence.message_of_several(
            ends,
            what=f"{what} ({labels.describe(np.flatnonzero(failed))})",
            max_iter=estimator.max_iter,
            tol=estimator.tol,
            dtype=str(work.problem.dtype).removeprefix("torch."),
        )
        if text is not None:
            warnings.warn(text, ConvergenceWarning, stacklevel=4)
        self._keep(found | fits.attributes(), labels)

    def _keep(self, found: dict[str, Any], labels: Indicator) -> None:
        """Set fitted attributes, and forget those of another kind of fit."""
        found |= {
            "classes_": labels.classes,
            "n_labels_": labels.n_labels,
            "target_kind_": labels.kind,
            "target_dtype_": labels.dtype,
        }
        if labels.names is not None:
            found["label_names_"] = labels.names
        for name in (_SOMETIMES - found.keys()) & vars(self).keys():
            delattr(self, name)
        for name, value in found.items():
            setattr(self, name, value)

    def _checked_estimator(self, or_cv: bool = False) -> Any:
        """Return the estimator, validated; errors say what can be done instead."""
        estimator = TorchLogisticClassifier() if self.estimator is None else self.estimator
        is_cv = or_cv and isinstance(estimator, TorchLogisticClassifierCV)
        if not (is_cv or isinstance(estimator, TorchLogisticClassifier)):
            raise ParameterError(
                f"estimator={estimator!r} cannot be solved for many labels at once; expected a "
                "TorchLogisticClassifier, or a TorchLogisticClassifierCV. Transformers go before "
                "MultiLabel into a Pipeline, other classifiers into "
                "sklearn.multioutput.MultiOutputClassifier."
            )
        estimator._validate_params()
        if estimator.threshold != 0.5:
            raise ParameterError(
                f"The estimator has threshold={estimator.threshold}, but it is MultiLabel's that "
                "decides: give it there."
            )
        if is_cv and self.C is not None:
            raise ParameterError(
                f"C={self.C} is given, but {type(estimator).__name__} chooses it: leave C=None."
            )
        if is_cv and not estimator.refit:
            raise ParameterError("MultiLabel needs the refit of its estimator: leave refit=True.")
        return estimator

    def _validated(
        self, X: Any, y: Any, sample_weight: Any, label_mask: Any, estimator: Any
    ) -> "_Given":
        device = options.resolve_device(estimator.device)
        home = Home.of(X)
        sample_weight = home.adopt(sample_weight)
        check_indices(X)
        y_given = None if y is None else "no_validation"
        X = validate_data(self, X, y_given, accept_sparse="csr", dtype=home.float_dtypes)
        options.check_device_takes(device, X)
        labels = indicator.read(y, label_mask, X, getattr(estimator, "soft_labels", False))
        thresholds = self._thresholds(labels.kind, labels.n_labels)
        weight = weights.check_sample_weight(sample_weight, X, home)
        if weight is not None:
            weight = to_tensor(weight).to(torch.float64)
        return _Given(X, labels, weight, thresholds, home, device)

    def _work(self, given: "_Given", estimator: Any, chosen: options.Options) -> LabelProblem:
        """State the labels' fits in the core's terms."""
        rows, class_weights = per_label.class_weights(
            self.class_weight, estimator.class_weight, given.labels, given.weight
        )
        n_samples, n_features = given.X.shape
        # a TorchLogisticClassifierCV knows neither this nor soft_labels
        label_smoothing = float(getattr(estimator, "label_smoothing", 0.0))
        problem = Problem(
            options=chosen,
            home=given.home,
            dtype=torch.float32 if str(given.X.dtype).endswith("float32") else torch.float64,
            n_classes=2,
            n_features=int(n_features),
            fit_intercept=estimator.fit_intercept,
            intercept_scaling=float(estimator.intercept_scaling),
            is_soft=given.labels.is_soft or label_smoothing > 0,
        )
        factor = weights.check_penalty_factor(estimator.penalty_factor, problem.n_features)
        design = problem.design(given.X, given.device)
        budget = self.memory_budget
        if budget is None:
            budget = getattr(estimator, "memory_budget", None)
        company = Company.of(
            given.labels,
            rows,
            class_weights,
            at_once=fitting.models_at_once(int(n_samples), problem.n_features, 1, budget),
            device=design.device if isinstance(design, Tensor) else torch.device("cpu"),
            label_smoothing=label_smoothing,
        )
        return LabelProblem(company, problem, design, factor, estimator.tol, estimator.max_iter)

    def _previous(self, problem: Problem, n_labels: int) -> Params | None:
        """Where a warm fit starts; a label that was certain starts at zero."""
        if not hasattr(self, "coef_"):
            return None
        start = problem.previous(self.coef_, self.intercept_, n_labels)
        if start is None:
            return None
        certain = (start.intercept.abs() == CERTAIN) & (start.coef == 0).all(dim=2)
        return Params(start.coef, torch.where(certain, 0.0, start.intercept))

    def _warn_constant(self, labels: Indicator, constant: np.ndarray) -> None:
        if constant.any():
            values = [
                f"always {value}: {labels.describe(np.flatnonzero(constant == sign))}"
                for value, sign in ((0, -1), (1, 1))
                if (constant == sign).any()
            ]
            warnings.warn(
                f"{np.count_nonzero(constant)} of {labels.n_labels} labels have one value in all "
                f"rows that count and get it with certainty ({'; '.join(values)}).",
                ConstantLabelWarning,
                stacklevel=5,
            )

    def __sklearn_tags__(self) -> Tags:
        """Say what it takes: indicators, sparse data, arrays of any library."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        tags.classifier_tags.multi_label = True
        plain = isinstance(self.threshold, Real) and self.threshold == 0.5
        tags.classifier_tags.multi_class = plain
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """State with the version that wrote it."""
        return persistence.pack(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read a state; warn if another version wrote it."""
        super().__setstate__(persistence.unpack(state, type(self).__name__))


@dataclass(frozen=True)
class _Given:
    """What was given to `fit`, validated."""

    X: Any
    labels: Indicator
    weight: Tensor | None
    thresholds: Tensor
    home: Home
    device: torch.device | None


def _in_new_layout(estimator: TorchLogisticClassifierCV) -> TorchLogisticClassifierCV:
    """Return the estimator without its question of layout, which labels have not."""
    estimator = copy.copy(estimator)
    estimator.use_legacy_attributes = False
    return estimator

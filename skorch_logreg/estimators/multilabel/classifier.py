"""Many binary problems over the same rows, solved together."""

import copy
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    MultiOutputMixin,
    _fit_context,
)
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from skorch_logreg.data import scratch_folders
from skorch_logreg.estimators import options, persistence
from skorch_logreg.estimators.arrays import Home
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
from skorch_logreg.estimators.cv.options import resolve_cv
from skorch_logreg.estimators.isolation import plain_torch
from skorch_logreg.estimators.multilabel import cv as label_cv
from skorch_logreg.estimators.multilabel import neural, partial, per_label, training
from skorch_logreg.estimators.multilabel.company import CERTAIN, Fits
from skorch_logreg.estimators.multilabel.cv import LabelFolds
from skorch_logreg.estimators.multilabel.ends import warn
from skorch_logreg.estimators.multilabel.fits import LabelProblem
from skorch_logreg.estimators.multilabel.given import Given, checked_estimator
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.leaving import LabelLeaving
from skorch_logreg.estimators.multilabel.scores import LabelScores
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.scoring import Rows
from skorch_logreg.fitting import Params
from skorch_logreg.solvers import MiniBatch

__all__ = ["MultiLabel"]

# attributes of some fits alone
_SOMETIMES = {
    *("C_", "Cs_", "l1_ratio_", "l1_ratios_", "label_names_", "scores_"),
    *("coef_", "intercept_", "module_", "history_", "optimality_", "converged_", "n_passes_"),
}


class MultiLabel(
    persistence.VersionedState,
    LabelLeaving,
    MultiOutputMixin,
    ClassifierMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """One logistic regression a label, all labels solved together.

    What `sklearn.multiclass.OneVsRestClassifier` does by one fit a label: here the labels share
    their passes over X and what is known of its curvature. Each label's model is the one that
    `TorchLogisticClassifier` finds for its column alone, also in mini-batches and by parts. Or
    the labels share a network, under which each has a logit.

    Parameters
    ----------
    estimator : classifier or None, default=None
        The parameters of every label's fit; never fitted itself. None: the defaults of a
        `TorchLogisticClassifier`. With a `TorchLogisticClassifierCV`, C and l1_ratio of every
        label are chosen by cross-validation of that label, all labels, folds and candidates
        together. With a `NeuralLogisticClassifier` one backbone is trained for all labels.
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
        Coefficients; one row too for a 1-D y of two classes. Not with a network.
    intercept_ : array of shape (n_labels,)
        Intercepts. Not with a network.
    n_labels_ : int
        Number of binary problems.
    label_names_ : ndarray of shape (n_labels,)
        Columns of y, where it is a data frame with names that are strings.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.
    n_iter_ : array of shape (n_labels,), int32
        Iterations, epochs included.
    optimality_ : array of shape (n_labels,)
        How far from its optimum each label may be, as in `TorchLogisticClassifier`; nan after
        `partial_fit`. With a network this and the next two are of an exact head alone.
    converged_ : array of shape (n_labels,), bool
        Whether ``optimality_ <= tol`` was reached.
    n_passes_ : int
        How often all of X was read, or of its features; by `partial_fit` all of a part.
    C_, l1_ratio_ : ndarray of shape (n_labels,)
        Chosen; these and the next by a TorchLogisticClassifierCV alone.
    Cs_, l1_ratios_ : ndarray
        Candidates.
    scores_ : ndarray of shape (n_labels, n_folds, n_l1_ratios, n_cs)
        Scores of the held-out rows; nan where they show nothing that can be scored.
    target_kind_, target_dtype_ : str
        What y was, and predictions are: "array", "csr_array", "csr_matrix", or "binary" and
        "multiclass" for a 1-D y.
    history_ : dict of str to list
        Of a network, as in `NeuralLogisticClassifier`; "loss" is the sum over the labels.
    module_ : torch.nn.Linear or torch.nn.Sequential
        All labels as a module over the memory of `coef_` and `intercept_`; or the network.

    See Also
    --------
    sklearn.multiclass.OneVsRestClassifier : The same models, one after the other.

    Notes
    -----
    A label that has one value in all rows that count gets that value with certainty:
    coefficients of 0 and an intercept of 1000 or -1000 (also without ``fit_intercept``).
    ``label_smoothing`` of the estimator leaves it a share of the other value, and is of two
    classes for each label. Where the labels share a network this holds for exact heads; as the
    network is trained, such a label is one like any other, and so it is in `partial_fit`.

    With a solver of mini-batches, such as `solvers.SGD`, the labels are trained side by side on
    the same mini-batches, in which a cell that is not known has its place all the same.
    Optimisers of torch whose step for one number hangs on others, such as L-BFGS, train them one
    after the other. The solver can neither hold rows out nor have a checkpoint, which are for
    one model.

    A network minimises the sum of the labels' objectives: every known cell counts alike, by its
    weights, and each label's `C` is of its row of the head. All labels are made dense for it.
    With ``freeze_backbone`` the labels are solved on the features as they would be on X.

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

    One network for all labels:

    >>> from skorch_logreg import NeuralLogisticClassifier
    >>> network = MultiLabel(NeuralLogisticClassifier((32,), C=0.1)).fit(X, Y)
    >>> network.module_.head
    Linear(in_features=32, out_features=3, bias=True)
    >>> network.predict(X).shape
    (100, 3)
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
            Rows. Not copied, never written; an array or tensor keeps its type. Of shape
            (n_samples, ...) where the `module` of a NeuralLogisticClassifier takes more axes. Or
            chunks or a Dask collection, as `TorchLogisticClassifier.fit` takes them.
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
        DivergenceError
            If training on mini-batches ends at no finite loss.

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
        with persistence.all_or_nothing(self), plain_torch(), scratch_folders():
            self._fit(X, y, sample_weight, label_mask)
        return self

    @available_if(partial.offered)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        label_mask: Any = None,
    ) -> Self:
        """Go on with all labels for one epoch over some of the rows, from where they stand.

        Each label's model is the one that `TorchLogisticClassifier.partial_fit` finds for its
        column alone, with the estimator's solver of mini-batches or the same default; or all
        share the network. Optimiser and learning rate go on from call to call; a `fit` before
        counts as well.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : {array-like, sparse matrix} of shape (n_samples, n_labels) or (n_samples,)
            As in `fit`; an indicator has the same columns in every call.
        classes : array-like or None, default=None
            All classes of a 1-D y, needed in the first call where there was no `fit`. Of an
            indicator, which has a column for each, it may be left out.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            As in `fit`.
        label_mask : {array-like, sparse matrix} of shape (n_samples, n_labels), default=None
            As in `fit`. Labels with no known cell among these rows stay as they are; only in a
            network they move with the rest.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`, or if y has other labels or classes than before.
        ParameterError
            If the solver cannot go on, or asks for what needs all rows.

        Notes
        -----
        Nothing is proven: `optimality_` is nan and `converged_` False for every label, and with
        a network there is neither. A label that has shown one value so far is trained like any
        other; one that was certain after `fit` begins anew.
        """
        with persistence.all_or_nothing(self), plain_torch():
            network = isinstance(self.estimator, NeuralLogisticClassifier)
            go_on = neural.partial_fit if network else partial.partial_fit
            go_on(self, X, y, classes, sample_weight, label_mask)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, label_mask: Any) -> None:
        estimator = checked_estimator(self, TorchLogisticClassifierCV, NeuralLogisticClassifier)
        y = Home.of(X).beside(y)
        if isinstance(estimator, NeuralLogisticClassifier):
            network = neural.fit(self, estimator, X, y, sample_weight, label_mask)
            self._keep(network.attributes, network.given.labels)
            setattr(self, persistence.TRAINING, network.memory)
            if network.work is not None:
                warn(estimator, network.work, network.fits)
            return
        grid = None
        if isinstance(estimator, TorchLogisticClassifierCV):
            grid = resolve_cv(_in_new_layout(estimator))
            chosen = grid.options(grid.shares[0])
        else:
            chosen = options.resolve(per_label.WithC(estimator, self.C))
            training.check_solver(chosen.solver)
        given = self._validated(X, y, sample_weight, label_mask, estimator, chosen)
        if isinstance(chosen.solver, MiniBatch):
            given = given.counting()
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
            choice = None
        else:
            label_scores = LabelScores(
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
            choice = LabelFolds(work, grid, train, label_scores, estimator.selection).search()
            choice.fit(work, grid, fits)
            found = choice.attributes(grid)
        warn(estimator, work, fits if choice is None else choice, choice is not None)
        self._keep(found | fits.attributes(), labels)
        been = partial.memory(work.company.total, estimator.solver, fits.trained)
        setattr(self, persistence.TRAINING, been)

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

    def _checked_estimator(self) -> Any:
        return checked_estimator(self)

    def _validated(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        label_mask: Any,
        estimator: Any,
        chosen: options.Options | None = None,
    ) -> Given:
        return Given.of(self, estimator, X, y, sample_weight, label_mask, chosen=chosen)

    def _work(self, given: Given, estimator: Any, chosen: options.Options) -> LabelProblem:
        return LabelProblem.of(self, given, estimator, chosen)

    def _previous(self, problem: Problem, n_labels: int) -> Params | None:
        """Where a warm fit starts; a label that was certain starts at zero."""
        if not hasattr(self, "coef_"):
            return None
        start = problem.previous(self.coef_, self.intercept_, n_labels)
        if start is None:
            return None
        certain = (start.intercept.abs() == CERTAIN) & (start.coef == 0).all(dim=2)
        return Params(start.coef, torch.where(certain, 0.0, start.intercept))

    def __sklearn_tags__(self) -> Tags:
        """Say what it takes: indicators, sparse data, but for networks arrays of any library."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = not isinstance(self.estimator, NeuralLogisticClassifier)
        tags.classifier_tags.multi_label = True
        plain = isinstance(self.threshold, Real) and self.threshold == 0.5
        tags.classifier_tags.multi_class = plain
        return tags


def _in_new_layout(estimator: TorchLogisticClassifierCV) -> TorchLogisticClassifierCV:
    """Return the estimator without its question of layout, which labels have not."""
    estimator = copy.copy(estimator)
    estimator.use_legacy_attributes = False
    return estimator

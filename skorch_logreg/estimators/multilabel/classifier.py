"""Multi-label classifier whose binary problems share the rows and are solved together."""

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

from skorch_logreg.estimators import persistence
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
from skorch_logreg.estimators.cv.options import resolve_cv
from skorch_logreg.estimators.multilabel import neural, partial, validation
from skorch_logreg.estimators.multilabel.cv import LabelCrossValidation, split_labels
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem, TrainedGroup, attributes
from skorch_logreg.estimators.multilabel.prediction import LabelPrediction
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.fitting import Params
from skorch_logreg.fitting.batch import is_saturated
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.indicator import Indicator
from skorch_logreg.inputs.problem import Problem


class MultiLabel(
    persistence.VersionedState,
    LabelPrediction,
    MultiOutputMixin,
    ClassifierMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """Multi-label logistic regression, one binary model per label, all solved together.

    A replacement for `sklearn.multiclass.OneVsRestClassifier`, which fits one label at a time: here
    the labels share passes over X and curvature. Each label's model is the one that
    `TorchLogisticClassifier` finds for its column, also with mini-batches and `partial_fit`. With a
    `NeuralLogisticClassifier` the labels share a network with one logit per label.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Parameters of every label's fit; it is not fitted itself. None: a `TorchLogisticClassifier`
        with its defaults. With a `TorchLogisticClassifierCV`, C and l1_ratio of every label are
        chosen by cross-validation, all labels, folds and candidates together. With a
        `NeuralLogisticClassifier` one backbone is trained for all labels.
    threshold : float or array-like of shape (n_labels,), default=0.5
        `predict` returns a label if its probability is at least this. May be set after `fit`.
    C : float, array-like of shape (n_labels,) or None, default=None
        Inverse regularisation strength, of all labels or of each. None: the estimator's, or the
        one that it chooses.
    class_weight : dict, "balanced", list of these or None, default=None
        Weights ``{0: absence, 1: presence}``, for all labels or a list with an entry for each.
        "balanced" counts each label's known targets. None, also in a list: the estimator's.
        For a 1-D y a dict has its classes as keys.
    memory_budget : int or None, default=None
        Bytes for arrays of shape (n_samples, n_labels) in addition to the results; it limits the
        number of labels per solve. None: 1 GiB.

    Attributes
    ----------
    classes_ : array of shape (n_labels,)
        Numbers of the labels, ``0 ... n_labels - 1``; for a 1-D y its classes.
    coef_ : array of shape (n_labels, n_features)
        Coefficients; one row for a 1-D y of two classes. Not with a network.
    intercept_ : array of shape (n_labels,)
        Intercepts. Not with a network.
    n_labels_ : int
        Number of binary problems.
    label_names_ : ndarray of shape (n_labels,)
        Column names of y, if y is a data frame whose column names are strings.
    n_features_in_, feature_names_in_
        As in `TorchLogisticClassifier`.
    n_iter_ : array of shape (n_labels,), int32
        Number of iterations, epochs included.
    optimality_ : array of shape (n_labels,)
        Bound on the distance of each label from its optimum, as in `TorchLogisticClassifier`; nan
        after `partial_fit`. With a network this and the next two are set only if the head is
        solved exactly.
    converged_ : array of shape (n_labels,), bool
        True if ``optimality_ <= tol`` was reached.
    n_passes_ : int
        Number of full passes over X, or over its features; for `partial_fit` over the given rows.
    C_, l1_ratio_ : ndarray of shape (n_labels,)
        Chosen values; this and the next two only with a TorchLogisticClassifierCV.
    Cs_, l1_ratios_ : ndarray
        Candidates.
    scores_ : ndarray of shape (n_labels, n_folds, n_l1_ratios, n_cs)
        Scores of the held-out rows; nan if they cannot be scored.
    target_kind_, target_dtype_ : str
        Kind and dtype of y and of predictions: "array", "csr_array", "csr_matrix", or "binary" and
        "multiclass" for a 1-D y.
    history_ : dict of str to list
        History of a network, as in `NeuralLogisticClassifier`; "loss" is the sum over the labels.
    module_ : torch.nn.Linear or torch.nn.Sequential
        All labels as a module that shares memory with `coef_` and `intercept_`; or the network.

    See Also
    --------
    sklearn.multiclass.OneVsRestClassifier : The same models, fitted one after the other.

    Notes
    -----
    A label that has one value in all rows with a positive weight is predicted with probability 0
    or 1: its coefficients are 0 and its intercept is 1000 or -1000 (also without
    ``fit_intercept``). With ``label_smoothing`` of the estimator, which here spreads over the two
    classes of each label, such a label has a finite optimum instead. With a network this holds if
    the head is solved exactly; trained in mini-batches, such a label is fitted like any other, as
    it is by `partial_fit`.

    With a mini-batch solver, such as `solvers.SGD`, the labels are trained together on the same
    mini-batches, which also contain rows whose target is unknown. Optimisers of torch whose update
    of an entry depends on other entries, such as L-BFGS, train one label after the other. The
    solver can neither hold out rows nor have a checkpoint, which are for a single model.

    A network minimises the sum of the labels' objectives: every known target counts the same, up
    to its weight, and `C` of a label applies to its row of the head. All labels are converted to
    dense. With ``freeze_backbone`` the labels are solved on the features as they would be on X.

    A 1-D y of three or more classes is split into one label per class, as in
    `OneVsRestClassifier`; the class of the largest logit is predicted.

    Folds are stratified for a 1-D y only: if `cv` is a number, an indicator gets `KFold`, as in
    scikit-learn. In a fold whose training rows have one value of a label, that value is predicted
    with probability 1.

    `predict` returns NumPy or sparse arrays, never data frames.

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

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the classifier, or of its estimator as ``estimator__C``.

        If ``estimator`` is None, its parameters are set in a new `TorchLogisticClassifier`.

        Parameters
        ----------
        **params
            Parameters by name.

        Returns
        -------
        self
        """
        own = {name for name in params if name.startswith("estimator__")}
        if own and params.get("estimator", self.estimator) is None:
            nested = {name.removeprefix("estimator__"): params.pop(name) for name in own}
            params["estimator"] = TorchLogisticClassifier().set_params(**nested)
        model: Self = super().set_params(**params)
        return model

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, label_mask: Any = None) -> Self:
        """Fit all labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows. Neither copied nor modified; an array or tensor keeps its type. Of shape
            (n_samples, ...) if the `module` of a NeuralLogisticClassifier takes more axes. Or
            chunks, a Dask collection or a map-style data set of torch, as in
            `TorchLogisticClassifier.fit`.
        y : {array-like, sparse matrix} of shape (n_samples, n_labels) or (n_samples,)
            Indicator: 1 if a row has a label, else 0; nan if unknown. Or a 1-D array of classes. A
            sparse y is never converted to dense as a whole. With ``soft_labels=True`` of the
            estimator, dense probabilities of shape (n_samples, n_labels).
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row, for all labels.
        label_mask : {array-like, sparse matrix} of shape (n_samples, n_labels), default=None
            True where y is known; where it is False the row does not count for that label.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        ValueError
            If parameters, X, y or weights are invalid, or a label has no known target.
        ParameterError
            If a parameter does not match the data.
        DivergenceError
            If the loss or the weights of mini-batch training are not finite.

        Warns
        -----
        ConvergenceWarning
            If ``optimality_ <= tol`` was not reached for all labels, with their number and the
            worst optimality.
        ConstantLabelWarning
            If labels have one value in all rows with a positive weight.

        Notes
        -----
        A fit that raises or is interrupted leaves the fitted attributes unchanged.
        """
        with persistence.isolated_fit(self):
            self._fit(X, y, sample_weight, label_mask)
        return self

    @available_if(partial.has_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, label_mask: Any = None
    ) -> Self:
        """Train all labels for one epoch over some of the rows, from their current parameters.

        Each label's model is the one that `TorchLogisticClassifier.partial_fit` finds for its
        column, with the estimator's mini-batch solver or the same default; or all labels share the
        network. The optimiser and the learning rate schedule continue from call to call, also after
        a `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : {array-like, sparse matrix} of shape (n_samples, n_labels) or (n_samples,)
            As in `fit`; an indicator has the same columns in every call.
        classes : array-like or None, default=None
            All classes of a 1-D y, required in the first call if there was no `fit`. Optional
            for an indicator, which has a column for each.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            As in `fit`.
        label_mask : {array-like, sparse matrix} of shape (n_samples, n_labels), default=None
            As in `fit`. Labels without a known target among these rows are unchanged, except in a
            network, whose backbone is shared.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        ValueError
            As in `fit`, or if y has other labels or classes than before.
        ParameterError
            If the solver cannot resume, or a parameter requires all rows.

        Notes
        -----
        The optimum is not certified: `optimality_` is nan and `converged_` False for every label,
        and a network has neither. A label that has had one value so far is trained like any other;
        one that `fit` found constant starts from zero.
        """
        with persistence.isolated_fit(self):
            network = isinstance(self.estimator, NeuralLogisticClassifier)
            run_epoch = neural.partial_fit if network else partial.partial_fit
            run_epoch(self, X, y, classes, sample_weight, label_mask=label_mask)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, label_mask: Any) -> None:
        estimator = validation.checked_estimator(
            self, TorchLogisticClassifierCV, NeuralLogisticClassifier
        )
        y = ArrayNamespace.of(X).detach(y)
        if isinstance(estimator, NeuralLogisticClassifier):
            neural.fit(self, estimator, X, y, sample_weight, label_mask=label_mask)
            return
        grid = None
        if isinstance(estimator, TorchLogisticClassifierCV):
            grid = resolve_cv(estimator)
            resolved = grid.first
        else:
            resolved = validation.resolve_for_labels(estimator, self.C)
            validation.check_solver(resolved.solver)
        inputs = validation.validate_labels(
            self, estimator, X, y, sample_weight, label_mask=label_mask, resolved=resolved
        )
        if resolved.trains:
            inputs = inputs.drop_zero_weight()
        labels = inputs.labels
        found: dict[str, Any] = {}
        trained: list[TrainedGroup] = []
        if grid is not None:
            train, held_out = split_labels(estimator.cv, inputs, y)
        label_problem = LabelProblem.of(self, inputs, estimator, resolved)
        if grid is None:
            C = validation.c_per_label(self.C, estimator, resolved, labels.n_labels)
            start = None
            if estimator.warm_start:
                start = self._warm_start_params(label_problem.problem, labels.n_labels)
            fits, trained = label_problem.fit(C, start, verbose=bool(estimator.verbose))
            label_problem.warn(label_problem.outcomes(fits))
        else:
            thresholds = self._thresholds(labels.kind, labels.n_labels).tolist()
            fits, found, outcomes = LabelCrossValidation(
                label_problem, grid, train, held_out, thresholds
            ).run()
            label_problem.warn(outcomes, "models of labels")
        self._set_fitted(found | attributes(label_problem.problem, fits), labels)
        total_weight = label_problem.total_weight
        state = partial.training_state(total_weight, estimator.solver, trained)
        setattr(self, persistence.TRAINING, state)

    def _set_fitted(self, found: dict[str, Any], labels: Indicator) -> None:
        """Replace all fitted attributes but those of the features."""
        found = persistence.feature_attributes(self) | found
        found |= {
            "classes_": labels.classes,
            "n_labels_": labels.n_labels,
            "target_kind_": labels.kind,
            "target_dtype_": labels.dtype,
        }
        if labels.names is not None:
            found["label_names_"] = labels.names
        persistence.replace_fitted(self, found)

    def _warm_start_params(self, problem: Problem, n_labels: int) -> Params | None:
        """Return the initial parameters of a warm start; constant labels start from zero."""
        if not hasattr(self, "coef_"):
            return None
        start = problem.previous(self.coef_, self.intercept_, n_labels)
        if start is None:
            return None
        saturated = is_saturated(start)[:, None]
        return Params(start.coef, torch.where(saturated, 0.0, start.intercept))

    def __sklearn_tags__(self) -> Tags:
        """Return tags: indicators and, without a network, the array API are supported."""
        tags: Tags = super().__sklearn_tags__()
        tags.array_api_support = not isinstance(self.estimator, NeuralLogisticClassifier)
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = (
            isinstance(self.threshold, Real) and self.threshold == 0.5
        )
        return tags

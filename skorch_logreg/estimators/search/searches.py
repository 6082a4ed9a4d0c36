"""Grid and random search that share transformers and passes over X between candidates."""

import time
from contextlib import nullcontext
from inspect import signature
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import _routing_enabled, process_routing
from sklearn.utils.validation import _check_method_params, _num_samples

from skorch_logreg.estimators import persistence
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.ordinal import OrdinalLogisticClassifier
from skorch_logreg.estimators.search.candidates import BATCHED_PARAMETERS
from skorch_logreg.estimators.search.evaluation import EvaluatedCandidates
from skorch_logreg.estimators.search.scores import SearchData
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import datasets, out_of_core
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.dask import collect, computed_predictions
from skorch_logreg.inputs.torch_context import seeded_generators

# which fit rows that are not in memory
_OUT_OF_CORE = TorchLogisticClassifier, OrdinalLogisticClassifier, MultiLabel


def _read_dataset(
    X: Any, y: Any, params: dict[str, Any], allow_rereading: bool
) -> tuple[Any, Any, dict[str, Any]]:
    """Return X, y and the parameters of `fit` of a data set of torch."""
    datasets.require_no_labels(y, params.get("sample_weight"))
    with seeded_generators(0, torch.device("cpu")):
        X, y, weight = datasets.read(X, allow_rereading)
    return X, y, params if weight is None else {**params, "sample_weight": weight}


def _collect(X: Any, y: Any, params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return labels and parameters without gradients and Dask collections."""
    detach = ArrayNamespace.of(X).detach
    return collect(detach(y)), {name: collect(detach(value)) for name, value in params.items()}


class _BatchedSearch:
    """Mixin for a search of scikit-learn that solves its candidates together.

    scikit-learn's `fit` does not separate fitting from scoring; this one follows its steps and
    calls the same functions.
    """

    estimator: Any
    cv_results_: dict[str, Any]

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Evaluate all candidates and fit the best one to all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows. Or chunks, a Dask collection or a map-style data set of torch, as in
            `TorchLogisticClassifier.fit`, for this classifier, a `MultiLabel` of it or an
            `OrdinalLogisticClassifier`; see the notes of `BatchedGridSearchCV`.
        y : array-like of shape (n_samples,), or None
            Class labels, which a data set of torch yields itself.
        **params : dict of str -> object
            Parameters of the estimator's `fit`, the scorer and the splitter, as in
            `GridSearchCV.fit`: ``sample_weight``, ``groups``, and those of metadata routing.

        Returns
        -------
        self : object
            Fitted search.
        """
        if datasets.is_torch_dataset(X):
            X, y, params = _read_dataset(X, y, params, type(self.estimator) in _OUT_OF_CORE)
        y, params = _collect(X, y, params)
        X = ArrayNamespace.of(X).view(X)
        if out_of_core.is_out_of_core(X):
            self._require_out_of_core(X, y)
        with persistence.restore_on_failure(self):
            # subclasses, which may override `fit` or `predict`, are never batched
            if y is None or type(self.estimator) not in (*BATCHED_PARAMETERS, Pipeline):
                super().fit(X, y, **params)  # type: ignore[misc]
                none_batched = np.zeros(len(self.cv_results_["params"]), dtype=bool)
                self.batched_ = ArrayNamespace.of(X).convert(none_batched)
            else:
                self._fit(X, y, params)
        return self

    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """Score the best candidate, fitted to all rows, with `scoring`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; or chunks of them, or a Dask collection.
        y : array-like of shape (n_samples,)
            Class labels.
        **params : dict of str -> object
            Parameters of the scorer, if metadata routing is enabled.

        Returns
        -------
        score : float
            Score of the best candidate.
        """
        y, params = _collect(X, y, params)
        with computed_predictions():
            result: float = super().score(X, y, **params)  # type: ignore[misc]
        return result

    def _require_out_of_core(self, X: Any, y: Any) -> None:
        """Raise an error if a search needs rows in memory."""
        if y is None:
            raise ValueError("y is None; pass the labels of all rows as y.")
        if type(self.estimator) not in _OUT_OF_CORE:
            raise ParameterError(
                f"estimator={self.estimator!r} needs rows in memory, got {type(X).__name__}; rows "
                "that are elsewhere are searched with a TorchLogisticClassifier, an "
                "OrdinalLogisticClassifier or a MultiLabel, without transformers."
            )

    @_fit_context(prefer_skip_nested_validation=False)
    def _fit(self: Any, X: Any, y: Any, params: dict[str, Any]) -> None:
        scorers, refit_metric = self._get_scorers()
        out_of_core_rows = X if out_of_core.is_out_of_core(X) else None
        if out_of_core_rows is not None:  # splitter and scorer get as many rows without columns
            X = np.empty((_num_samples(y), 0))
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        if self.scoring is None and isinstance(self.estimator, Pipeline) and _routing_enabled():
            # as its own score does: raise if a step neither requests nor ignores metadata
            process_routing(self.estimator, "score", **routed.scorer.score)
        weight = params.get("sample_weight")
        task = {"X": X, "y": y, "metadata": None if weight is None else {"sample_weight": weight}}
        if out_of_core_rows is not None:
            task["X"] = out_of_core_rows
        callback_context = None  # scikit-learn 1.8 has none
        if hasattr(self, "_init_callback_context"):
            root = self._init_callback_context(max_subtasks=1 + (self.refit is not False))
            callback_context = root.call_on_fit_task_begin(estimator=self, **task)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_ = splitter.get_n_splits(X, y, **routed.splitter.split)
        data = SearchData(self, X, y, scorers, routed, out_of_core_rows)
        if out_of_core_rows is not None and not data.needs_only_predictions:
            raise out_of_core.scorer_error(self.scoring)
        evaluated = EvaluatedCandidates(data, splitter)
        if "callback_ctx" in signature(self._run_search).parameters:
            self._run_search(evaluated, callback_ctx=callback_context)
        else:
            self._run_search(evaluated)
        first_score = evaluated.fold_results[0]["test_scores"]
        self.multimetric_ = isinstance(first_score, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(first_score)
            refit_metric = self.refit
        results = evaluated.results
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        if self.refit:
            batched, candidate_index = evaluated.sources[self.best_index_]
            start = batched.start(candidate_index)
            self._refit(start, routed.estimator.fit, callback_context, task)
        several = isinstance(scorers, _MultimetricScorer)
        self.scorer_ = scorers._scorers if several else scorers
        self.cv_results_ = results
        mask = np.array([batched.has(index) for batched, index in evaluated.sources], dtype=bool)
        self.batched_ = ArrayNamespace.of(X).convert(mask)
        if callback_context is not None:
            callback_context.call_on_fit_task_end(estimator=self, **task)

    def _refit(
        self: Any,
        start: dict[str, Any] | None,
        fit_params: dict[str, Any],
        context: Any,
        task: dict[str, Any],
    ) -> None:
        """Fit the best candidate to all rows, from the coefficients ``start``, if any."""
        best = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        self.best_estimator_ = best
        refit = context and context.subcontext(task_name="refit-with-best-params")
        with nullcontext() if refit is None else refit.propagate_callback_context(best):
            if refit is not None:
                refit.call_on_fit_task_begin(estimator=self, **task)
            started = time.time()
            warm_start = getattr(best, "warm_start", False)
            if start is not None:
                vars(best).update(start, warm_start=True)
            best.fit(task["X"], task["y"], **fit_params)
            if start is not None:
                best.warm_start = warm_start
            self.refit_time_ = time.time() - started
        if hasattr(best, "feature_names_in_"):
            self.feature_names_in_ = best.feature_names_in_
        if refit is not None:
            refit.call_on_fit_task_end(estimator=self, **task)


class BatchedGridSearchCV(_BatchedSearch, GridSearchCV):
    """`sklearn.model_selection.GridSearchCV` whose candidates are solved together.

    Candidates that differ only in `C`, `l1_ratio`, `class_weight`, `threshold` and
    `penalty_factor` form a batch: they share passes over X and curvature, and are scored from
    the logits of the solve. An estimator without transformers is solved for all folds at once;
    in a pipeline every transformer is fitted once per fold and setting, not once per candidate.
    Candidates that differ only in `threshold` share a model.

    Parameters
    ----------
    estimator : estimator
        A `TorchLogisticClassifier`, `OrdinalLogisticClassifier` or `MultiLabel`, a
        `NeuralLogisticClassifier` whose backbone is frozen, or a `Pipeline` that ends in one; any
        other is searched as by scikit-learn.
    param_grid : dict or list of dict
        Parameter names with lists of values to try.
    scoring : str, callable, list, tuple, dict or None, default=None
        Scorer of held-out rows, as in scikit-learn. Accuracy, balanced accuracy, log-loss, Brier
        score and ROC AUC are computed for all candidates at once; any other scorer is called
        with fitted models whose logits are cached.
    n_jobs : int or None, default=None
        Number of processes for the candidates that are fitted individually. Batches run in the
        calling process.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all rows, and by which score to choose it.
    cv : int, splitter, iterable or None, default=None
        Folds; None: 5 stratified folds.
    verbose : int, default=0
        Verbosity, as in scikit-learn; candidates of a batch are reported after it.
    pre_dispatch : int or str, default="2*n_jobs"
        Number of jobs that are dispatched in advance.
    error_score : "raise" or float, default=np.nan
        Score of a fit that raises an error.
    return_train_score : bool, default=False
        Whether to score training rows as well.

    Attributes
    ----------
    cv_results_ : dict of str to array
        As in scikit-learn. The time of a batch is divided evenly among its fits.
    batched_ : ndarray of shape (n_candidates,), bool
        True if a candidate was solved in a batch, False if it was fitted individually.
    best_estimator_ : estimator
        Best candidate, fitted to all rows.
    best_score_ : float
        Mean score of the best candidate.
    best_params_ : dict
        Parameters of the best candidate.
    best_index_ : int
        Index of the best candidate in `cv_results_`.
    scorer_ : callable or dict
        Scorer or scorers.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Time of the refit in seconds.
    multimetric_ : bool
        True if there are several scores.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Feature names, only if X has names that are strings.

    See Also
    --------
    BatchedRandomizedSearchCV : Search over a random sample of candidates.
    TorchLogisticClassifierCV : Cross-validation of `C` and `l1_ratio`.

    Notes
    -----
    Fitted individually, as by scikit-learn, are candidates with an invalid value (they raise its
    error, subject to `error_score`), all candidates of a search in which a fold's training rows
    lack a class, an estimator with callbacks, `verbose` or unsorted `categories`, a subclass, and
    the candidates of a batch that raises any exception.

    Rows that are not in memory (chunks, a Dask collection, a data set of torch above 1 GiB) are
    searched as those in memory, with a `TorchLogisticClassifier`, a `MultiLabel` of it or an
    `OrdinalLogisticClassifier`: folds are weights of rows, and scores come from the logits of the
    solve. As long as the rows are y and, in this process, the logits of the models of a batch. A
    ParameterError is raised before any fit for pipelines, other estimators, a callable `scoring`
    that is not made by `make_scorer`, and candidates that are fitted individually, which would
    need a copy of each fold's rows; the error of a candidate with an invalid value is subject to
    `error_score`.

    Callbacks of the search are called for a batched fit after the batch, and not for its
    iterations.

    The refit of an estimator without transformers starts from the mean of the folds'
    coefficients, which changes its time, not its minimiser.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import BatchedGridSearchCV, TorchLogisticClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> grid = {"C": [0.01, 0.1, 1.0], "class_weight": [None, "balanced"]}
    >>> search = BatchedGridSearchCV(TorchLogisticClassifier(), grid, scoring="neg_log_loss")
    >>> search = search.fit(X, y)
    >>> search.batched_
    array([ True,  True,  True,  True,  True,  True])
    >>> search.best_params_
    {'C': 1.0, 'class_weight': None}
    """


class BatchedRandomizedSearchCV(_BatchedSearch, RandomizedSearchCV):
    """`sklearn.model_selection.RandomizedSearchCV` whose candidates are solved together.

    It works as `BatchedGridSearchCV`, with candidates drawn at random.

    Parameters
    ----------
    estimator : estimator
        A `TorchLogisticClassifier`, `OrdinalLogisticClassifier` or `MultiLabel`, a
        `NeuralLogisticClassifier` whose backbone is frozen, or a `Pipeline` that ends in one; any
        other is searched as by scikit-learn.
    param_distributions : dict or list of dict
        Parameter names with lists of values, or distributions with a method ``rvs``.
    n_iter : int, default=10
        Number of candidates to draw.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in `BatchedGridSearchCV`.
    random_state : int, RandomState or None, default=None
        Seed or generator of the draws.

    Attributes
    ----------
    cv_results_ : dict of str to array
        As in scikit-learn. The time of a batch is divided evenly among its fits.
    batched_ : ndarray of shape (n_candidates,), bool
        True if a candidate was solved in a batch, False if it was fitted individually.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_
        As in `BatchedGridSearchCV`.
    multimetric_, classes_, n_features_in_, feature_names_in_
        As in `BatchedGridSearchCV`.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from skorch_logreg import BatchedRandomizedSearchCV, TorchLogisticClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> search = BatchedRandomizedSearchCV(
    ...     TorchLogisticClassifier(), {"C": loguniform(1e-3, 1e3)}, random_state=0
    ... )
    >>> search.fit(X, y).batched_.all()
    np.True_
    """

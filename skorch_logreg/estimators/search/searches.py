"""Searches over parameters whose candidates share transformers and passes over X."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from inspect import signature
from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, check_cv
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils import indexable
from sklearn.utils.validation import _check_method_params

from skorch_logreg.estimators import out_of_core, persistence
from skorch_logreg.estimators.arrays import ArrayNamespace
from skorch_logreg.estimators.search.candidates import groups_of, may_batch, refuse_checkpoints
from skorch_logreg.estimators.search.evaluation import Evaluation
from skorch_logreg.estimators.search.ordinary import OrdinaryFits, root_task
from skorch_logreg.estimators.search.results import Found, SearchResults
from skorch_logreg.estimators.search.scores import CandidateScores
from skorch_logreg.estimators.torch_context import default_torch_state

__all__ = ["BatchedGridSearchCV", "BatchedRandomizedSearchCV"]


class _BatchedSearch:
    """What a search of scikit-learn becomes when it solves candidates together.

    scikit-learn's `fit` has no seam between making the fits and judging them; this one takes
    the same steps and is made of the same parts.
    """

    estimator: Any
    scoring: Any
    refit: Any
    cv: Any
    verbose: Any
    error_score: Any
    return_train_score: bool
    cv_results_: dict[str, Any]

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Evaluate all candidates and fit the best one to all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels.
        **params : dict of str -> object
            For the estimator's `fit`, the scorer and the splitter, as in `GridSearchCV.fit`:
            ``sample_weight``, ``groups``, and what metadata routing asks for.

        Returns
        -------
        self
        """
        out_of_core.require_in_memory(X, type(self).__name__)
        namespace = ArrayNamespace.of(X)
        X, y = namespace.view(X), namespace.detach(y)
        params = {name: namespace.detach(value) for name, value in params.items()}
        with persistence.restore_on_failure(self):
            if y is None or not may_batch(self.estimator):
                super().fit(X, y, **params)  # type: ignore[misc]
                nothing = np.zeros(len(self.cv_results_["params"]), dtype=bool)
                self.batched_ = namespace.convert(nothing)
            else:
                self._fit(X, y, params)
        return self

    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """Score the best candidate, fitted to all rows, with `scoring`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.
        y : array-like of shape (n_samples,)
            Their labels.
        **params : dict of str -> object
            For the scorer, where metadata routing asks for it.

        Returns
        -------
        score : float
        """
        namespace = ArrayNamespace.of(X)
        params = {name: namespace.detach(value) for name, value in params.items()}
        found: float = super().score(X, namespace.detach(y), **params)  # type: ignore[misc]
        return found

    @_fit_context(prefer_skip_nested_validation=False)
    def _fit(self: Any, X: Any, y: Any, params: dict[str, Any]) -> None:
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        weight = params.get("sample_weight")
        task = {"X": X, "y": y, "metadata": None if weight is None else {"sample_weight": weight}}
        root = root_task(self, task)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_ = splitter.get_n_splits(X, y, **routed.splitter.split)
        scores = CandidateScores(
            self.estimator, X, y, scorers, self.scoring, routed.scorer.score, self.error_score
        )
        found = Found()

        def evaluate(
            candidate_params: Iterable[Mapping[str, Any]],
            cv: Any = None,
            more_results: Mapping[str, Sequence[Any]] | None = None,
            callback_ctx: Any = None,
        ) -> dict[str, Any]:
            candidates = list(candidate_params)
            refuse_checkpoints(self.estimator, candidates)
            splits = list((cv or splitter).split(X, y, **routed.splitter.split))
            _check_splits(splits, self.n_splits_)
            if self.verbose > 0:
                print(
                    f"Fitting {len(splits)} folds for each of {len(candidates)} candidates,"
                    f" totalling {len(candidates) * len(splits)} fits"
                )
            batched = SearchResults(len(splits))
            rows = (splits, scores, routed.estimator.fit)
            with default_torch_state():
                groups = groups_of(self.estimator, candidates)
                refit = bool(self.refit)
                Evaluation(*rows, self.return_train_score, refit, batched).run(groups)
            out = OrdinaryFits(self, *rows, candidates).complete(batched, callback_ctx)
            if not out:
                raise ValueError(
                    "No fits were performed. Was the CV iterator empty? Were there no candidates?"
                )
            batched.warn(stacklevel=6)
            _warn_or_raise_about_fit_failures(out, self.error_score)
            if callable(self.scoring):
                _insert_error_scores(out, self.error_score)
            found.candidates.extend(candidates)
            found.out.extend(out)
            found.sources.extend((batched, place) for place in range(len(candidates)))
            for key, value in (more_results or {}).items():
                found.more[key].extend(value)
            found.results = self._format_results(
                found.candidates, self.n_splits_, found.out, found.more
            )
            return found.results

        if "callback_ctx" in signature(self._run_search).parameters:
            self._run_search(evaluate, callback_ctx=root)
        else:
            self._run_search(evaluate)

        first_score = found.out[0]["test_scores"]
        self.multimetric_ = isinstance(first_score, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(first_score)
            refit_metric = self.refit
        if self.refit or not self.multimetric_:
            self._choose(found.results, refit_metric)
        if self.refit:
            self._refit(found, routed.estimator.fit, root, task)
        several = isinstance(scorers, _MultimetricScorer)
        self.scorer_ = scorers._scorers if several else scorers
        self.cv_results_ = found.results
        self.batched_ = ArrayNamespace.of(X).convert(found.batched)
        if root is not None:
            root.call_on_fit_task_end(estimator=self, **task)

    def _choose(self: Any, results: dict[str, Any], refit_metric: str) -> None:
        self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _refit(
        self: Any, found: Found, fit_params: dict[str, Any], root: Any, task: dict[str, Any]
    ) -> None:
        """Fit the best candidate to all rows, from where its folds ended."""
        best = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        self.best_estimator_ = best
        refit = None if root is None else root.subcontext(task_name="refit-with-best-params")
        with nullcontext() if refit is None else refit.propagate_callback_context(best):
            if refit is not None:
                refit.call_on_fit_task_begin(estimator=self, **task)
            started = time.time()
            watched = getattr(self, "_skl_callbacks", None)
            fitted = None if watched else found.fitted(self.best_index_)
            if fitted is not None:
                vars(best).update(fitted)
            else:
                start = found.start(self.best_index_)
                warm_start = start is not None and best.warm_start
                if start is not None:
                    vars(best).update(start, warm_start=True)
                try:
                    best.fit(task["X"], task["y"], **fit_params)
                finally:
                    if start is not None:
                        best.warm_start = warm_start
            self.refit_time_ = time.time() - started
        if hasattr(best, "feature_names_in_"):
            self.feature_names_in_ = best.feature_names_in_
        if refit is not None:
            refit.call_on_fit_task_end(estimator=self, **task)


def _check_splits(splits: list[Any], n_splits: int) -> None:
    if len(splits) != n_splits:
        raise ValueError(
            "cv.split and cv.get_n_splits return inconsistent results. "
            f"Expected {n_splits} splits, got {len(splits)}"
        )


class BatchedGridSearchCV(_BatchedSearch, GridSearchCV):
    """`sklearn.model_selection.GridSearchCV` whose candidates are solved together.

    Candidates that share everything but `C`, `l1_ratio`, `class_weight`, `threshold` and
    `penalty_factor` are one batch: they share their passes over X and what is known of its
    curvature, and are scored from the logits that the solve leaves behind. An estimator alone
    is solved for all folds at once; in a pipeline every transformer is fitted once a fold and
    setting, not once a candidate. Thresholds cost nothing: their candidates share a model.

    Parameters
    ----------
    estimator : estimator
        A `TorchLogisticClassifier`, a `MultiLabel`, a `NeuralLogisticClassifier` whose backbone
        is frozen, or a `Pipeline` that ends in one; any other is searched as scikit-learn does.
    param_grid : dict or list of dict
        Values to try, by parameter.
    scoring : str, callable, list, tuple, dict or None, default=None
        How held-out rows are scored, as in scikit-learn. Accuracy, balanced accuracy, log-loss,
        Brier score and ROC AUC are computed for all candidates at once; any other scorer gets
        fitted models whose predictions are at hand.
    n_jobs : int or None, default=None
        Processes for the candidates that are fitted one by one. Batches run in this one.
    refit : bool, str or callable, default=True
        Whether, and by which score, the best candidate is fitted to all rows.
    cv : int, splitter, iterable or None, default=None
        Folds; None: 5, stratified.
    verbose : int, default=0
        How much is printed, as in scikit-learn; candidates of a batch are reported after it.
    pre_dispatch : int or str, default="2*n_jobs"
        Jobs that are made ahead.
    error_score : "raise" or float, default=np.nan
        Score of a fit that fails.
    return_train_score : bool, default=False
        Whether training rows are scored too.

    Attributes
    ----------
    cv_results_ : dict of str to array
        As in scikit-learn. The time of a batch is shared evenly among its fits.
    batched_ : ndarray of shape (n_candidates,), bool
        Whether a candidate was solved in a batch; else it was fitted by itself.
    best_estimator_ : estimator
        The best candidate, fitted to all rows.
    best_score_ : float
        Its mean score.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its place in `cv_results_`.
    scorer_ : callable or dict
        What scores.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the refit.
    multimetric_ : bool
        Whether there are several scores.
    classes_ : ndarray of shape (n_classes,)
        Labels.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.

    See Also
    --------
    BatchedRandomizedSearchCV : The same for a sample of candidates.
    TorchLogisticClassifierCV : Strengths only, as `LogisticRegressionCV`.

    Notes
    -----
    Fitted by themselves, as scikit-learn does it, are candidates with a value that is not
    allowed (they fail in its words, under `error_score`), all candidates of a search in which a
    fold's training rows lack a class, an estimator with callbacks or `verbose`, a subclass, and
    the candidates of a batch that fails, whatever it raises.

    Callbacks of the search hear of a batched fit when the batch is done, and nothing of its
    iterations.

    The refit of an estimator alone starts from the mean of the folds' coefficients, which
    changes its time, not its minimiser.

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

    As `BatchedGridSearchCV`, for parameters drawn at random.

    Parameters
    ----------
    estimator : estimator
        A `TorchLogisticClassifier`, a `MultiLabel`, a `NeuralLogisticClassifier` whose backbone
        is frozen, or a `Pipeline` that ends in one; any other is searched as scikit-learn does.
    param_distributions : dict or list of dict
        Values, or distributions with a method ``rvs``, by parameter.
    n_iter : int, default=10
        Candidates that are drawn.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in `BatchedGridSearchCV`.
    random_state : int, RandomState or None, default=None
        For the draws.

    Attributes
    ----------
    cv_results_ : dict of str to array
        As in scikit-learn. The time of a batch is shared evenly among its fits.
    batched_ : ndarray of shape (n_candidates,), bool
        Whether a candidate was solved in a batch; else it was fitted by itself.
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

"""Evaluate groups of candidates on the folds of a search."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import (
    _check_method_params,
    _num_samples,
    column_or_1d,
)

from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.search.batches import CandidateBatch, FoldData, solve_batches
from skorch_logreg.estimators.search.candidates import (
    Candidate,
    CandidateGroup,
    group_candidates,
    refuse_checkpoints,
)
from skorch_logreg.estimators.search.individual_fits import IndividualFits
from skorch_logreg.estimators.search.label_batches import solve_labels
from skorch_logreg.estimators.search.results import BatchResults
from skorch_logreg.estimators.search.scores import CandidateScorer, FittedPipeline, ScoredRows
from skorch_logreg.inputs.labels import Targets, encode
from skorch_logreg.inputs.rows import validate_rows
from skorch_logreg.inputs.torch_context import default_torch_state
from skorch_logreg.scoring import FoldRows

__all__ = ["CandidateEvaluator", "EvaluatedCandidates"]

# numbers read or written per pass up to which a fit on all rows joins the batch, about 0.2 ms
_MAX_SMALL_BATCH = 1 << 18


@dataclass(frozen=True)
class CandidateEvaluator:
    """Evaluation of groups of candidates on the folds of a search.

    ``results`` is updated in place. A candidate that cannot be batched has no results, or none in
    some folds. Values of ``fit_params`` that are as long as X are split like it.
    """

    splits: Sequence[tuple[Any, Any]]
    candidate_scorer: CandidateScorer
    fit_params: dict[str, Any]
    return_train_score: bool
    refit: bool
    results: BatchResults

    def run(self, groups: Sequence[CandidateGroup]) -> None:
        """Evaluate all groups."""
        if not self.splits:
            return
        n_candidates = sum(len(group.candidates) for group in groups)
        fold_data_by_network: dict[int, Any] = {}
        for group in groups:
            if group.network is not None and not self.candidate_scorer.needs_only_predictions:
                continue
            if not group.has_no_transformers:
                self._evaluate_pipeline(group)
                continue
            started = time.perf_counter()
            fold_data = fold_data_by_network.get(id(group.network))
            if fold_data is None:
                try:
                    fold_data = self._validate_all_folds(group, n_candidates)
                except Exception:  # the individual fits report it
                    continue
                fold_data_by_network[id(group.network)] = fold_data
            self._evaluate(group, group.candidates, fold_data, started)

    def _validate_all_folds(self, group: CandidateGroup, n_candidates: int) -> FoldData:
        """Validate the rows once for all folds, which are represented by weights."""
        X, y = self.candidate_scorer.X, self.candidate_scorer.y
        n_samples = _num_samples(X)
        counts = FoldRows.of([train for train, _ in self.splits], n_samples).counts(n_samples)
        (inputs,) = group.classifier_inputs(X, y)
        fold_data = FoldData.of(group.final, inputs, y, counts=counts, **self.fit_params)
        with_all = self.refit and group.network is None and type(group.final) is not MultiLabel
        return (
            fold_data.with_all_rows()
            if with_all and _is_small(fold_data, n_candidates)
            else fold_data
        )

    def _evaluate_pipeline(self, group: CandidateGroup) -> None:
        """Fit the transformers once per fold, and all classifiers to their output."""
        remaining = group.candidates
        for fold, (train, test) in enumerate(self.splits):
            started = time.perf_counter()
            try:
                fitted_pipeline, (X, y, params) = self._fit_transformers(group, train, test)
                X, X_test = group.classifier_inputs(X, y, fitted_pipeline.test)
                fold_data = FoldData.of(group.final, X, y, **params)
                X_test = validate_rows(group.final, X_test, reset=False)
                classes = fold_data.inputs.labels.classes
                if type(group.final) is not MultiLabel and not np.array_equal(
                    self._targets.classes, classes
                ):
                    raise ValueError("A fold lacks a class: it is another model then.")
            except Exception:  # of a transformer, for example; the individual fits report it
                return
            fitted_pipeline = replace(fitted_pipeline, fold=fold, X_test=X_test)
            self._evaluate(group, remaining, fold_data, started, fitted_pipeline)
            remaining = tuple(c for c in remaining if self.results.has(c.index, fold + 1))

    def _evaluate(
        self,
        group: CandidateGroup,
        candidates: Sequence[Candidate],
        fold_data: FoldData,
        started: float,
        fitted_pipeline: FittedPipeline | None = None,
    ) -> None:
        """Solve and score candidates; the time of a solve is divided evenly among its fits."""
        solve: Any = solve_labels if type(group.final) is MultiLabel else solve_batches
        keeps = self.refit and group.has_no_transformers and group.network is None
        for batches in solve(group.final, candidates, fold_data):
            n_fits = [len(batch.folds) * sum(map(len, batch.settings)) for batch in batches]
            fit_time = (time.perf_counter() - started) / max(sum(n_fits), 1)
            for batch in batches:
                if keeps and isinstance(batch, CandidateBatch):
                    self.results.store_models(batch)
                if batch.folds:  # else there are only models on all rows
                    self._score(batch, fit_time, fitted_pipeline)
            started = time.perf_counter()

    def _score(self, batch: Any, fit_time: float, fitted_pipeline: FittedPipeline | None) -> None:
        """Score a batch and store its results."""
        folds = batch.folds if fitted_pipeline is None else (fitted_pipeline.fold,)
        started = time.perf_counter()
        rows = self._scored_rows(batch, folds, "test", fitted_pipeline)
        scores = {"test_scores": self.candidate_scorer(batch, rows, fitted_pipeline)}
        n_results = len(folds) * sum(map(len, batch.settings))
        score_time = (time.perf_counter() - started) / n_results
        if self.return_train_score:
            train = self._scored_rows(batch, folds, "train", fitted_pipeline)
            scores["train_scores"] = self.candidate_scorer(batch, train, fitted_pipeline)
        for candidate_index in scores["test_scores"]:
            for i, fold in enumerate(folds):
                result = {name: by_index[candidate_index][i] for name, by_index in scores.items()}
                result |= {
                    "n_test_samples": rows.rows.lengths[i],
                    "fit_time": fit_time,
                    "score_time": score_time,
                }
                self.results.add(candidate_index, fold, result)
        self.results.add_fits(batch.statuses, folds[0], batch.constant)

    def _scored_rows(
        self, batch: Any, folds: Sequence[int], part: str, fitted_pipeline: FittedPipeline | None
    ) -> ScoredRows:
        """Return the training or test rows of some folds, with their logits."""
        own = [self.splits[fold][part == "test"] for fold in folds]
        rows = FoldRows.of(own, _num_samples(self.candidate_scorer.X))
        logits = batch.logits(
            rows, part, None if fitted_pipeline is None else fitted_pipeline.X_test
        )
        index = None if logits is None else self._targets.index[rows.rows]
        return ScoredRows(part, rows, logits, index)

    @cached_property
    def _targets(self) -> Targets:
        """Classes of all rows."""
        return encode(column_or_1d(self.candidate_scorer.y))

    def _fit_transformers(
        self, group: CandidateGroup, train: Any, test: Any
    ) -> tuple[FittedPipeline, tuple[Any, Any, dict[str, Any]]]:
        """Fit the transformers, and record the input of the last step."""
        candidate_scorer = self.candidate_scorer
        pipeline = clone(group.estimator)
        name, final = pipeline.steps[-1]
        recorded: list[Any] = []
        recorder = copy(final)
        recorder.fit = lambda X, y, **params: recorded.extend((X, y, params))
        recorder.predict = lambda X: X
        recorder.seen_ = True
        pipeline.steps[-1] = (name, recorder)
        X, y = _safe_split(
            candidate_scorer.estimator, candidate_scorer.X, candidate_scorer.y, train
        )
        pipeline.fit(
            X, y, **_check_method_params(candidate_scorer.X, self.fit_params, indices=train)
        )
        X_test, _ = _safe_split(
            candidate_scorer.estimator, candidate_scorer.X, candidate_scorer.y, test, train
        )
        X, y, params = recorded
        return FittedPipeline(pipeline, X, pipeline.predict(X_test)), (X, y, params)


def _is_small(fold_data: FoldData, n_candidates: int) -> bool:
    """Return True if a fit's fixed cost exceeds that of one more model per candidate."""
    n_samples, n_features = fold_data.inputs.X.shape
    return n_samples * (n_features + 8 * fold_data.n_outputs) * n_candidates <= _MAX_SMALL_BATCH


@dataclass
class EvaluatedCandidates:
    """Function that evaluates candidates, and the results of all candidates so far, in order.

    It is scikit-learn's ``evaluate_candidates``, which a search may call several times.
    """

    search: Any
    splitter: Any
    routed: Any
    candidate_scorer: CandidateScorer
    candidates: list[Mapping[str, Any]] = field(default_factory=list)
    fold_results: list[dict[str, Any]] = field(default_factory=list)
    extra_results: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    sources: list[tuple[BatchResults, int]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        candidate_params: Iterable[Mapping[str, Any]],
        cv: Any = None,
        more_results: Mapping[str, Sequence[Any]] | None = None,
        callback_ctx: Any = None,
    ) -> dict[str, Any]:
        """Evaluate candidates and return ``cv_results_``."""
        search, candidates = self.search, list(candidate_params)
        refuse_checkpoints(search.estimator, candidates)
        batched, fold_results = self._evaluate(candidates, cv, callback_ctx)
        if not fold_results:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no candidates?"
            )
        batched.warn()
        _warn_or_raise_about_fit_failures(fold_results, search.error_score)
        if callable(search.scoring):
            _insert_error_scores(fold_results, search.error_score)
        self.candidates += candidates
        self.fold_results += fold_results
        self.sources += [(batched, candidate_index) for candidate_index in range(len(candidates))]
        for key, value in (more_results or {}).items():
            self.extra_results[key].extend(value)
        self.results = search._format_results(
            self.candidates, search.n_splits_, self.fold_results, self.extra_results
        )
        return self.results

    def _evaluate(
        self, candidates: list[Mapping[str, Any]], cv: Any, callback_ctx: Any
    ) -> tuple[BatchResults, list[dict[str, Any]]]:
        """Fit and score candidates in batches, and those that cannot be batched one by one."""
        search, scorer = self.search, self.candidate_scorer
        splits = list((cv or self.splitter).split(scorer.X, scorer.y, **self.routed.splitter.split))
        if len(splits) != search.n_splits_:
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. "
                f"Expected {search.n_splits_} splits, got {len(splits)}"
            )
        if search.verbose > 0:
            print(
                f"Fitting {len(splits)} folds for each of {len(candidates)} candidates,"
                f" totalling {len(candidates) * len(splits)} fits"
            )
        batched = BatchResults(len(splits))
        rows = (splits, scorer, self.routed.estimator.fit)
        with default_torch_state():
            groups = group_candidates(search.estimator, candidates)
            refit = bool(search.refit)
            CandidateEvaluator(*rows, search.return_train_score, refit, batched).run(groups)
        return batched, IndividualFits(search, *rows, candidates).complete(batched, callback_ctx)

    @property
    def batched(self) -> np.ndarray:
        """Mask of the candidates that were solved in a batch."""
        return np.array([source.has(index) for source, index in self.sources], dtype=bool)

    def fitted(self, index: int) -> dict[str, Any] | None:
        """Return a candidate's fitted attributes on all rows; None if no batch has them."""
        source, candidate_index = self.sources[index]
        return source.fitted(candidate_index)

    def start(self, index: int) -> dict[str, Any] | None:
        """Return coefficients to start the refit of a candidate from."""
        source, candidate_index = self.sources[index]
        return source.start(candidate_index)

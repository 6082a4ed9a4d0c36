"""Evaluate groups of candidates on the folds of a search."""

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import (
    _check_method_params,
    _num_samples,
    column_or_1d,
)

from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.search.batches import CandidateBatch, FoldData, solve_batches
from skorch_logreg.estimators.search.candidates import Candidate, CandidateGroup
from skorch_logreg.estimators.search.label_batches import LabelFoldData, LabelFoldFit, solve_labels
from skorch_logreg.estimators.search.results import BatchResults, FitStatuses
from skorch_logreg.estimators.search.scores import CandidateScorer, FittedPipeline, FoldLogits
from skorch_logreg.inputs.labels import encode
from skorch_logreg.inputs.rows import validate_rows
from skorch_logreg.scoring import FoldRows

__all__ = ["CandidateEvaluator"]

# numbers read or written per pass up to which a fit on all rows joins the batch, about 0.2 ms
_MAX_SMALL_BATCH = 1 << 18


@dataclass(frozen=True)
class CandidateEvaluator:
    """Evaluation of groups of candidates on the folds of a search.

    Parameters
    ----------
    splits : sequence of (train, test)
        Folds.
    candidate_scorer : CandidateScorer
        Rows of the search and its scorer.
    fit_params : dict
        Parameters of the estimator's `fit`; values as long as X are split like it.
    return_train_score : bool
        Whether to score training rows as well.
    refit : bool
        Whether the best candidate will be fitted to all rows.
    results : BatchResults
        Results, updated in place. A candidate that cannot be batched has no results, or none in
        some folds.
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
                    fold_data = self._validate_all_folds(group)
                except Exception:  # the individual fits report it
                    continue
                with_all = self.refit and group.network is None and isinstance(fold_data, FoldData)
                if with_all and _is_small(fold_data, n_candidates):
                    fold_data = fold_data.with_all_rows()
                fold_data_by_network[id(group.network)] = fold_data
            if isinstance(fold_data, LabelFoldData):
                self._evaluate_labels(group, fold_data, group.candidates, 0, None, started=started)
            else:
                self._evaluate_classifier(group, fold_data, started)

    def _validate_all_folds(self, group: CandidateGroup) -> Any:
        """Validate the rows once for all folds, which are represented by weights."""
        n_samples = _num_samples(self.candidate_scorer.X)
        counts = FoldRows.of([train for train, _ in self.splits], n_samples).counts(n_samples)
        kind = LabelFoldData if type(group.final) is MultiLabel else FoldData
        (X,) = group.classifier_inputs(self.candidate_scorer.X, self.candidate_scorer.y)
        return kind.of(group.final, X, self.candidate_scorer.y, counts=counts, **self.fit_params)

    def _evaluate_classifier(
        self, group: CandidateGroup, fold_data: FoldData, started: float
    ) -> None:
        """Evaluate a classifier without transformers on all folds."""
        n_samples = _num_samples(self.candidate_scorer.X)
        for batch in solve_batches(group.final, group.candidates, fold_data):
            if self.refit and group.network is None:
                self.results.store_models(batch)
            if not batch.folds:
                continue  # only models on all rows
            splits = [self.splits[fold] for fold in batch.folds]
            rows = {"test": FoldRows.of([test for _, test in splits], n_samples)}
            if self.return_train_score:
                rows["train"] = FoldRows.of([train for train, _ in splits], n_samples)
            fold_logits = {
                name: FoldLogits(
                    fold_rows.take(batch.logits).to(batch.problem.stored_dtype),
                    fold_data.inputs.labels.index[fold_rows.rows],
                    fold_rows,
                )
                for name, fold_rows in rows.items()
            }
            self._score(batch, fold_logits, group.final, None, batch.folds, started=started)
            started = time.perf_counter()

    def _evaluate_pipeline(self, group: CandidateGroup) -> None:
        """Fit the transformers once per fold, and all classifiers to their output."""
        remaining = group.candidates
        for fold, (train, test) in enumerate(self.splits):
            started = time.perf_counter()
            try:
                fitted_pipeline, (X, y, params) = self._fit_transformers(group, train, test)
                X, X_test = group.classifier_inputs(X, y, fitted_pipeline.test)
                if type(group.final) is MultiLabel:
                    fold_data: Any = LabelFoldData.of(group.final, X, y, **params)
                else:
                    fold_data = FoldData.of(group.final, X, y, **params)
                    rows = self._scored_rows(fold_data, train, test)
                X_test = validate_rows(group.final, X_test, reset=False)
            except Exception:  # of a transformer, for example; the individual fits report it
                return
            if isinstance(fold_data, LabelFoldData):
                self._evaluate_labels(
                    group, fold_data, remaining, fold, fitted_pipeline, started=started
                )
            else:
                for batch in solve_batches(group.final, remaining, fold_data):
                    logits = {"test": batch.logits_on(X_test), "train": batch.solution.logits}
                    fold_logits = {
                        name: FoldLogits(
                            logits[name].to(batch.problem.stored_dtype), index, fold_rows
                        )
                        for name, (fold_rows, index) in rows.items()
                    }
                    self._score(
                        batch, fold_logits, group.final, fitted_pipeline, [fold], started=started
                    )
                    started = time.perf_counter()
            remaining = tuple(c for c in remaining if self.results.has(c.index, fold + 1))

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

    def _scored_rows(self, fold_data: FoldData, train: Any, test: Any) -> dict[str, Any]:
        """Return the rows to score in a fold, with their class indices."""
        targets = encode(column_or_1d(self.candidate_scorer.y))
        if not np.array_equal(targets.classes, fold_data.inputs.labels.classes):
            raise ValueError("A fold lacks a class: it is another model then.")
        parts = {"test": test} | ({"train": train} if self.return_train_score else {})
        found = {
            n: FoldRows.of([part], _num_samples(self.candidate_scorer.X))
            for n, part in parts.items()
        }
        return {
            name: (fold_rows, targets.index[fold_rows.rows]) for name, fold_rows in found.items()
        }

    def _score(
        self,
        batch: CandidateBatch,
        fold_logits: dict[str, FoldLogits],
        final: Any,
        fitted_pipeline: FittedPipeline | None,
        folds: Sequence[int],
        *,
        started: float,
    ) -> None:
        """Score a batch and store its results; its time is divided evenly among them."""
        solved = time.perf_counter()
        tested = self.candidate_scorer(batch, fold_logits["test"], final, fitted_pipeline)
        scored = time.perf_counter()
        trained = (
            self.candidate_scorer(batch, fold_logits["train"], final, fitted_pipeline)
            if "train" in fold_logits
            else None
        )
        n_results = sum(map(len, batch.settings)) * len(folds)
        fit_time, score_time = (solved - started) / n_results, (scored - solved) / n_results
        for candidate_index, by_fold in tested.items():
            for i, fold in enumerate(folds):
                result = {"test_scores": by_fold[i]}
                if trained is not None:
                    result["train_scores"] = trained[candidate_index][i]
                result |= {
                    "n_test_samples": fold_logits["test"].rows.lengths[i],
                    "fit_time": fit_time,
                    "score_time": score_time,
                }
                self.results.add(candidate_index, fold, result)
        candidate_indices = [served[0].index for served in batch.settings] * len(folds)
        status = batch.solution.status[: len(candidate_indices)]
        optimality = batch.solution.optimality[: len(candidate_indices)].tolist()
        self._add_statuses(candidate_indices, status, optimality, final, batch.problem.dtype)

    def _add_statuses(
        self, candidate_indices: Any, status: Any, optimality: Any, final: Any, dtype: Any
    ) -> None:
        name = str(dtype).removeprefix("torch.")
        statuses = FitStatuses(
            candidate_indices, status, optimality, final.max_iter, final.tol, name
        )
        self.results.add_statuses(statuses)

    def _evaluate_labels(
        self,
        group: CandidateGroup,
        fold_data: LabelFoldData,
        candidates: Sequence[Candidate],
        first_fold: int,
        fitted_pipeline: FittedPipeline | None,
        *,
        started: float,
    ) -> None:
        """Solve and score multi-label models."""
        for fold_fits in solve_labels(group.final, candidates, fold_data):
            elapsed = time.perf_counter() - started
            fit_time = elapsed / sum(len(fold_fit.models) for fold_fit in fold_fits)
            for fold_fit in fold_fits:
                self._score_labels(fold_fit, fold_fit.fold + first_fold, fitted_pipeline, fit_time)
            started = time.perf_counter()

    def _score_labels(
        self,
        fold_fit: LabelFoldFit,
        fold: int,
        fitted_pipeline: FittedPipeline | None,
        fit_time: float,
    ) -> None:
        train, test = self.splits[fold]
        test_rows = self.candidate_scorer.rows(test)
        train_rows = self.candidate_scorer.rows(train) if self.return_train_score else None
        for candidate_index, model in fold_fit.models.items():
            score_started = time.perf_counter()
            result = {
                "test_scores": self.candidate_scorer.score_model(
                    model, *test_rows, fitted_pipeline, part="test"
                )
            }
            score_time = time.perf_counter() - score_started
            if train_rows is not None:
                result["train_scores"] = self.candidate_scorer.score_model(
                    model, *train_rows, fitted_pipeline, part="train"
                )
            result |= {
                "n_test_samples": _num_samples(test_rows[0]),
                "fit_time": fit_time,
                "score_time": score_time,
            }
            self.results.add(candidate_index, fold, result)
        self.results.add_constant(fold, fold_fit.constant)
        candidate_index, model = next(iter(fold_fit.models.items()))
        status, optimality = zip(*fold_fit.final_points, strict=True)
        candidate_indices = [candidate_index] * len(status)
        self._add_statuses(
            candidate_indices, status, optimality, model.estimator, model.coef_.dtype
        )


def _is_small(fold_data: FoldData, n_candidates: int) -> bool:
    """Return True if a fit's fixed cost exceeds that of one more model per candidate."""
    n_samples, n_features = fold_data.inputs.X.shape
    return n_samples * (n_features + 8 * fold_data.n_outputs) * n_candidates <= _MAX_SMALL_BATCH

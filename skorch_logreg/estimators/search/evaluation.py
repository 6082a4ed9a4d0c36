"""Evaluate groups of candidates on the folds of a search."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import _validation

from skorch_logreg.checkpoint import require_no_checkpoint
from skorch_logreg.data import scratch_folders
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.search.batches import CandidateBatch, FoldData, solve_batches
from skorch_logreg.estimators.search.candidates import (
    Candidate,
    CandidateGroup,
    NotBatchedError,
    group_candidates,
)
from skorch_logreg.estimators.search.individual_fits import complete
from skorch_logreg.estimators.search.results import BatchResults
from skorch_logreg.estimators.search.scores import FittedPipeline, SearchData, score_candidates
from skorch_logreg.inputs.rows import validate_rows
from skorch_logreg.inputs.torch_context import default_torch_state
from skorch_logreg.scoring import FoldRows


@dataclass(frozen=True)
class _BatchEvaluation:
    """Evaluation of a group of candidates on the folds of a search.

    ``results`` is updated in place. A candidate that cannot be batched has no results, or none in
    some folds.
    """

    data: SearchData
    results: BatchResults
    group: CandidateGroup

    def run(self) -> None:
        """Solve all folds together, or fold by fold after transformers."""
        alone, candidates = self.group.has_no_transformers, self.group.candidates
        for fold in range(1 if alone else len(self.results.splits)):
            started = time.perf_counter()
            try:
                pipeline, fold_data = self._all_folds() if alone else self._fit_transformers(fold)
            except Exception as error:  # of a transformer, for example
                self.results.fail((candidate.index for candidate in candidates), error)
                return
            self._evaluate(candidates, fold_data, started, pipeline)
            candidates = tuple(c for c in candidates if self.results.has(c.index, fold + 1))

    def _all_folds(self) -> tuple[None, FoldData]:
        """Validate all rows, which represent all folds by weights."""
        data, n_samples = self.data, self.data.n_samples
        rows = FoldRows.of([train for train, _ in self.results.splits], n_samples)
        X = data.X if data.out_of_core is None else data.out_of_core
        (X,) = self.group.classifier_inputs(X, data.y)
        how = {"counts": rows.counts(n_samples), **data.routed.estimator.fit}
        return None, FoldData.of(self.group.final, X, data.y, **how)

    def _fit_transformers(self, fold: int) -> tuple[FittedPipeline, FoldData]:
        """Fit the transformers in a fold, and validate the input of the last step."""
        group = self.group
        train, test = self.results.splits[fold]
        pipeline = clone(group.estimator)
        name, final = pipeline.steps[-1]
        recorded: list[Any] = []
        recorder = copy(final)
        recorder.fit = lambda X, y, **params: recorded.extend((X, y, params))
        recorder.predict = lambda X: X
        recorder.seen_ = True
        pipeline.steps[-1] = (name, recorder)
        X, y = self.data.rows(train)
        pipeline.fit(X, y, **self.data.fit_params(train))
        X_train, y, params = recorded
        parts = {"test": test} | ({"train": train} if self.data.search.return_train_score else {})
        # a transformer's fit_transform may give other rows than its transform
        transformed = {
            part: pipeline.predict(self.data.rows(indices, train)[0])
            for part, indices in parts.items()
        }
        X, *others = group.classifier_inputs(X_train, y, *transformed.values())
        fold_data = FoldData.of(group.final, X, y, **params)
        others = [validate_rows(group.final, each, reset=False) for each in others]
        classes = fold_data.inputs.labels.classes
        if type(group.final) is not MultiLabel and not np.array_equal(
            self.data.targets.classes, classes
        ):
            raise NotBatchedError("A fold lacks a class: it is another model then.")
        inputs = dict(zip(parts, others, strict=True))
        return FittedPipeline(fold, pipeline, transformed, inputs), fold_data

    def _evaluate(
        self,
        candidates: Sequence[Candidate],
        fold_data: FoldData,
        started: float,
        pipeline: FittedPipeline | None,
    ) -> None:
        """Solve and score candidates; the time of a solve is divided evenly among its fits."""
        group = self.group
        alone = group.has_no_transformers and group.network is None
        warm = type(group.final) is TorchLogisticClassifier  # others have no warm start
        keeps = self.data.search.refit and alone and warm
        for batch in solve_batches(candidates, fold_data, self.results.fail):
            fit_time = (time.perf_counter() - started) / len(batch.folds) / len(batch.candidates)
            if keeps:
                self.results.store_params(batch)
            self._score(batch, fit_time, pipeline)
            started = time.perf_counter()

    def _score(
        self, batch: CandidateBatch, fit_time: float, pipeline: FittedPipeline | None
    ) -> None:
        """Score a batch and store its results."""
        folds = batch.folds if pipeline is None else (pipeline.fold,)
        train, test = (
            FoldRows.of(rows, self.data.n_samples)
            for rows in zip(*(self.results.splits[fold] for fold in folds), strict=True)
        )
        started = time.perf_counter()
        scores = {"test_scores": score_candidates(self.data, batch, test, "test", pipeline)}
        n_results = len(folds) * len(batch.candidates)
        times = {"fit_time": fit_time, "score_time": (time.perf_counter() - started) / n_results}
        if self.data.search.return_train_score:
            scores["train_scores"] = score_candidates(self.data, batch, train, "train", pipeline)
        for candidate_index in scores["test_scores"]:
            for i, fold in enumerate(folds):
                result = {name: by_index[candidate_index][i] for name, by_index in scores.items()}
                result |= {"n_test_samples": test.lengths[i], **times}
                self.results.add(candidate_index, fold, result)
        constant = np.argwhere(batch.constant.any(axis=1)).tolist()
        self.results.add_fits(batch.outcomes, ((folds[fold], label) for fold, label in constant))


@dataclass
class EvaluatedCandidates:
    """Function that evaluates candidates, and the results of all candidates so far, in order.

    It is scikit-learn's ``evaluate_candidates``, which a search may call several times. ``sources``
    has the results of the batches of each candidate, and its index there.
    """

    data: SearchData
    splitter: Any
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
        search, candidates = self.data.search, list(candidate_params)
        for parameters in (search.estimator.get_params(), *candidates):
            for value in parameters.values():
                require_no_checkpoint(value)  # all fits of a search would share its file
        batched, fold_results = self._evaluate(candidates, cv, callback_ctx)
        if not fold_results:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no candidates?"
            )
        batched.warn()
        _validation._warn_or_raise_about_fit_failures(fold_results, search.error_score)
        if callable(search.scoring):
            _validation._insert_error_scores(fold_results, search.error_score)
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
        data, search = self.data, self.data.search
        splits = list((cv or self.splitter).split(data.X, data.y, **data.routed.splitter.split))
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
        batched = BatchResults(splits, in_memory=data.out_of_core is None)
        with default_torch_state(), scratch_folders():
            groups = group_candidates(search.estimator, candidates, batched.fail)
            for group in groups if data.out_of_core is not None else ():
                group.check_out_of_core()
            for group in groups:
                if splits and (group.network is None or data.needs_only_predictions):
                    _BatchEvaluation(data, batched, group).run()
        return batched, complete(data, batched, candidates, callback_ctx)
